"""What a session came to, in lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeleuk.commands.slide_text import slide_text
from edgeleuk.control.watch import control_text
from edgeleuk.counting.intervals import counting_text, share_text, sightings_text, way_on_text
from edgeleuk.io.console import printable
from edgeleuk.version import RESEARCH_USE

if TYPE_CHECKING:
    from edgeleuk.results import SessionSummary


def summary_text(summary: SessionSummary) -> str:
    """Say what a session came to."""
    cells: Any = summary.to_json()["cells"]
    lines = [
        f"session   {printable(str(summary.session))}" + ("   SIMULATED" if summary.simulated else ""),
        f"camera    {printable(summary.camera)}, ended: {printable(summary.ended)}",
        f"frames    {summary.captured} captured, {summary.processed} processed, {summary.dropped} dropped,"
        f" {summary.rejected} rejected, {summary.fps:.1f} a second",
        f"cells     {summary.unique} counted once each: {summary.counted.text()}",
        f"sightings {sightings_text(cells)}",
        *way_on_text(cells["uncertain_by_reason"]),
    ]
    if summary.rejected_by_reason:
        reasons = sorted(summary.rejected_by_reason.items(), key=lambda item: -item[1])
        lines.insert(3, "rejected  " + ", ".join(f"{count} {reason}" for reason, count in reasons))
    lines += share_text(summary.counted.share_facts())
    if summary.counting is not None:
        # Reasons may be a bundle's own words.
        lines += map(printable, counting_text(summary.counting))
    if summary.control is not None:
        lines.append(control_text(summary.control))
    if summary.latency_ms:
        lines.append(
            "latency   " + ", ".join(f"{name} {ms:.0f} ms" for name, ms in summary.latency_ms.items())
        )
    if summary.slide is not None:
        lines += slide_text(summary.slide).splitlines()
    if summary.truth is not None:
        lines.append("truth     " + _truth_text(summary))
    return "\n".join([*lines, RESEARCH_USE])


def _truth_text(summary: SessionSummary) -> str:
    truth: Any = summary.truth
    cells, called = truth["cells"], truth["called"]
    return (
        f"the slide is simulated and showed {cells['blast']} whole blasts and {cells['normal']} normal cells;"
        f" of those found, {called['blast']['blast']} of {sum(called['blast'].values())} blasts and"
        f" {called['normal']['normal']} of {sum(called['normal'].values())} normal cells were called so"
    )
