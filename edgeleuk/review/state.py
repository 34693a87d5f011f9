"""Where a review stands: what is left, both counts, and how readers agree."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from edgeleuk.counting.differential import UNCERTAIN, WHITE_KINDS
from edgeleuk.counting.stratified import CountEstimate, Looks, Reviewed, ShareEstimate
from edgeleuk.io.console import printable
from edgeleuk.labels.checking import Agreement, Contradiction
from edgeleuk.results.kinds import BLAST, Kind
from edgeleuk.results.structs import Printed
from edgeleuk.review.queue import Stratum, Why
from edgeleuk.review.words import agreements_of, conflicts_of, looks_of, passed_over
from edgeleuk.version import RESEARCH_USE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edgeleuk.review.queue import Queue
    from edgeleuk.review.words import Words

_LYMPHOCYTE = Kind.LYMPHOCYTE.value


class StratumState(Printed, frozen=True, kw_only=True):
    """Cells that are drawn from together.

    Attributes
    ----------
    why : Why
        Why they are worth a look.
    called : str
        What the machine called them.
    cells, drawn, chosen : int
        All, those looked at in the queue's turn, and the others that were looked at.
    inclusion : float
        Probability with which a cell that nobody chose was drawn.
    """

    why: Why
    called: str
    cells: int
    drawn: int
    chosen: int
    inclusion: float


class NameCount(Printed, frozen=True, kw_only=True):
    """Cells of one name: by the machine, and after the review."""

    name: str
    machine: int
    reviewed: CountEstimate


class ShareCount(Printed, frozen=True, kw_only=True):
    """A share by the machine, None of no cells, and after the review."""

    machine: float | None
    reviewed: ShareEstimate


class ReaderState(Printed, frozen=True, kw_only=True):
    """How many cells a reader called something."""

    reader: str
    cells: int


class ReviewCounts(Printed, frozen=True, kw_only=True):
    """Counts by the machine beside those after the review.

    Attributes
    ----------
    names : tuple of NameCount
        ``uncertain`` has the cells too that readers contradict one another on.
    blasts_of_white_cells, blasts_of_lymphoid_cells : ShareCount
        Of the cells of this session.
    called_otherwise : ShareCount
        Of the cells that the machine called, those that readers call something else.
    """

    names: tuple[NameCount, ...]
    blasts_of_white_cells: ShareCount
    blasts_of_lymphoid_cells: ShareCount
    called_otherwise: ShareCount


class ReviewState(Printed, frozen=True, kw_only=True):
    """What ``edgeleuk review SESSION --json`` prints.

    Attributes
    ----------
    seed : str
        Of the random order: the first link of the session's hash chain.
    cells, reviewed : int
        All, and those that somebody looked at.
    asked, left : int
        Cells that are asked for, and those of them that nobody looked at.
    passed_over : int
        Cells that the queue showed and nobody answered; looks behind them are no random sample until then.
    strata : tuple of StratumState
    readers : tuple of ReaderState
    counts : ReviewCounts
    agreements : tuple of Agreement
    conflicts : tuple of Contradiction
    """

    schema_version: int = 1
    session: str
    seed: str
    cells: int
    reviewed: int
    asked: int
    left: int
    passed_over: int
    strata: tuple[StratumState, ...]
    readers: tuple[ReaderState, ...]
    counts: ReviewCounts
    agreements: tuple[Agreement, ...]
    conflicts: tuple[Contradiction, ...]
    research_use: str = RESEARCH_USE


def review_state(session: str, seed: str, queue: Queue, words: Words) -> ReviewState:
    """Sum up a review.

    Parameters
    ----------
    session, seed : str
    queue : Queue
        Of all cells.
    words : Words
        What readers say.
    """
    looks = looks_of(queue, words)
    readers = Counter(reader for said in words.values() for reader in said)
    asked = queue.asked()
    return ReviewState(
        session=session,
        seed=seed,
        cells=len(queue.tracks),
        reviewed=len(words),
        asked=len(asked),
        left=sum(track not in words for track in asked),
        passed_over=len(passed_over(queue, words)),
        strata=tuple(_stratum(stratum, of) for stratum, of in looks.items()),
        readers=tuple(ReaderState(reader=reader, cells=n) for reader, n in sorted(readers.items())),
        counts=review_counts(looks),
        agreements=tuple(agreements_of(words)),
        conflicts=tuple(
            Contradiction(cell=str(track), labels=labels) for track, labels in conflicts_of(words).items()
        ),
    )


def _stratum(stratum: Stratum, looks: Looks) -> StratumState:
    return StratumState(
        why=stratum.why,
        called=stratum.called,
        cells=looks.cells,
        drawn=looks.drawn.total(),
        chosen=looks.chosen.total(),
        inclusion=looks.inclusion,
    )


def review_counts(looks: Mapping[Stratum, Looks]) -> ReviewCounts:
    """Put the machine's counts beside those after a review."""
    machine: Counter[str] = Counter()
    seen: set[str] = set()
    for stratum, of in looks.items():
        machine[stratum.called] += of.cells
        seen |= {*of.drawn, *of.chosen}
    reviewed = Reviewed(looks, lambda stratum: f"{stratum.called} ({stratum.why.value})")
    names = [
        *(name for name in WHITE_KINDS if name in seen | {*machine, BLAST, _LYMPHOCYTE}),
        *sorted((seen | {*machine, UNCERTAIN}) - set(WHITE_KINDS)),
    ]
    called = Reviewed(
        {stratum: of for stratum, of in looks.items() if stratum.called != UNCERTAIN},
        lambda stratum: f"{stratum.called} ({stratum.why.value})",
    )
    return ReviewCounts(
        names=tuple(
            NameCount(name=name, machine=machine[name], reviewed=reviewed.count(_is(name))) for name in names
        ),
        blasts_of_white_cells=_share(machine, reviewed, WHITE_KINDS),
        blasts_of_lymphoid_cells=_share(machine, reviewed, (BLAST, _LYMPHOCYTE)),
        called_otherwise=ShareCount(
            machine=None,
            reviewed=called.share(
                lambda stratum, name: name != stratum.called, lambda _, name: name != UNCERTAIN
            ),
        ),
    )


def _is(name: str) -> Callable[[Stratum, str], bool]:
    return lambda _, found: found == name


def _share(machine: Counter[str], reviewed: Reviewed[Stratum], among: tuple[str, ...]) -> ShareCount:
    total = sum(machine[name] for name in among)
    return ShareCount(
        machine=machine[BLAST] / total if total else None,
        reviewed=reviewed.share(_is(BLAST), lambda _, name: name in among),
    )


def state_text(state: ReviewState) -> str:
    """Say the same for people."""
    lines = [
        f"session   {printable(state.session)}, {state.cells} cells",
        f"reviewed  {state.reviewed}; {state.left} of the {state.asked} that are asked for are left",
    ]
    if state.passed_over:
        lines.append(f"passed    {state.passed_over} cells were shown and not answered: look at them again")
    for why in Why:
        of = [stratum for stratum in state.strata if stratum.why is why]
        if of:
            looked = sum(stratum.drawn + stratum.chosen for stratum in of)
            lines.append(f"{'queue':<9} {why.value}: {looked} of {sum(one.cells for one in of)} looked at")
    lines += [f"reader    {printable(one.reader)}: {one.cells} cells" for one in state.readers]
    lines += counts_text(state.counts)
    for one in state.agreements:
        kappa = "not told, as both use one label" if one.kappa is None else f"{one.kappa:.2f}"
        lines.append(
            f"agree     {' and '.join(map(printable, one.people))}: kappa {kappa},"
            f" {one.observed:.0%} of {one.cells} cells"
        )
    for conflict in state.conflicts[:_CONFLICTS_SHOWN]:
        said = ", ".join(f"{label} ({printable(reader)})" for reader, label in conflict.labels.items())
        lines.append(f"differ    cell {conflict.cell}: {said}")
    if len(state.conflicts) > _CONFLICTS_SHOWN:
        lines.append(f"differ    and {len(state.conflicts) - _CONFLICTS_SHOWN} more")
    return "\n".join([*lines, RESEARCH_USE])


_CONFLICTS_SHOWN = 8


def counts_text(counts: ReviewCounts) -> list[str]:
    """Say counts in lines: a table of the names, then shares."""
    width = max(len(one.name) for one in counts.names)
    lines = [f"counts    {'':<{width}}  machine  reviewed, with 95 % intervals"]
    reasons = set()
    for one in counts.names:
        found = one.reviewed
        if found.estimate is None:
            told = f"{found.seen} seen, {found.low:.0f} to {found.high:.0f} in all"
            reasons.add(found.reason)
        else:
            told = f"{found.estimate:.1f} ({found.low:.0f} to {found.high:.0f})"
        lines.append(f"          {one.name:<{width}}  {one.machine:>7}  {told}".rstrip())
    lines += [f"no number {printable(str(reason))}" for reason in sorted(map(str, reasons))]
    for what, share in (
        ("blasts of white cells", counts.blasts_of_white_cells),
        ("blasts of lymphoid cells", counts.blasts_of_lymphoid_cells),
        ("called otherwise", counts.called_otherwise),
    ):
        machine = "" if share.machine is None else f"machine {share.machine:.1%}, "
        found_share = share.reviewed
        if found_share.share is not None:
            told = f"reviewed {found_share.share:.1%} ({found_share.low:.1%} to {found_share.high:.1%})"
        elif found_share.reason in reasons:
            told = "no reviewed share, for that reason"
        else:
            told = f"no reviewed share: {printable(str(found_share.reason))}"
            reasons.add(found_share.reason)
        lines.append(f"share     {what}: {machine}{told}")
    return lines
