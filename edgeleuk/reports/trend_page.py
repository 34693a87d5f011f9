"""The page of quality over weeks: a verdict, a chart of each measure, and a table of the sessions."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from edgeleuk.io.console import printable
from edgeleuk.io.page import described, heading, research, row, section, stamped, table, whole_page
from edgeleuk.reports.style import STYLE
from edgeleuk.reports.trend_chart import CHART_RULES, ChartPoint, trend_chart
from edgeleuk.results.trend_words import day_of, setup_title, state_text, value_text
from edgeleuk.version import RESEARCH_USE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeleuk.results.trends import TrendMeasure, TrendResult, TrendSession, TrendSetup

_LEGEND = (
    "Ring: a session that only teaches. Dot: one that is held against those before it. Square: one that"
    " drifts; its time is shaded. The line is the standard error within the session, the band two standard"
    " deviations about the baseline. Below stand the sums of the CUSUM; the dashed line is their limit."
)
_STAR = "A star: the measure drifts. A dash: it was not measured, or of too few fields or cells."


def trend_page(result: TrendResult) -> str:
    """Write the page."""
    simulated = any(setup.simulated for setup in result.setups)
    return whole_page(
        "quality over weeks" + (" (SIMULATED)" if simulated else ""),
        STYLE + "\n" + CHART_RULES,
        [
            heading("Quality over weeks", RESEARCH_USE),
            stamped("DRIFT" if result.drifting else None),
            stamped("SIMULATED" if simulated else None),
            f"<p>{_text(result.verdict[:1].upper() + result.verdict[1:])}.</p>",
            f'<p class="note">{escape(_LEGEND)}</p>',
            *(_setup(setup, result) for setup in result.setups),
            section("Sessions", _sessions(result)),
            section("How it is judged", *(f"<p>{escape(one)}</p>" for one in _judged(result))),
            _left_out(result),
            research(RESEARCH_USE),
        ],
    )


def _setup(setup: TrendSetup, result: TrendResult) -> str:
    sessions = [one for one in result.sessions if one.setup == setup.number]
    facts = described(
        {
            "Sessions": str(setup.sessions),
            "A baseline of its own": _text(setup.began),
            "Bundle": _text(f"{setup.bundle}, sha256 {setup.bundle_sha256[:16]}"),
        }
    )
    charts = "\n".join(_measure(one, sessions, result) for one in setup.measures)
    return section(f"Setup {setup.number}: {printable(setup_title(setup))}", facts, charts)


def _measure(measure: TrendMeasure, sessions: list[TrendSession], result: TrendResult) -> str:
    said = state_text(measure, result.needed)
    points = [
        ChartPoint(one.session, day_of(one), one.values[measure.measure])
        for one in sessions
        if measure.measure in one.values
    ]
    above = f"<h3>{escape(measure.title)}</h3>\n<p>{_text(said)}</p>"
    if not points:
        return above
    title = f"{measure.title} over {len(points)} sessions: {printable(said)}; the table below has the values"
    return f'<div class="keep">{above}\n{trend_chart(measure, points, result.limit, title)}</div>'


def _sessions(result: TrendResult) -> str:
    columns = {one.measure: one for setup in result.setups for one in setup.measures}
    rows = [
        row(
            [
                _text(one.session),
                _text(day_of(one)),
                str(one.setup),
                *(value_text(one, name, of.digits) for name, of in columns.items()),
                f"{one.cells:,}",
                _text(one.not_judged or ""),
            ]
        )
        for one in result.sessions
    ]
    head = ["session", "recorded", "setup", *(escape(of.title) for of in columns.values()), "cells"]
    return table([*head, "not judged"], rows, caption=_STAR)


def _judged(result: TrendResult) -> Iterator[str]:
    yield (
        f"The first {result.needed} sessions of a setup only teach. Each later one is held against all before"
        " it by a self-starting CUSUM (Hawkins 1987): what lies above the mean is added up, and what lies"
        f" below, less {result.allowance:g} standard deviations a session. Beyond {result.limit:g} a drift is"
        " named. It began where the sum was last 0."
    )
    yield (
        "Where nothing changes, a measure passes its limit once in some 3,500 sessions. Shares are followed"
        " with the noise of their number: two blasts of twenty cells weigh less than twenty of two hundred."
    )


def _left_out(result: TrendResult) -> str:
    said = [*result.notes, *(f"{one.file} was skipped: {one.error}" for one in result.skipped)]
    return section("What is to be known", *(f"<p>{_text(one)}.</p>" for one in said)) if said else ""


def _text(said: str) -> str:
    return escape(printable(said))
