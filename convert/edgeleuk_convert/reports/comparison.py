"""Write what a cross-validation found: ``comparison.json``, ``.md`` and ``.png``, and ``frontier.png``."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import msgspec

from edgeleuk_convert.environment import replace_file
from edgeleuk_convert.evaluation.baselines import TITLES
from edgeleuk_convert.evaluation.fold_scores import HARD_AUROC, WITH_FOREST
from edgeleuk_convert.reports.frontier import Point, frontier

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeleuk_convert.evaluation.cross_validation import Comparison
    from edgeleuk_convert.evaluation.fold_scores import Scores

# Metric to the head of its column.
COLUMNS = {
    "weighted_f1": "weighted F1 (95 %)",
    "auroc": "AUROC (95 %)",
    "subject_sensitivity_mean": "sensitivity, mean of subjects",
    "subject_specificity_mean": "specificity, mean of subjects",
    HARD_AUROC: "AUROC, fold_2's subjects",
    "ece": "ECE",
}
WITH_INTERVAL = ("weighted_f1", "auroc")


def write(compared: Comparison, folder: Path) -> dict[str, Any]:
    """Write the four files, and return what ``comparison.json`` holds."""
    facts = compared.to_json()
    replace_file(folder / "comparison.json", msgspec.json.format(msgspec.json.encode(facts), indent=1))
    replace_file(folder / "comparison.md", (comparison_text(facts) + "\n").encode())
    replace_file(folder / "comparison.png", _plot(compared))
    if points := points_of(facts):
        replace_file(folder / "frontier.png", frontier(points))
    return facts


def points_of(facts: dict[str, Any]) -> list[Point]:
    """Return each network of ``comparison.json`` whose cost was measured, with a forest if there is one."""
    costs = {name: one["cost"]["multiply_adds"] for name, one in facts["scores"].items() if one["cost"]}
    found = []
    for name, cost in costs.items():
        one = facts["scores"].get(f"{name}{WITH_FOREST}", facts["scores"][name])
        found.append(Point(one["title"], cost, one["mean"]["auroc"], *one["interval_95"]["auroc"]))
    return found


def comparison_text(facts: dict[str, Any]) -> str:
    """Return the tables as Markdown: the means, every fold, and the learning curve."""
    scores: dict[str, dict[str, Any]] = facts["scores"]
    folds = len(next(iter(scores.values()))["folds"])
    head = ["method", *COLUMNS.values()]
    rows = [[one["title"], *(_cell(one, metric) for metric in COLUMNS)] for one in scores.values()]
    costs = [
        [
            one["title"],
            f"{one['parameters']:,}",
            f"{one['cost']['multiply_adds'] / 1e6:.0f}",
            f"{one['cost']['int8_bytes'] / 1000:,.0f} ({one['cost']['float32_bytes'] / 1000:,.0f})",
            f"{one['cost']['float32_ms']:.1f}",
            f"{one['cost']['int8_ms']:.1f}",
            f"{one['cost']['int8_ms'] / one['cost']['float32_ms']:.2f}",
        ]
        for one in scores.values()
        if one["cost"]
    ]
    each = [
        [
            one["title"],
            *(_pair(fold) for fold in one["folds"]),
            "; ".join(_pair(seed) for seed in one["seeds"]),
        ]
        for one in scores.values()
    ]
    curve = [[str(groups), _number(auroc), _number(f1)] for groups, auroc, f1 in facts["curve"]]
    return "\n\n".join(
        [
            f"{facts['cells']:,} cells of {facts['subjects']} subjects in {facts['groups']} groups,"
            f" {folds} folds by group; each number is the mean over folds and seeds of what was held out.",
            _table(head, rows),
            *_differences(facts["differences"]),
            "Every fold, weighted F1 / AUROC, and the mean over folds for each seed:",
            _table(["method", *(f"fold {fold + 1}" for fold in range(folds)), "seeds"], each),
            "What one cell costs in LiteRT with one thread, on the machine that made this table:",
            _table(
                [
                    "network",
                    "parameters",
                    "M multiply-adds",
                    "kB int8 (float32)",
                    "ms float32",
                    "ms int8",
                    "ratio",
                ],
                costs,
            ),
            f"What more subjects are worth ({TITLES['forest']}):",
            _table(["training groups", "AUROC", "weighted F1"], curve),
        ]
    )


def _cell(one: dict[str, Any], metric: str) -> str:
    text = _number(one["mean"][metric])
    if metric in WITH_INTERVAL:
        low, high = one["interval_95"][metric]
        text += f" ({_number(low)}-{_number(high)})"
    return text


def _differences(found: Sequence[dict[str, Any]]) -> list[str]:
    """Return what is said of networks against the first; nothing where there is one alone."""
    if not found:
        return []
    rows = [[one["of"], *(_difference(one, metric) for metric in COLUMNS)] for one in found]
    head = ["network", *(title.removesuffix(" (95 %)") for title in COLUMNS.values())]
    return [
        f"Difference from {found[0]['against']}, on the same draws of groups (95 %):",
        _table(head, rows),
    ]


def _difference(one: dict[str, Any], metric: str) -> str:
    low, high = one["interval_95"][metric]
    return f"{_signed(one['mean'][metric])} ({_signed(low)} to {_signed(high)})"


def _signed(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:+.3f}".replace("0.", ".")  # noqa: PLR0124  # NaN


def _pair(metrics: dict[str, float]) -> str:
    return f"{_number(metrics['weighted_f1'])} / {_number(metrics['auroc'])}"


def _number(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.3f}".removeprefix("0")  # noqa: PLR0124  # NaN


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))


def _plot(compared: Comparison) -> bytes:
    """Draw each method's folds, mean and interval of AUROC and weighted F1."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 0.5 * len(compared.scores) + 1.6), layout="constrained")
    FigureCanvasAgg(figure)
    methods = list(compared.scores.values())[::-1]
    for axes, (metric, title) in zip(
        figure.subplots(1, 2, sharey=True), (("auroc", "AUROC"), ("weighted_f1", "weighted F1")), strict=True
    ):
        for place, one in enumerate(methods):
            low, high = one.interval_95[metric]
            axes.plot([low, high], [place, place], color="0.7", linewidth=3, zorder=1)
            axes.scatter(
                [fold[metric] for fold in one.folds], [place] * len(one.folds), color=_colour(one), s=18
            )
            axes.scatter([one.mean[metric]], [place], color=_colour(one), marker="|", s=260)
        axes.set_yticks(range(len(methods)), [one.title for one in methods])
        axes.set_xlabel(f"{title}: folds, mean, 95 % interval")
        axes.grid(axis="x", alpha=0.3)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    return content.getvalue()


def _colour(one: Scores) -> str:
    return "C7" if one.parameters is None else "C0"
