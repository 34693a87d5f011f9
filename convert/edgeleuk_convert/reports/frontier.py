"""Draw what networks cost against what they are worth."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Point:
    """One network.

    Attributes
    ----------
    title : str
    multiply_adds : float
        Of one cell.
    auroc, low, high : float
        Mean of the folds and its 95 % interval.
    """

    title: str
    multiply_adds: float
    auroc: float
    low: float
    high: float


def frontier(points: Sequence[Point]) -> bytes:
    """Return a PNG: AUROC with its interval over multiply-adds; those no cheaper one reaches are joined."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    on_line = unbeaten(points)
    axes.step(
        [one.multiply_adds / 1e6 for one in on_line],
        [one.auroc for one in on_line],
        where="post", color="0.7", zorder=1,
    )  # fmt: skip
    for one in points:
        at, colour = one.multiply_adds / 1e6, "C0" if one in on_line else "C7"
        axes.plot([at, at], [one.low, one.high], color=colour, alpha=0.35, linewidth=3)
        axes.scatter([at], [one.auroc], color=colour, zorder=2)
        # Along the interval: networks of nearly the same cost would write over each other.
        axes.annotate(
            one.title, (at, one.low), (-3, 2), textcoords="offset points",
            fontsize=8, rotation=90, ha="right", va="bottom",
        )  # fmt: skip
    axes.set(
        xscale="log",
        xlabel="million multiply-adds a cell",
        ylabel="AUROC, mean of the folds, 95 % interval",
    )
    costs = [one.multiply_adds / 1e6 for one in points]
    axes.set_xlim(min(costs) / 1.2, max(costs) * 1.2)
    # Costs as they are, and no powers of ten between them.
    axes.set_xticks(costs, [f"{cost:.0f}" for cost in costs])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    return content.getvalue()


def unbeaten(points: Sequence[Point]) -> list[Point]:
    """Return those that no cheaper one reaches, from the cheapest on."""
    found: list[Point] = []
    for one in sorted(points, key=lambda one: (one.multiply_adds, -one.auroc)):
        if not found or one.auroc > found[-1].auroc:
            found.append(one)
    return found
