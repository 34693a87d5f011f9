"""Which layers lose the most: the ranking as text and as a plot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeleuk.bundle.manifest import MODEL_FILES
from edgeleuk.inference.quantization import look_up, real_table
from edgeleuk_convert.environment import replace_file, silenced
from edgeleuk_convert.quantization.layer_noise import (
    IMAGES,
    REFERENCE_MEMBER,
    WORST_LAYERS,
    measure,
    ranking,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgeleuk.bundle.manifest import InputContract
    from edgeleuk.io.console import Progress
    from edgeleuk_convert.dataset.cells import LabelledCell

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeleuk_convert.quantization.layer_noise import Measured


def layers_figure(measured: Mapping[str, Measured]) -> bytes:
    """Draw SQNR along each network; the three layers that add the most noise are red.

    Raises
    ------
    MissingDependencyError
        Matplotlib is not installed.
    """
    from edgeleuk_convert.reports.report_plots import BLAST, COLOURS, GREY, new_figure, png

    longest = max((len(of_network.layers) for of_network in measured.values()), default=1)
    figure = new_figure(max(6.0, 1.5 + 0.19 * longest), 3.6 * len(measured))
    for axes, (key, of_network) in zip(
        figure.subplots(len(measured), squeeze=False)[:, 0], measured.items(), strict=True
    ):
        layers = of_network.layers
        places = range(len(layers))
        axes.plot(places, [layer.sqnr_db for layer in layers], color=GREY, label="output, all noise")
        axes.plot(
            places,
            [layer.own_sqnr_db for layer in layers],
            "o-",
            color=COLOURS[0],
            markersize=3.5,
            label="output, what the layer adds",
        )
        weighted = [
            (place, layer.weight_sqnr_db.min())
            for place, layer in enumerate(layers)
            if layer.weight_sqnr_db is not None
        ]
        if weighted:
            axes.plot(
                *zip(*weighted, strict=True),
                "x",
                color=COLOURS[2],
                markersize=4,
                label="weights, worst channel",
            )
        worst = {layer.number for layer in of_network.worst_first()[:3]}
        red = [place for place, layer in enumerate(layers) if layer.number in worst]
        axes.plot(
            red, [layers[place].own_sqnr_db for place in red], "o", color=BLAST, markersize=7, label="worst"
        )
        axes.set_xticks(places, [layer.name for layer in layers], rotation=90, fontsize=6)
        # What is exact would press all else to the floor.
        axes.set(
            ylabel="SQNR (dB)", title=key, ylim=(min(-3, *(layer.own_sqnr_db for layer in layers)) - 2, 70)
        )
        axes.legend(fontsize=7, loc="upper right")
    return png(figure)


def rank_bundle(
    members: Mapping[str, bytes],
    contract: InputContract,
    cells: Sequence[LabelledCell],
    out: Path | None,
    *,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Rank the layers of a bundle's int8 networks.

    Parameters
    ----------
    members : mapping of str to bytes
        Of the bundle; the float reference among them.
    contract : InputContract
    cells : sequence of LabelledCell
        Spread over these, `IMAGES` are looked at.
    out : Path, optional
        Folder for ``layers.png``.
    progress : callable, optional
        Told (done, total).

    Returns
    -------
    dict
        What `ranking` returns, ``layers_images``, and ``layers_plot`` where there is one.
    """
    from edgeleuk_convert.dataset.tensors import load_tensors

    chosen = [cells[index] for index in np.unique(np.linspace(0, len(cells) - 1, IMAGES).astype(int))]
    real = look_up(real_table(contract.scale, contract.offset), load_tensors(chosen, contract))
    names = [name for name, model in MODEL_FILES.items() if name in members and model.precision == "int8"]
    measured = {}
    for turn, name in enumerate(names):

        def report(done: int, _: int, turn: int = turn) -> None:
            if progress is not None:
                progress(turn * len(real) + done, len(names) * len(real))

        with silenced():
            measured[MODEL_FILES[name].key] = measure(
                members[REFERENCE_MEMBER], name, members[name], real, progress=report
            )
    result = ranking(measured) | {"layers_images": len(real)}
    if out is None:
        return result
    plot = out / "layers.png"
    replace_file(plot, layers_figure(measured))
    return result | {"layers_plot": str(plot)}


def layers_text(result: Mapping[str, Any]) -> str:
    """Say which layers are worst."""
    rows = result["layers"]
    lines = [
        "signal to quantization noise, worst first (what the layer adds, with all before it, weights):",
        f"  {'network':<12} {'layer':<28} {'kind':<11} {'adds':>6} {'in all':>7}  weights",
    ]
    for row in rows[:WORST_LAYERS]:
        worst = row["weight_channels_worst"][:1]
        weights = f"{worst[0]['sqnr_db']:.1f} (channel {worst[0]['channel']})" if worst else "-"
        lines.append(
            f"  {row['network']:<12} {row['name']:<28} {row['op']:<11} {row['own_sqnr_db']:>6.1f}"
            f" {row['sqnr_db']:>7.1f}  {weights}"
        )
    lines += [f"  plot: {result['layers_plot']}"] if "layers_plot" in result else []
    unmatched = {key: count for key, count in result["layers_unmatched"].items() if count}
    lines += [f"  {count} layers of {key} have no counterpart in float" for key, count in unmatched.items()]
    return "\n".join(lines)
