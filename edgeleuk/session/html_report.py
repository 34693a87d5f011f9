"""``edgeleuk report SESSION --html FILE``: the report with pictures of its cells, in one page."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from edgeleuk.counting.intervals import known_error_of
from edgeleuk.io.console import printable
from edgeleuk.io.page import (
    BODY_RULE,
    FIGURE_RULE,
    RESEARCH_RULE,
    figure,
    heading,
    image,
    research,
    whole_page,
)
from edgeleuk.session.reader import read_session
from edgeleuk.session.report import report_facts, report_text
from edgeleuk.session.writing import whole_file
from edgeleuk.version import RESEARCH_USE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# Of each decision: a page of some megabytes still opens on a phone.
MOST_PICTURES = 200
TITLES = {
    "uncertain": "Called uncertain",
    "blast": "Called blast",
    "normal": "Called normal",
    "other": "Other kinds",
}
_STYLE = f"""
{BODY_RULE}
{RESEARCH_RULE}
pre{{white-space:pre-wrap;overflow-wrap:anywhere;font-size:.85rem}}
.cells{{display:flex;flex-wrap:wrap;gap:.6rem}}
{FIGURE_RULE}
img{{width:6rem;height:6rem;object-fit:contain;background:#eee}}
""".strip()


def write_page(session: Path, out: Path) -> None:
    """Write the page; it takes the place of `out` when it is complete.

    Raises
    ------
    UsageError, SessionError
        See `read_session` and `whole_file`.
    """
    with read_session(session) as reader:
        facts = report_facts(reader)
        error = known_error_of(reader.settings.get("known_error"))
        threshold = 0.5 if isinstance(error, str) else error.threshold
        # Without the pictures there is room for all cells at once.
        cells = sorted(reader.rows("cells"), key=lambda cell: _doubt(cell, threshold))
        sections = []
        for decision, title in TITLES.items():
            chosen = [cell for cell in cells if cell["decision"] == decision]
            figures = [
                _figure(cell, reader.cell(int(str(cell["track"])))["thumbnail"])
                for cell in chosen[:MOST_PICTURES]
            ]
            shown = f", the {MOST_PICTURES} most uncertain" if len(chosen) > MOST_PICTURES else ""
            sections.append(
                f'<h2>{title}: {len(chosen)}{shown}</h2>\n<div class="cells">\n'
                + "\n".join(figures)
                + "\n</div>"
            )
        simulated = " (SIMULATED)" if facts.simulated else ""
        title = printable(session.name) + simulated
        page = whole_page(
            title,
            _STYLE,
            [
                heading(escape(title), RESEARCH_USE),
                f"<pre>{escape(report_text(facts))}</pre>",
                *sections,
                research(RESEARCH_USE),
            ],
        )
        with whole_file(out, session, "--html") as file:
            file.write(page)


def _doubt(cell: Mapping[str, object], threshold: float) -> tuple[float, object]:
    """Sort key: the closest to the threshold first; before them those without a probability."""
    probability = cell["probability"]
    distance = abs(probability - threshold) if isinstance(probability, float) else -math.inf
    return distance, cell["track"]


def _figure(cell: Mapping[str, object], thumbnail: object) -> str:
    picture = "<p>no picture</p>"
    if isinstance(thumbnail, bytes):
        picture = image(thumbnail, f"cell {cell['track']}", "jpeg")
    probability = cell["probability"]
    p = f"{probability:.3f}" if isinstance(probability, float) else "unknown"
    reason = f"<br>{escape(printable(str(cell['reason'])))}" if cell["reason"] else ""
    called = f"P(blast) {p}" if cell["kind"] is None else f"{cell['kind']}, P(blast) {p}"
    if cell["decision"] == "other":
        called = f"{cell['kind']} {cell['kind_probability']:.3f}"
    return figure(picture, f"cell {cell['track']}, {escape(printable(called))}{reason}")
