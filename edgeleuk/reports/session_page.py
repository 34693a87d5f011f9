"""The page of a session: the result, the evidence, the model, and the same in lines."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from edgeleuk.io.console import printable
from edgeleuk.io.page import heading, research, section, stamped, whole_page
from edgeleuk.reports.evidence_section import evidence
from edgeleuk.reports.gallery import gallery
from edgeleuk.reports.model_section import model
from edgeleuk.reports.result_section import result
from edgeleuk.reports.slide import slide_image
from edgeleuk.reports.style import STYLE
from edgeleuk.session.report import report_text
from edgeleuk.version import RESEARCH_USE

if TYPE_CHECKING:
    from edgeleuk.reports.beside import Beside
    from edgeleuk.reports.facts import SessionFacts
    from edgeleuk.session.reader import SessionReader


def session_page(reader: SessionReader, facts: SessionFacts, beside: Beside, pictures: int) -> str:
    """Write the page of a session that is open.

    Parameters
    ----------
    reader : SessionReader
        For the pictures.
    facts : SessionFacts
    beside : Beside
    pictures : int
        Of each kind, at most; 0 leaves the gallery out.
    """
    report = facts.report
    name = printable(reader.path.name)
    stamps = [
        "SIMULATED" if report.simulated else None,
        None if report.finished else f"NOT FINISHED: {report.ended}",
        "THE RECORD WAS CHANGED" if report.chain is not None and report.chain.broken is not None else None,
    ]
    shown = gallery(reader, facts.cells, pictures)
    return whole_page(
        name + (" (SIMULATED)" if report.simulated else ""),
        STYLE,
        [
            heading(f"Report of {escape(name)}", RESEARCH_USE),
            "".join(map(stamped, stamps)),
            result(facts, beside.quality, beside.reviewed),
            evidence(facts, slide_image(reader)),
            section("Gallery", shown, css="page") if shown else "",
            model(facts, beside),
            section("The same in lines", f"<pre>{escape(report_text(report))}</pre>"),
            research(RESEARCH_USE),
        ],
    )
