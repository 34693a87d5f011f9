"""Quality over weeks in lines: the measures of each setup, the sessions, and a verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeleuk.io.console import printable
from edgeleuk.results.trend_words import setup_title, state_text, value_text
from edgeleuk.version import RESEARCH_USE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgeleuk.results.trends import TrendResult, TrendSetup

# The newest sessions, as many as fit on a screen; the page and the JSON have all.
MOST_ROWS = 40
# What stands in the table of sessions: name of the measure, heading.
COLUMNS = {
    "light": "light",
    "glass_red": "R/G",
    "glass_blue": "B/G",
    "sharpness": "sharp",
    "cell_focus": "focus",
    "scale": "px/um",
    "rejected_share": "rej %",
    "blast_share": "blast %",
}


def trend_text(result: TrendResult) -> str:
    """Say it in lines."""
    lines: list[str] = []
    for setup in result.setups:
        lines += [*_setup_lines(setup, result.needed), ""]
    lines += [*_session_lines(result), ""]
    lines += [f"skipped   {one.file}: {one.error}" for one in result.skipped]
    lines += [f"note      {note}" for note in result.notes]
    lines.append(f"verdict   {'DRIFT: ' if result.drifting else ''}{result.verdict}")
    return "\n".join(printable(line).rstrip() for line in [*lines, RESEARCH_USE])


def _setup_lines(setup: TrendSetup, needed: int) -> Iterator[str]:
    simulated = "   SIMULATED" if setup.simulated else ""
    yield f"setup {setup.number}   {setup_title(setup)}{simulated}"
    number = "1 session" if setup.sessions == 1 else f"{setup.sessions} sessions"
    yield f"          {number}; a baseline of its own: {setup.began}"
    for one in setup.measures:
        mean = "" if one.mean is None else f"{one.mean:.{one.digits}f}"
        yield f"  {one.title:<20} {mean:>9}  {state_text(one, needed)}"


def _session_lines(result: TrendResult) -> list[str]:
    digits = {one.measure: one.digits for setup in result.setups for one in setup.measures}
    columns = {name: title for name, title in COLUMNS.items() if name in digits}
    shown = result.sessions[-MOST_ROWS:]
    rows = [("session", "recorded, UTC", "setup", *columns.values(), "")]
    rows += [
        (
            one.session,
            (one.recorded_at or "clock not set")[:16].replace("T", " "),
            str(one.setup),
            *(value_text(one, name, digits[name]) for name in columns),
            f"not judged: {one.not_judged}" if one.not_judged else "",
        )
        for one in shown
    ]
    return [*_earlier(len(result.sessions) - len(shown)), *_aligned(rows)]


def _earlier(left: int) -> list[str]:
    return [f"... {left} earlier sessions; --json and --html have them all"] if left else []


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    rows = [tuple(printable(cell) for cell in row) for row in rows]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]) - 1)]
    return [
        "  ".join(
            [
                f"{row[0]:<{widths[0]}}",
                f"{row[1]:<{widths[1]}}",
                *(f"{cell:>{width}}" for cell, width in zip(row[2:-1], widths[2:], strict=True)),
                row[-1],
            ]
        )
        for row in rows
    ]
