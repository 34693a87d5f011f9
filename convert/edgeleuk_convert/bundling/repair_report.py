"""What a repair did, in words for people and without times for a bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeleuk_convert.quantization.agreement import correlation_text

if TYPE_CHECKING:
    from collections.abc import Mapping


def repair_text(report: Mapping[str, Any]) -> str:
    """Say what was tried, what helped, and what it costs."""
    if not report["needed"]:
        return "repair: not needed"
    lines = ["repair:"]
    for tried in report["tried"]:
        figures = ", ".join(
            f"{key} {correlation_text(of['correlation'])}" for key, of in tried["networks"].items()
        )
        lines.append(
            f"  {tried['step']:<13} {tried['verdict']:<9} correlation with float {figures}; {tried['note']}"
        )
    if report["step"] is None:
        return "\n".join([*lines, "  nothing helped; these are the networks nearest to float"])
    for key, cost in report["cost"].items():
        lines.append(
            f"  {key}: {cost['size_bytes']:,} bytes ({cost['size_ratio']:.2f} times),"
            f" {cost['ms']:.2f} ms a cell ({cost['time_ratio']:.2f} times)"
        )
    return "\n".join(lines)


def without_times(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return a report for a bundle: times are another each time, and the same inputs give the same bytes."""
    if "cost" not in report:
        return dict(report)
    sizes = {
        key: {name: value for name, value in cost.items() if name.startswith("size_")}
        for key, cost in report["cost"].items()
    }
    return {**report, "cost": sizes}
