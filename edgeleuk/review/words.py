"""What readers say of the cells: the newest word of each, whether they agree, and on what."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from edgeleuk.counting.differential import UNCERTAIN
from edgeleuk.counting.stratified import Looks
from edgeleuk.labels.checking import Agreement
from edgeleuk.labels.contents import agreed
from edgeleuk.labels.kappa import cohens_kappa
from edgeleuk.review.queue import final_name, prefix
from edgeleuk.session.reviews import standing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edgeleuk.review.queue import Queue, Stratum
    from edgeleuk.session.reviews import Review


class Said(NamedTuple):
    """What a reader says of a cell now.

    Attributes
    ----------
    label : str
    is_drawn : bool
        Some word of this reader on it came in the queue's turn.
    """

    label: str
    is_drawn: bool


Words = dict[int, dict[str, Said]]


def words_of(reviews: Iterable[Review]) -> Words:
    """Return what counts: by the cell and by the reader, the newest word that nobody took back."""
    found: Words = {}
    for review in standing(reviews):
        of_cell = found.setdefault(review.track, {})
        before = of_cell.get(review.reader)
        is_drawn = review.is_drawn or (before is not None and before.is_drawn)
        of_cell[review.reader] = Said(str(review.label), is_drawn)
    return found


def resolved(labels: Iterable[str]) -> str | None:
    """Return what readers say of a cell together; None where they contradict one another.

    Who cannot tell contradicts nobody.

    Examples
    --------
    >>> resolved(["band", "uncertain"]), resolved(["band", "blast"]), resolved(["uncertain"])
    ('band', None, 'uncertain')
    """
    told = [label for label in labels if label != UNCERTAIN]
    return agreed(told) if told else UNCERTAIN


def counted_name(words: Mapping[str, Said]) -> str:
    """Return the name under which a cell is counted; a contradicted one is uncertain."""
    label = resolved(said.label for said in words.values())
    return UNCERTAIN if label is None or label == UNCERTAIN else final_name(label)


def looks_of(queue: Queue, words: Words) -> dict[Stratum, Looks]:
    """Return what is known of each stratum.

    Drawn are the cells that the queue showed in their turn, up to the first that was passed over. All
    others that somebody looked at count as chosen: they are known, and say nothing of the rest.
    """
    in_turn = {stratum: prefix(tracks, words) for stratum, tracks in queue.strata.items()}
    found = {stratum: Looks(len(tracks)) for stratum, tracks in queue.strata.items()}
    for track, stratum, turn in queue.places_of(words):
        was_drawn = turn < in_turn[stratum] and _is_drawn(words[track])
        looks = found[stratum]
        (looks.drawn if was_drawn else looks.chosen)[counted_name(words[track])] += 1
    return found


def _is_drawn(words: Mapping[str, Said]) -> bool:
    return any(said.is_drawn for said in words.values())


def passed_over(queue: Queue, words: Words) -> list[int]:
    """Return the cells before the last one that was drawn in their stratum, that nobody looked at."""
    last: dict[Stratum, int] = {}
    for track, stratum, turn in queue.places_of(words):
        if _is_drawn(words[track]):
            last[stratum] = max(turn, last.get(stratum, 0))
    return [
        track
        for stratum, turn in last.items()
        for track in queue.strata[stratum][:turn]
        if track not in words
    ]


def agreements_of(words: Words) -> list[Agreement]:
    """Compare readers two at a time, on the cells that both called something."""
    readers = sorted({reader for said in words.values() for reader in said})
    found = []
    for one, other in combinations(readers, 2):
        pairs = [
            (said[one].label, said[other].label)
            for said in words.values()
            if one in said and other in said and UNCERTAIN not in (said[one].label, said[other].label)
        ]
        if pairs:
            found.append(Agreement(people=(one, other), **msgspec.structs.asdict(cohens_kappa(pairs))))
    return found


def conflicts_of(words: Words) -> dict[int, dict[str, str]]:
    """Return the cells on which readers contradict one another, with what each says."""
    return {
        track: {reader: one.label for reader, one in sorted(said.items())}
        for track, said in sorted(words.items())
        if resolved(one.label for one in said.values()) is None
    }
