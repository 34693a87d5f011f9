"""Which cells are worth a look, in which order, and with which probability each is looked at.

A cell stands in one stratum: why it is worth a look, and what the machine called it. The strata of doubtful
cells come first. Within a stratum the order is random and fixed (permanent random numbers: Ohlsson, in
"Business Survey Methods", Wiley 1995), so that whoever goes along it and stops has drawn a random sample, and
a cell that a run adds takes its place in it. Among the strata of one reason a look goes where fewest were had
for the root of its cells: a rare kind is not forgotten (power allocation: Bankier, The American Statistician
42, 1988).

The random numbers come from the first link of the session's hash chain, which was there before any cell:
nobody chose them, and the session records them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from edgeleuk.counting.differential import UNCERTAIN, by_final_name
from edgeleuk.counting.doubt import SAMPLE, draw, is_near
from edgeleuk.results import Decision
from edgeleuk.results.reasons import FOREIGN, NOT_JUDGED, check_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class Why(str, Enum):
    """Why a cell is worth a look, in the order in which they are asked for."""

    UNCERTAIN = "uncertain"
    NEAR = "near the threshold"
    UNLIKE = "unlike"
    SAMPLE = "sample"
    NO_PICTURE = "no picture"


class Stratum(NamedTuple):
    """Cells that are drawn from together."""

    why: Why
    called: str


@dataclass(frozen=True, slots=True)
class MachineCall:
    """What the machine says of one cell, and nothing of what people say.

    Attributes
    ----------
    track : int
    frame : int
        In which it was seen first.
    decision : Decision
    probability : float or None
        Of a blast.
    reason : str or None
        Why it is uncertain.
    kind : str or None
    kind_probability : float or None
    has_picture : bool
    """

    track: int
    frame: int
    decision: Decision
    probability: float | None
    reason: str | None
    kind: str | None
    kind_probability: float | None
    has_picture: bool

    @property
    def called(self) -> str:
        """The name under which it is counted."""
        if self.decision is Decision.OTHER and self.kind is not None:
            return final_name(self.kind)
        return UNCERTAIN if self.decision is Decision.OTHER else final_name(self.decision.value)


def final_name(name: str) -> str:
    """Return the name under which a cell is counted; see `edgeleuk.counting.differential`.

    Examples
    --------
    >>> final_name("normal"), final_name("blast-like"), final_name("band")
    ('lymphocyte', 'uncertain', 'band')
    """
    return next(iter(by_final_name({name: 1})))


def why(cell: MachineCall, threshold: float, *, sampled: bool = False) -> Why:
    """Say why a cell is worth a look.

    Parameters
    ----------
    cell : MachineCall
    threshold : float
        Probability at and above which a cell is called a blast.
    sampled : bool
        The session kept pictures of a sample of the cells that nothing is wrong with: the others have none
        by that rule, and the sample speaks for them.

    Examples
    --------
    >>> sure = MachineCall(1, 1, Decision.BLAST, 0.99, None, None, None, True)
    >>> near = MachineCall(2, 1, Decision.BLAST, 0.6, None, None, None, True)
    >>> why(sure, 0.5).value, why(near, 0.5).value
    ('sample', 'near the threshold')
    """
    if not cell.has_picture and not (sampled and _called(cell, threshold) is Why.SAMPLE):
        return Why.NO_PICTURE
    return _called(cell, threshold)


def _called(cell: MachineCall, threshold: float) -> Why:
    """Say what is to be said of a cell's call."""
    if cell.decision is Decision.UNCERTAIN:
        return Why.UNLIKE if check_of(cell.reason) in (*FOREIGN, *NOT_JUDGED) else Why.UNCERTAIN
    near = is_near(cell.decision, cell.probability, cell.kind_probability, threshold)
    return Why.NEAR if near else Why.SAMPLE


class Queue:
    """All cells of a session in the order in which they are looked at.

    Parameters
    ----------
    cells : iterable of MachineCall
    seed : str
    threshold : float
    sampled : bool
        See `why`.

    Attributes
    ----------
    strata : dict of Stratum to tuple of int
        The cells of each in their random order.
    tracks : tuple of int
        All cells in the order of the queue.
    """

    def __init__(
        self, cells: Iterable[MachineCall], seed: str, threshold: float, *, sampled: bool = False
    ) -> None:
        found: dict[Stratum, list[int]] = {}
        with_picture = set()
        for cell in cells:
            reason = why(cell, threshold, sampled=sampled)
            found.setdefault(Stratum(reason, cell.called), []).append(cell.track)
            if cell.has_picture:
                with_picture.add(cell.track)
        self.strata = {
            stratum: tuple(sorted(found[stratum], key=lambda track: (draw(seed, track), track)))
            for stratum in sorted(found, key=lambda one: (_RANK[one.why], one.called))
        }
        turns = [
            (_RANK[stratum.why], turn / math.sqrt(len(tracks)), stratum.called, track)
            for stratum, tracks in self.strata.items()
            for turn, track in enumerate(tracks)
        ]
        turns.sort()
        self.tracks = tuple(track for *_, track in turns)
        self._shown = tuple(track for *_, track in turns if track in with_picture)
        self._places = {
            track: (stratum, turn)
            for stratum, tracks in self.strata.items()
            for turn, track in enumerate(tracks)
        }

    def stratum_of(self, track: int) -> Stratum:
        """Return where a cell stands."""
        return self._places[track][0]

    def places_of(self, tracks: Iterable[int]) -> list[tuple[int, Stratum, int]]:
        """Return of cells their stratum and their turn in it; of cells that are not in the queue, nothing."""
        return [(track, *self._places[track]) for track in tracks if track in self._places]

    def asked(self) -> int:
        """Count the cells that are asked for: the doubtful ones, and a sample of the others."""
        sizes: dict[Why, int] = {}
        for stratum, tracks in self.strata.items():
            sizes[stratum.why] = sizes.get(stratum.why, 0) + len(tracks)
        doubtful = sum(sizes.get(one, 0) for one in (Why.UNCERTAIN, Why.NEAR, Why.UNLIKE))
        return doubtful + min(SAMPLE, sizes.get(Why.SAMPLE, 0))

    def after(self, done: Mapping[int, object], offset: int = 0, limit: int | None = None) -> list[int]:
        """Return the next cells with a picture that are not done."""
        left = (track for track in self._shown if track not in done)
        return list(islice(left, offset, None if limit is None else offset + limit))


_RANK = {one: rank for rank, one in enumerate(Why)}


def prefix(tracks: Sequence[int], looked_at: Mapping[int, object]) -> int:
    """Count the cells from the beginning on that were looked at: none before them was passed over."""
    return next((turn for turn, track in enumerate(tracks) if track not in looked_at), len(tracks))
