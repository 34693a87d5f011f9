"""The evidence: the slide, focus and speed over time, and what was not counted and why."""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING

from edgeleuk.counting.intervals import WAYS_ON
from edgeleuk.io.console import printable
from edgeleuk.io.page import row, section, table
from edgeleuk.reports.charts import over_time
from edgeleuk.reports.facts import UNCERTAIN, by_check
from edgeleuk.reports.slide import MARKS
from edgeleuk.results import Check

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeleuk.reports.facts import SessionFacts
    from edgeleuk.reports.slide import SlideImage

_MOST_GAPS, _MOST_NOTES = 8, 20


def evidence(facts: SessionFacts, slide: SlideImage | None) -> str:
    """Return the section of the evidence, without the gallery."""
    return section("Evidence", _slide(slide), _over_time(facts), _rejected(facts), _notes(facts), css="page")


def _slide(slide: SlideImage | None) -> str:
    if slide is None:
        return "<h3>Fields</h3>\n<p>The session keeps no fields: where they lie was not recorded.</p>"
    data = base64.b64encode(slide.jpeg).decode()
    elsewhere = f"; {slide.left_out:,} fields lie elsewhere" if slide.left_out else ""
    alternative = f"{slide.fields} fields side by side, in grey, with the cells marked"
    return (
        f'<h3>Fields</h3>\n<figure class="whole"><img class="slide" width="{slide.width}"'
        f' height="{slide.height}" alt="{alternative}" src="data:image/jpeg;base64,{data}">'
        f"<figcaption>{slide.fields:,} fields where they lie on the slide{elsewhere}. A session keeps the"
        f" structure of its fields, not their colours. Cells: {MARKS}.</figcaption></figure>"
    )


def _over_time(facts: SessionFacts) -> str:
    focus = [(cell.at, cell.focus) for cell in facts.cells if cell.focus is not None]
    parts = []
    if len({at for at, _ in focus}) > 1:
        title = "Focus of the cells over time: medians as a line, from the least to the largest as a band"
        parts += ["<h3>Focus of the cells over time</h3>", over_time(focus, title, digits=2)]
    latencies = facts.frames.latencies
    if len({at for at, _ in latencies}) > 1:
        rejected = facts.frames.rejected
        ticks = f"; {len(rejected):,} rejected frames as ticks" if rejected else ""
        title = f"Milliseconds from a frame's arrival until its results were recorded{ticks}"
        parts += [f"<h3>{title}</h3>", over_time(latencies, title, marks=rejected)]
    return "\n".join(parts)


def _rejected(facts: SessionFacts) -> str:
    report = facts.report
    parts = ["<h3>What was rejected, and why</h3>"]
    frames = _reasons(report.frames.rejected_by_reason)
    for title, rows in (("frame", frames), ("sighting that was not judged", _excluded(facts))):
        if rows:
            parts.append(table([title, "number"], rows, css="text"))
    if doubts := _doubts(facts):
        parts.append(table(["cell called uncertain", "number", "what can be done"], doubts, css="text"))
    if len(parts) == 1:
        parts.append("<p>Nothing: every frame was used, and every cell was called.</p>")
    gaps = [
        f"{escape(str(gap.at)[:19])} {escape(gap.kind)}: {escape(printable(gap.text))}"
        for gap in report.gaps[:_MOST_GAPS]
    ]
    if gaps:
        more = len(report.gaps) - len(gaps)
        parts.append("<h3>Times without frames</h3>")
        parts.append("<p>" + "<br>".join([*gaps, *([f"and {more:,} more"] if more else [])]) + "</p>")
    return "\n".join(parts)


def _notes(facts: SessionFacts) -> str:
    """List what people wrote down, the newest where there are many."""
    notes = facts.notes[-_MOST_NOTES:]
    if not notes:
        return ""
    title = (
        "Notes" if len(notes) == len(facts.notes) else f"Notes, the last {len(notes)} of {len(facts.notes)}"
    )
    items = "".join(f"<li>{escape(printable(note))}</li>" for note in notes)
    return f"<h3>{title}</h3>\n<ol>{items}</ol>"


def _reasons(counts: Mapping[str, int]) -> list[str]:
    return [row([escape(printable(reason)), f"{count:,}"]) for reason, count in counts.items()]


def _excluded(facts: SessionFacts) -> list[str]:
    summed = facts.summary.get("cells")
    of_summary = summed.get("excluded_by_reason") if isinstance(summed, dict) else None
    if isinstance(of_summary, dict) and of_summary:
        return _reasons({str(reason): int(count) for reason, count in of_summary.items()})
    excluded = facts.report.cells.excluded
    return _reasons({"cut by the border, or dust": excluded} if excluded else {})


def _doubts(facts: SessionFacts) -> list[str]:
    rows = []
    for check, cells in by_check(cell for cell in facts.cells if cell.name == UNCERTAIN).items():
        way_on = WAYS_ON.get(Check(check), "")
        rows.append(row([escape(check), f"{len(cells):,}", escape(way_on)]))
    return rows
