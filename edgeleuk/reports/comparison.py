"""Two sessions of one slide, side by side: as an object, in lines, and as a page."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from edgeleuk.io.console import printable
from edgeleuk.io.page import described, heading, research, row, section, stamped, table, whole_page
from edgeleuk.reports.charts import SharedBar, interval_bars
from edgeleuk.reports.style import STYLE
from edgeleuk.results.structs import CountedShare, Printed
from edgeleuk.version import RESEARCH_USE

if TYPE_CHECKING:
    from collections.abc import Iterator

ASSUMPTIONS = (
    "Both sessions are taken to show the same slide, and their cells to be counted independently: nothing"
    " pairs a cell of one with a cell of the other.",
    "Cells that both sessions saw make the intervals of the differences too wide; cells that lie in clusters"
    " make them too narrow.",
    "Each difference has a 95 % interval by itself (Newcombe's, from Wilson's): of 20 kinds that did not"
    " change, one is expected outside.",
)


class ComparedSession(Printed, frozen=True, kw_only=True):
    """One of the two sessions.

    Attributes
    ----------
    session : str
    sample, operator : str or None
        None where nobody said it.
    first_frame : str or None
        ISO 8601, UTC.
    bundle, bundle_sha256, camera : str or None
    simulated : bool
    cells, uncertain : int
    reason : str or None
        Why no shares may be told.
    """

    session: str
    sample: str | None
    operator: str | None
    first_frame: str | None
    bundle: str | None
    bundle_sha256: str | None
    camera: str | None
    simulated: bool
    cells: int
    uncertain: int
    reason: str | None


class ShareDifference(Printed, frozen=True, kw_only=True):
    """A share in both sessions, and how far that of `b` is above that of `a`.

    Attributes
    ----------
    a, b : CountedShare
    n_a, n_b : int
        Of how many cells.
    difference, low, high : float or None
        -1 to 1; None where one of the sessions has no share.
    """

    a: CountedShare
    b: CountedShare
    n_a: int
    n_b: int
    difference: float | None
    low: float | None
    high: float | None

    @property
    def differs(self) -> bool:
        """Whether 0 lies outside the interval."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


class SessionComparison(Printed, frozen=True, kw_only=True):
    """What ``edgeleuk report --compare A B --json`` prints.

    Attributes
    ----------
    a, b : ComparedSession
    of : str
        What the kinds are shares of.
    kinds : dict
        By name.
    blasts_of_lymphoid_cells : ShareDifference
    notes : list of str
        What is to be known of these two sessions.
    assumptions : list of str
    """

    schema_version: int = 1
    a: ComparedSession
    b: ComparedSession
    of: str
    kinds: dict[str, ShareDifference]
    blasts_of_lymphoid_cells: ShareDifference
    notes: list[str]
    assumptions: list[str]
    research_use: str = RESEARCH_USE


def comparison_text(found: SessionComparison) -> str:
    """Say it in lines."""
    lines = []
    for name, one in (("A", found.a), ("B", found.b)):
        simulated = "   SIMULATED" if one.simulated else ""
        lines += [
            f"{name}         {one.session}{simulated}",
            f"          sample {one.sample or 'not recorded'}, {one.first_frame}, bundle {one.bundle}",
            f"          {one.cells} cells, {one.uncertain} uncertain"
            + (f"; no shares: {one.reason}" if one.reason else ""),
        ]
    lines += [f"note      {note}" for note in found.notes]
    lines.append(f"shares    of {found.of}, in per cent; B less A in points with a 95 % interval")
    rows = [("", "A", "", "B", "", "B - A", "")]
    rows += [(name, *_figures(of)) for name, of in _lines(found)]
    widths = [max(len(cells[place]) for cells in rows) for place in range(7)]
    for name, *figures in rows:
        cells = [
            f"{name:<{widths[0]}}",
            *(f"{text:>{width}}" for text, width in zip(figures, widths[1:], strict=True)),
        ]
        lines.append(("          " + "  ".join(cells)).rstrip())
    lines += [f"assumed   {one}" for one in found.assumptions]
    return "\n".join(map(printable, [*lines, RESEARCH_USE]))


def _lines(found: SessionComparison) -> Iterator[tuple[str, ShareDifference]]:
    yield from found.kinds.items()
    yield "blasts of lymphoid cells", found.blasts_of_lymphoid_cells


def _figures(of: ShareDifference) -> tuple[str, str, str, str, str, str]:
    shares = [
        f"{side.count} of {n}" if share is None else f"{share:.1%}"
        for side, n, share in ((of.a, of.n_a, of.a.share), (of.b, of.n_b, of.b.share))
    ]
    if of.difference is None or of.low is None or of.high is None:
        return str(of.a.count), shares[0], str(of.b.count), shares[1], "", ""
    interval = f"{100 * of.low:+.1f} to {100 * of.high:+.1f}"
    return (
        *(str(of.a.count), shares[0], str(of.b.count), shares[1], f"{100 * of.difference:+.1f}"),
        interval + (" *" if of.differs else ""),
    )


def comparison_page(found: SessionComparison) -> str:
    """Write it as a page."""
    simulated = found.a.simulated or found.b.simulated
    head = ["", "A", "share", "B", "share", "B less A, points", "95 % interval"]
    rows = [row([escape(name), *map(escape, _figures(of))]) for name, of in _lines(found)]
    return whole_page(
        "two sessions side by side" + (" (SIMULATED)" if simulated else ""),
        STYLE,
        [
            heading("Two sessions side by side", RESEARCH_USE),
            stamped("SIMULATED" if simulated else None),
            section("Sessions", *(_session(name, one) for name, one in (("A", found.a), ("B", found.b)))),
            "\n".join(f"<p>{escape(printable(note))}</p>" for note in found.notes),
            section(
                "Counts side by side",
                table(head, rows, caption=f"Shares of {found.of}. A star: 0 lies outside the interval."),
                _chart(found),
            ),
            section("What is assumed", *(f"<p>{escape(one)}</p>" for one in found.assumptions)),
            research(RESEARCH_USE),
        ],
    )


def _session(name: str, one: ComparedSession) -> str:
    lines = {
        "Session": one.session,
        "Sample": one.sample or "not recorded",
        "Operator": one.operator or "not recorded",
        "Recorded": str(one.first_frame),
        "Camera": str(one.camera),
        "Bundle": f"{one.bundle}, sha256 {str(one.bundle_sha256)[:16]}",
        "Cells": f"{one.cells:,}, {one.uncertain:,} of them uncertain",
        **({"No shares": one.reason} if one.reason else {}),
    }
    said = described({title: escape(printable(text)) for title, text in lines.items()})
    return f"<h3>{name}</h3>\n{said}"


def _chart(found: SessionComparison) -> str:
    bars = []
    for name, of in found.kinds.items():
        a, b = of.a, of.b
        if a.share is None or a.low is None or a.high is None:
            continue
        second = None if b.share is None or b.low is None or b.high is None else (b.share, b.low, b.high)
        bars.append(SharedBar(name, a.share, a.low, a.high, second))
    if not bars:
        return ""
    title = "Shares in A as bars and in B as circles, each with its interval; the table above has the numbers"
    return f'<p class="note">{title}.</p>\n{interval_bars(bars, title)}'
