"""What a training record would say of a network that was trained elsewhere: by a file and its shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edgeleuk.bundle.manifest import (
    MANY_CLASSES,
    Channel,
    Framing,
    InputContract,
    OutputContract,
    OutputKind,
    Resize,
    Struct,
    Surroundings,
)
from edgeleuk.errors import UsageError
from edgeleuk.io.settings import load_settings
from edgeleuk_convert.dataset.cells import CNMC_PX_PER_UM
from edgeleuk_convert.dataset.cnmc import USUAL_SIZE
from edgeleuk_convert.dataset.splits import grouped_folds
from edgeleuk_convert.quantization.bias_correction import activation_of, begins_with_rescaling, last_layer
from edgeleuk_convert.training.envelope import envelope_of
from edgeleuk_convert.training.record import TrainingRecord

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgeleuk_convert.dataset.cells import LabelledCell

# Of the groups at hand, one in so many judges a network whose training subjects nobody knows.
FOLDS = 3
# What so many channels usually hold.
_CHANNELS: dict[int, tuple[Channel, ...]] = {
    1: ("luminance",),
    2: ("luminance", "mask"),
    3: ("red", "green", "blue"),
    4: ("red", "green", "blue", "mask"),
}


class InputSettings(Struct, frozen=True):
    """The table ``[input]``: as in `InputContract`, and None where the network's shape tells."""

    channels: tuple[Channel, ...] | None = None
    px_per_um: float | None = None
    crop_px_per_um: float = CNMC_PX_PER_UM
    normalise: bool = False
    rim_um: float = 0.0
    scale: float | tuple[float, ...] | None = None
    offset: float | tuple[float, ...] = 0.0
    framing: Framing = "centred"
    picture_px: tuple[int, int] | None = None
    resize: Resize | None = None
    surroundings: Surroundings = "black"


class OutputSettings(Struct, frozen=True):
    """The table ``[output]``: as in `OutputContract`, and None where the network's end tells."""

    kind: OutputKind | None = None
    labels: tuple[str, ...] | None = None
    positive: str | tuple[str, ...] | None = None
    temperature: float = 1.0
    bias: float = 0.0
    threshold: float = 0.5
    abstain: tuple[float, float] = (0.5, 0.5)


class ContractSettings(Struct, frozen=True):
    """``contract.toml``."""

    input: InputSettings = InputSettings()
    output: OutputSettings = OutputSettings()


def read_contract(model: Any, name: str, file: Path | None) -> tuple[InputContract, OutputContract]:
    """Put together how crops become a network's input, and what its output means.

    Parameters
    ----------
    model : keras.Model
        That `loading.load_network` has let pass.
    name : str
        Of its file, for errors.
    file : Path, optional
        TOML with the tables ``[input]`` and ``[output]``.

    Raises
    ------
    UsageError
        Something is missing that cannot be guessed (all of it is listed), the file does not fit the network,
        or it cannot be read.
    """
    given = load_settings(ContractSettings, file=file, environ={}, command="convert")
    _, height, width, depth = model.input_shape
    channels = given.input.channels or _CHANNELS.get(depth)
    if channels is not None and len(channels) != depth:
        raise UsageError(
            f"{name} takes images of {depth} channels",
            got=", ".join(channels),
            allowed=f"{depth} in input.channels",
        )
    scale = 1.0 if given.input.scale is None and begins_with_rescaling(model) else given.input.scale
    kind = _kind(model, name, given.output)
    count = model.output_shape[-1]
    labels = given.output.labels or (("normal", "blast") if count == 1 else None)
    positive = given.output.positive
    if positive is None and labels is not None and ("blast" in labels or count == 1):
        positive = "blast" if "blast" in labels else labels[-1]
    cnmc = CNMC_PX_PER_UM * height / USUAL_SIZE[1]
    framed = _framed(given.input, height)
    missing = [
        f"{key} ({hint})"
        for key, value, hint in (
            ("input.channels", channels, f"what the {depth} channels hold"),
            ("input.px_per_um", framed["px_per_um"], f"{cnmc:.3g} for whole C-NMC pictures at {height} px"),
            ("input.scale", scale, "1 for bytes from 0 to 255, 0.003921568627 for 0 to 1"),
            ("output.kind", kind, "logit, probability, logits or softmax"),
            ("output.labels", labels, f"the {count} classes in the network's order"),
            ("output.positive", positive, "the label that stands for a blast"),
        )
        if value is None
    ]
    if missing:
        raise UsageError(
            f"{name} has no training record, and not all that it would tell is known",
            got=f"no {', no '.join(missing)}",
            cure="write the tables [input] and [output] into a file and pass it as --contract FILE.toml",
        )
    of_input = msgspec.structs.asdict(given.input) | framed | {"channels": channels, "scale": scale}
    of_output = msgspec.structs.asdict(given.output) | {"kind": kind, "labels": labels, "positive": positive}
    try:
        contracts = (
            InputContract(height=height, width=width, **of_input),
            OutputContract(**of_output),
        )
    except ValueError as error:
        raise UsageError(f"the contract does not fit {name}", got=str(error)) from error
    if contracts[1].width != count:
        raise UsageError(
            f"{name} answers with {count} numbers",
            got=f"{kind} with the labels {', '.join(contracts[1].labels)}",
            allowed="one logit or probability, or one of the logits or of the softmax for each label",
        )
    return contracts


def divided(
    cells: Sequence[LabelledCell], *, seed: int, folds: int = FOLDS
) -> tuple[list[LabelledCell], list[LabelledCell]]:
    """Set one part of the groups apart to judge a network whose training nobody knows.

    Parameters
    ----------
    cells : sequence of LabelledCell
    seed : int
        Of the division of the groups.
    folds : int
        Into so many parts.

    Returns
    -------
    seen, held_out : list of LabelledCell
        Labelled cells that may calibrate the network and tell its contract, and those that judge it.

    Raises
    ------
    DataRefusedError
        A class has fewer groups than parts.
    """
    labelled = [cell for cell in cells if cell.label is not None]
    fold_of = grouped_folds(labelled, folds, seed)
    sides: Mapping[bool, list[LabelledCell]] = {True: [], False: []}
    for cell in labelled:
        sides[fold_of[cell.group or ""] == 0].append(cell)
    return sides[False], sides[True]


def foreign_record(
    model: Any,
    contracts: tuple[InputContract, OutputContract],
    seen: Sequence[LabelledCell],
    held_out: Sequence[LabelledCell],
    *,
    inferred: bool = False,
) -> TrainingRecord:
    """Make the record of a network whose training nobody knows.

    Parameters
    ----------
    model : keras.Model
    contracts : (InputContract, OutputContract)
    seen, held_out : sequence of LabelledCell
        From `divided`: the first count as seen.
    inferred : bool
        The contracts were found out by the labels.
    """
    return TrainingRecord(
        architecture=model.name,
        parameters=int(sum(np.prod(weight.shape, dtype=np.int64) for weight in model.weights)),
        input=contracts[0],
        output=contracts[1],
        envelope=envelope_of(seen),
        settings={},
        training_subjects=_subjects(seen),
        held_out_subjects=_subjects(held_out),
        training_hashes=tuple(sorted({cell.sha256[:16] for cell in seen})),
        tools={},
        calibrated_by="nothing",
        training_known=False,
        contract_inferred=inferred,
    )


def _framed(given: InputSettings, height: int) -> dict[str, Any]:
    """Fill in what the framing tells: the usual picture, the scale that comes of it, a way to resize."""
    picture_px = given.picture_px
    if given.framing == "picture" and picture_px is None:
        picture_px = USUAL_SIZE
    px_per_um = given.px_per_um
    if px_per_um is None and picture_px is not None:
        px_per_um = given.crop_px_per_um * height / picture_px[0]
    resize = given.resize or ("halve-exact" if given.framing == "centred" else "bilinear")
    return {"picture_px": picture_px, "px_per_um": px_per_um, "resize": resize}


def _subjects(cells: Sequence[LabelledCell]) -> tuple[str, ...]:
    return tuple(sorted({cell.subject or "" for cell in cells}))


def kind_of_end(model: Any, name: str) -> OutputKind | None:
    """Tell what a network's numbers are by its last layer; None where that does not tell.

    Raises
    ------
    UsageError
        It ends in a softmax of one.
    """
    activation, many = activation_of(last_layer(model)), model.output_shape[-1] > 1
    if activation == "softmax" and not many:
        raise UsageError(
            f"{name} ends in a softmax of 1, which is always 1",
            allowed="one sigmoid, a sigmoid or a softmax over two classes or more, or logits",
            cure="train it with a sigmoid, or with a softmax over both classes",
        )
    ends: dict[str | None, tuple[OutputKind, OutputKind]] = {
        "linear": ("logit", "logits"),
        # Of a sigmoid for each class, their shares of the sum count.
        "sigmoid": ("probability", "softmax"),
        "softmax": ("softmax", "softmax"),
    }
    return ends[activation][many] if activation in ends else None


def _kind(model: Any, name: str, given: OutputSettings) -> OutputKind | None:
    """Tell what a network's numbers are; refuse a file that says otherwise than its end."""
    found, many = kind_of_end(model, name), model.output_shape[-1] > 1
    if given.kind is None or found is None:
        return given.kind or found
    bare = found in ("logit", "logits")
    if (given.kind in MANY_CLASSES) != many or (not bare and given.kind != found):
        raise UsageError(
            "output.kind does not fit the network", got=given.kind, allowed=f"{found}, as {name} ends"
        )
    return given.kind
