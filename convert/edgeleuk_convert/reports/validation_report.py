"""``validate --report``: ``validation.html`` for people and ``validation.json`` with the same numbers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edgeleuk.bundle.manifest import CALIBRATION
from edgeleuk.errors import IntegrityError
from edgeleuk.version import RESEARCH_USE, __version__
from edgeleuk_convert.dataset.cnmc_layouts import natural_key
from edgeleuk_convert.environment import replace_file
from edgeleuk_convert.evaluation.int8_vs_float import REFERENCE
from edgeleuk_convert.reports.report_plots import BLAST, GREY, NORMAL, cut_out, new_figure, png
from edgeleuk_convert.reports.validation_page import GALLERY, render

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeleuk.bundle.contents import Bundle
    from edgeleuk_convert.evaluation.int8_vs_float import Answers

    Facts = dict[str, Any]

HTML, JSON = "validation.html", "validation.json"


class _Image(msgspec.Struct):
    label: str = ""
    group: str = ""
    subject: str = ""


class _CalibrationRecord(msgspec.Struct):
    """What the page needs of ``calibration.json``; the file may say more."""

    strategy: str
    seed: int
    images: tuple[_Image, ...]


def write_validation_report(
    folder: Path,
    facts: Facts,
    answers: Answers,
    *,
    bundle: Bundle,
    data: Path,
) -> Path:
    """Write the page and its numbers, each beside first, then renamed.

    Parameters
    ----------
    folder : Path
        Is there.
    facts : dict
        From `validation_facts`, with ``stamp``; and from `rank_bundle`, where the layers were ranked.
    answers : Answers
        What they come from.
    bundle : Bundle
    data : Path
        Folder of the cells, for their pictures.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    MissingDependencyError
        Matplotlib is not installed.
    IntegrityError
        The bundle's calibration record cannot be read.
    """
    everything = facts | {
        "bundle": bundle.manifest.name,
        "bundle_sha256": bundle.sha256,
        "edgeleuk": __version__,
        "research_use": RESEARCH_USE,
        "data": str(data),
        "calibration": calibration_facts(bundle),
    }
    # As the file will have it: what is not a number becomes null in both.
    encoded = msgspec.json.encode(everything)
    decoded = msgspec.json.decode(encoded)
    flipped = {one["file"] for key in decoded["models"] for one in decoded[key]["flipped"][:GALLERY]}
    moved = {decoded[key]["most_changed"]["file"] for key in decoded["models"]}
    plot = Path(facts["layers_plot"]).read_bytes() if "layers_plot" in facts else None
    page = render(decoded, scatter_figure(decoded, answers), cut_out(sorted(flipped | moved), data), plot)
    replace_file(folder / HTML, page.encode())
    replace_file(folder / JSON, msgspec.json.format(encoded, indent=1))
    return folder / HTML


def calibration_facts(bundle: Bundle) -> Facts:
    """Sum up a bundle's ``calibration.json``; by groups where it does not name subjects.

    Returns
    -------
    dict
        ``strategy seed images by_subject``, the last a list of ``subject label images``.
    """
    try:
        card = msgspec.json.decode(bundle.members[CALIBRATION], type=_CalibrationRecord)
    except msgspec.DecodeError as error:
        raise IntegrityError(f"{CALIBRATION} in {bundle.path.name} is damaged", got=str(error)) from error
    counts = Counter((image.label, image.subject or image.group) for image in card.images)
    return {
        "strategy": card.strategy,
        "seed": card.seed,
        "images": len(card.images),
        "by_subject": [
            {"subject": subject, "label": label, "images": number}
            for (label, subject), number in sorted(
                counts.items(), key=lambda one: (one[0][0], natural_key(one[0][1]))
            )
        ],
    }


def scatter_figure(facts: Mapping[str, Any], answers: Answers) -> bytes:
    """Draw the int8 against the float probability of every cell; flipped ones are ringed."""
    reference, keys = answers.judged[REFERENCE], facts["models"]
    figure = new_figure(4.6 * max(1, len(keys)), 4.9)
    allowed, threshold = facts["limits"]["probability_change"], facts["threshold"]
    all_axes = np.atleast_1d(figure.subplots(1, max(1, len(keys)), sharey=True))
    for key, axes in zip(keys, all_axes, strict=False):
        judged = answers.judged[key]
        for label, side, colour in (("normal", ~judged.truth, NORMAL), ("blast", judged.truth, BLAST)):
            axes.scatter(
                reference.probability[side], judged.probability[side], s=7, color=colour, alpha=0.45,
                linewidths=0, label=f"{label} (n = {int(side.sum()):,})",
            )  # fmt: skip
        flipped = reference.called != judged.called
        axes.scatter(
            reference.probability[flipped], judged.probability[flipped], s=42, facecolors="none",
            edgecolors="black", linewidths=0.9, label=f"flipped (n = {int(flipped.sum()):,})",
        )  # fmt: skip
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.7)
        for off in (-allowed, allowed):
            axes.plot([0, 1], [off, 1 + off], color=GREY, linewidth=0.7, linestyle="--")
        axes.axvline(threshold, color=GREY, linewidth=0.7, linestyle=":")
        axes.axhline(threshold, color=GREY, linewidth=0.7, linestyle=":")
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xlabel="probability, float")
        axes.set_title(key, fontsize=10)
        axes.legend(loc="upper left", fontsize=7)
    all_axes[0].set_ylabel("probability, int8")
    return png(figure)
