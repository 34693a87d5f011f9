"""The pictures of a report, drawn from its facts alone, as PNG and JPEG bytes."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from edgeleuk.errors import MissingDependencyError, extra_cure
from edgeleuk.frames import not_black
from edgeleuk_convert.dataset.cells import CNMC_PX_PER_UM
from edgeleuk_convert.dataset.decoding import decode

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy.typing as npt

BLAST, NORMAL, GREY = "#b5352c", "#2b6cb0", "#888888"
LINES = ("-", "--", "-.", ":", (0, (3, 1, 1, 1, 1, 1)))
COLOURS = ("#111111", "#999999", "#d08a2e", "#4b8f5b", "#7a5ea8")
DPI = 110
THUMB_UM = 18.0
THUMB_PX = 112


@dataclass(frozen=True, slots=True)
class Figures:
    """PNG files: subjects, ROC curves, reliability."""

    subjects: bytes
    roc: bytes
    reliability: bytes


def figures(facts: dict[str, Any]) -> Figures:
    """Draw everything.

    Raises
    ------
    MissingDependencyError
        Matplotlib is not installed.
    """
    return Figures(subjects_figure(facts), roc_figure(facts), reliability_figure(facts))


def subjects_figure(facts: dict[str, Any]) -> bytes:
    """Draw, for each subject, the share of cells called right: area by cells, bar by Wilson."""
    rows = facts["subjects_table"]
    figure = new_figure(6.5, 1.1 + 0.23 * len(rows))
    axes = figure.subplots()
    for y, row in enumerate(rows):
        colour = BLAST if row["label"] == "blast" else NORMAL
        axes.plot(row["wilson_95"], [y, y], color=colour, alpha=0.45, linewidth=2)
        axes.scatter([row["share"]], [y], s=12 + 0.8 * row["cells"], color=colour, zorder=3)
    axes.set_yticks(range(len(rows)), [f"{row['subject']} (n = {row['cells']})" for row in rows], fontsize=8)
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.8, len(rows) - 0.2), xlabel="share of cells called right")
    axes.axvline(0.5, color=GREY, linewidth=0.7, linestyle=":")
    for label, colour in (("normal", NORMAL), ("blast", BLAST)):
        axes.scatter([], [], color=colour, label=f"{label} subjects")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return png(figure)


def roc_figure(facts: dict[str, Any]) -> bytes:
    """Draw the model's ROC curve and the baselines'."""
    figure = new_figure(6.0, 5.6)
    axes = figure.subplots()
    for number, curve in enumerate(facts["roc"]):
        axes.plot(
            curve["false_positive_rate"],
            curve["true_positive_rate"],
            color=COLOURS[number % len(COLOURS)],
            linestyle=LINES[number % len(LINES)],
            linewidth=2.4 if number == 0 else 1.4,
            label=f"{curve['title']}: AUROC {curve['auroc']:.3f}",
        )
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.7)
    n = facts["n"]
    axes.set(
        xlabel=f"normal cells called blasts (n = {n['normal_cells']:,})",
        ylabel=f"blasts called blasts (n = {n['blast_cells']:,})",
        aspect="equal",
    )
    axes.legend(loc="lower right", fontsize=8)
    return png(figure)


def reliability_figure(facts: dict[str, Any]) -> bytes:
    """Draw what the model says against what is true, with the number of cells in each bin."""
    bins = facts["reliability"]
    figure = new_figure(6.0, 5.6)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot([0, 1], [0, 1], color=GREY, linewidth=0.7)
    above.plot([b["mean_probability"] for b in bins], [b["blasts"] for b in bins], "o-", color=COLOURS[0])
    above.set(ylabel="share that are blasts", ylim=(-0.03, 1.03))
    above.set_title(
        f"expected calibration error {facts['ece']:.3f}, n = {facts['cells']:,} cells", fontsize=10
    )
    below.bar(
        [(b["from"] + b["to"]) / 2 for b in bins],
        [b["cells"] for b in bins],
        width=0.9 * (bins[0]["to"] - bins[0]["from"]),
        color=GREY,
    )
    below.set(xlabel="probability of blast that the model gives", ylabel="cells", xlim=(0, 1))
    return png(figure)


def thumbnails(facts: dict[str, Any], folder: Path) -> dict[str, bytes]:
    """Cut the worst cells out, all at one scale: file to JPEG."""
    return cut_out([entry["file"] for entries in facts["worst"].values() for entry in entries], folder)


def cut_out(files: Iterable[str], folder: Path) -> dict[str, bytes]:
    """Cut cells out of their pictures, all at one scale: file to JPEG; what cannot be read is left out."""
    pictures = {}
    for file in files:
        pixels = decode(folder / file)
        if not isinstance(pixels, str):
            pictures[file] = _jpeg(_square(pixels, round(THUMB_UM * CNMC_PX_PER_UM)))
    return pictures


def _square(pixels: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """Cut a square of `side` pixels around what is not black; beyond the picture it is black."""
    x, y, w, h = cv2.boundingRect(not_black(pixels))
    padded = cv2.copyMakeBorder(pixels, side, side, side, side, cv2.BORDER_CONSTANT)
    top, left = y + h // 2 + side - side // 2, x + w // 2 + side - side // 2
    return np.asarray(padded[top : top + side, left : left + side], np.uint8)


def _jpeg(pixels: npt.NDArray[np.uint8]) -> bytes:
    small = cv2.resize(pixels, (THUMB_PX, THUMB_PX), interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", small[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    return encoded.tobytes()


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure of a size in inches, or say how Matplotlib is installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            "Matplotlib is not installed",
            got=str(error),
            cure=f"install it with: {extra_cure('workstation')}",
        ) from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png(figure: Any) -> bytes:
    """Return the PNG of a figure."""
    content = io.BytesIO()
    # Without Matplotlib's name and address in it the same facts give the same bytes.
    figure.savefig(content, format="png", dpi=DPI, metadata={"Software": None})
    return content.getvalue()
