"""``edgeleuk report --compare A B``: two sessions of one slide, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeleuk.commands.report import require_outputs, write_outputs
from edgeleuk.counting.difference import share_difference
from edgeleuk.counting.differential import UNCERTAIN, WHITE_KINDS
from edgeleuk.errors import DataRefusedError, UsageError
from edgeleuk.io.console import printable
from edgeleuk.reports.comparison import (
    ASSUMPTIONS,
    ComparedSession,
    SessionComparison,
    ShareDifference,
    comparison_page,
)
from edgeleuk.reports.facts import OPERATOR, SAMPLE, last_events
from edgeleuk.results import DECISIONS, Proportion
from edgeleuk.results.structs import CountedShare
from edgeleuk.session.reader import read_session
from edgeleuk.session.report import SessionReport, report_facts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def compare_sessions(path_a: Path, path_b: Path) -> SessionComparison:
    """Hold two sessions of one slide side by side.

    Raises
    ------
    UsageError
        There is no such session, or both are one.
    SessionError
        One is damaged.
    DataRefusedError
        They are of two slides, one has no cells, or only one was simulated.
    """
    (of_a, a), (of_b, b) = (_read(path) for path in (path_a, path_b))
    if of_a.chain is not None and of_b.chain is not None and of_a.chain.head == of_b.chain.head:
        raise UsageError(
            "both sessions are one", got=f"{path_a} and {path_b}", cure="name two sessions of one slide"
        )
    _require_one_slide(a, b)
    for one in (a, b):
        if not one.cells:
            raise DataRefusedError(f"{one.session} has no cells to compare", cure="record more of the slide")
    white = of_a.white_cells is not None or of_b.white_cells is not None
    n_a, kinds_a = _counts(of_a, white=white)
    n_b, kinds_b = _counts(of_b, white=white)
    names = WHITE_KINDS if white else DECISIONS
    told = a.reason is None and b.reason is None
    return SessionComparison(
        a=a,
        b=b,
        of="white cells" if white else "all cells",
        kinds={
            name: _difference((kinds_a.get(name, 0), n_a), (kinds_b.get(name, 0), n_b), told=told)
            for name in names
            if kinds_a.get(name) or kinds_b.get(name)
        },
        blasts_of_lymphoid_cells=_difference(
            *((one.cells.blast, one.blast_share.n) for one in (of_a, of_b)),
            told=of_a.blast_share.share is not None and of_b.blast_share.share is not None,
        ),
        notes=_notes(a, b),
        assumptions=list(ASSUMPTIONS),
    )


def write_comparison(sessions: tuple[Path, Path], html: Path | None, pdf: Path | None) -> SessionComparison:
    """Compare two sessions, write it as HTML, as PDF, or both, and return it.

    Raises
    ------
    UsageError, SessionError, DataRefusedError
        See `compare_sessions`.
    UsageError, MissingDependencyError, CheckFailedError
        See `require_outputs` and `write_outputs`.
    """
    require_outputs(sessions, html, pdf)
    found = compare_sessions(*sessions)
    write_outputs(comparison_page(found), html, pdf)
    return found


def _read(path: Path) -> tuple[SessionReport, ComparedSession]:
    with read_session(path) as reader:
        report, said = report_facts(reader), last_events(reader)
    white = report.white_cells
    return report, ComparedSession(
        session=report.session,
        sample=said.get(SAMPLE),
        operator=said.get(OPERATOR),
        first_frame=report.first_frame,
        bundle=report.bundle,
        bundle_sha256=report.bundle_sha256,
        camera=report.camera,
        simulated=report.simulated,
        cells=report.cells.unique,
        uncertain=report.cells.uncertain,
        reason=report.differential.reason if white is None else white.white_cells.reason,
    )


def _require_one_slide(a: ComparedSession, b: ComparedSession) -> None:
    if a.sample is not None and b.sample is not None and a.sample.strip() != b.sample.strip():
        raise DataRefusedError(
            "the sessions are of two slides",
            got=f"{printable(a.sample)} and {printable(b.sample)}",
            cure="compare two sessions of one slide",
        )
    if a.simulated != b.simulated:
        raise DataRefusedError(
            "one session is simulated and the other is not", cure="compare two sessions of one slide"
        )


def _counts(report: SessionReport, *, white: bool) -> tuple[int, Mapping[str, int]]:
    """Return counts by name, and of how many cells they are."""
    cells = report.cells
    if not white:
        return cells.unique, {name: getattr(cells, name) for name in DECISIONS}
    if report.white_cells is None:
        # No kind was called in this one: its normal cells are lymphocytes.
        kinds = {"blast": cells.blast, "lymphocyte": cells.normal}
        return sum(kinds.values()), kinds
    of = report.white_cells.white_cells
    return of.n, {name: share.count for name, share in of.kinds.items() if name != UNCERTAIN}


def _difference(a: tuple[int, int], b: tuple[int, int], *, told: bool) -> ShareDifference:
    told = told and a[1] > 0 and b[1] > 0
    difference, low, high = share_difference(*a, *b) if told else (None, None, None)
    return ShareDifference(
        a=_share(*a, told=told),
        b=_share(*b, told=told),
        n_a=a[1],
        n_b=b[1],
        difference=difference,
        low=low,
        high=high,
    )


def _share(count: int, n: int, *, told: bool) -> CountedShare:
    if not told:
        return CountedShare(count=count, share=None, low=None, high=None)
    of = Proportion(count, n)
    return CountedShare(count=count, share=of.share, low=of.low, high=of.high)


def _notes(a: ComparedSession, b: ComparedSession) -> list[str]:
    """Say what is to be known of these two sessions."""
    notes = []
    if a.sample is None or b.sample is None:
        notes.append("Not both sessions name their sample: that they show one slide is taken on trust.")
    if a.bundle_sha256 != b.bundle_sha256:
        notes.append("They were counted by two bundles: a difference may be the network's.")
    return notes
