"""Which remembered fields a field may show again, among all of a session.

A field is described by spots of its texture and their surroundings, as a few bits each. A table of these bits
tells where else such spots were seen; the fields that show many of them at one and the same shift are
proposed. Registration has the last word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeleuk.vision.registration import Texture

    Bytes = npt.NDArray[np.uint8]
    Integers = npt.NDArray[np.int64]

# Spots of small cells in a wide field, and of large ones in a texture with half as many pixels a side.
_SIZES = 2
_SPOT_SIGMA = 1.7
_SPOTS = 40
# A spot's surroundings reach so many of its widths.
_SURROUNDINGS = 5.0
# Each of the tables is asked for all of its bits: noise turns one now and then, hardly in every table.
_TABLES = 3
_BITS = 18
_LEAST_SPOT = 3.0
_APART = 7
# Shifts that differ by less, in pixels of a texture, are one.
_SHIFT_STEP = 8
_LEAST_VOTES = 12
# Spots that are like so many others tell nothing.
_LONGEST_CHAIN = 24
_COMPARED = np.round(
    np.random.default_rng(20).uniform(-1, 1, (_TABLES, _BITS, 2, 2)) * _SURROUNDINGS * _SPOT_SIGMA
).astype(np.intp)
_MARGIN = int(np.abs(_COMPARED).max()) + 1


class Spots(NamedTuple):
    """What a field is recognised by.

    Attributes
    ----------
    places : (n, 2) int16
        x and y in pixels of the texture.
    codes : (n, 3) int64
        Bits of the surroundings, one number for each table.
    """

    places: npt.NDArray[np.int16]
    codes: Integers

    @classmethod
    def of(cls, texture: Texture) -> Spots:
        """Describe a texture."""
        fine = texture.fine
        places, codes = _spots(fine)
        half = cv2.resize(
            fine, (max(1, fine.shape[1] // 2), max(1, fine.shape[0] // 2)), interpolation=cv2.INTER_AREA
        )
        large_places, large_codes = _spots(np.asarray(half, np.uint8))
        return cls(
            np.concatenate([places, 2 * large_places]), np.concatenate([codes, large_codes + (1 << _BITS)])
        )


class Proposal(NamedTuple):
    """A remembered field that may show the same place.

    Attributes
    ----------
    number : int
        Of the remembered field.
    shift : (x, y)
        Move of the view since, in pixels of the texture.
    votes : int
    """

    number: int
    shift: tuple[float, float]
    votes: int


class FieldIndex:
    """Finds fields by their spots. It is bounded: the oldest fields are forgotten first.

    Parameters
    ----------
    most_fields : int
        About 3 kB each, taken at once.
    """

    def __init__(self, most_fields: int) -> None:
        self._room = most_fields * _SPOTS * _SIZES
        # A chain of spots for each value of each table: its last spot, and for each spot the one before.
        # Spots are counted from 1; what is 0 takes no memory yet.
        self._last = np.zeros((_TABLES, _SIZES << _BITS), np.int32)
        self._before = np.zeros((self._room, _TABLES), np.int32)
        self._places = np.zeros((self._room, 2), np.int16)
        self._fields = np.zeros(self._room, np.int32)
        self._spots = 0

    def add(self, number: int, spots: Spots) -> None:
        """Remember a field."""
        own = np.arange(self._spots + 1, self._spots + 1 + len(spots.places))
        slots = own % self._room
        self._places[slots], self._fields[slots] = spots.places, number
        for table in range(_TABLES):
            # A stable order puts the spots of one value side by side, in the order of their numbers.
            order = np.argsort(spots.codes[:, table], kind="stable")
            codes, numbers = spots.codes[order, table], own[order]
            before = self._last[table, codes]
            follows = np.flatnonzero(codes[1:] == codes[:-1]) + 1
            before[follows] = numbers[follows - 1]
            self._before[slots[order], table] = before
            self._last[table, codes] = numbers
        self._spots += len(own)

    def proposals(self, spots: Spots, most: int) -> list[Proposal]:
        """Return remembered fields that share most spots with a field at one shift, best first.

        Parameters
        ----------
        spots : Spots
        most : int
            How many at most.
        """
        if not len(spots.places):
            return []
        seen, mine = self._like(spots)
        if not len(seen):
            return []
        fields, shifts = self._fields[seen].astype(np.int64), self._places[seen] - spots.places[mine]
        order = np.argsort(fields, kind="stable")
        fields, shifts = fields[order], shifts[order]
        found: dict[int, Proposal] = {}
        for number, x, y in _most_agreed(fields, shifts, most):
            # Those that fell just beside the step, too.
            own = shifts[slice(*np.searchsorted(fields, (number, number + 1)))]
            agreeing = own[np.abs(own - np.array([x, y])).max(axis=1) <= _SHIFT_STEP / 2]
            votes = len(agreeing)
            if votes >= _LEAST_VOTES and (number not in found or found[number].votes < votes):
                found[number] = Proposal(
                    number, (float(agreeing[:, 0].mean()), float(agreeing[:, 1].mean())), votes
                )
        return sorted(found.values(), key=lambda proposal: proposal.votes, reverse=True)[:most]

    def _like(self, spots: Spots) -> tuple[Integers, Integers]:
        """Pairs of spots that look alike: slots of remembered ones, and which of the field's own."""
        oldest = max(0, self._spots - self._room)
        slots, own = [], []
        # All tables at a time: the steps along the chains are what takes time.
        mine, table = (grid.ravel() for grid in np.indices(spots.codes.shape))
        at = self._last[table, spots.codes.ravel()]
        for _ in range(_LONGEST_CHAIN):
            # What was written over was followed by older ones alone.
            left = np.flatnonzero(at > oldest)
            if not len(left):
                break
            at, mine, table = at[left] % self._room, mine[left], table[left]
            slots.append(at)
            own.append(mine)
            at = self._before[at, table]
        if not slots:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        return np.concatenate(slots), np.concatenate(own)


def _most_agreed(
    fields: Integers, shifts: npt.NDArray[np.int16], most: int
) -> list[tuple[int, float, float]]:
    """Fields and the middle of a step of shifts, (number, x, y), that most pairs of spots agree on."""
    found: dict[tuple[int, float, float], int] = {}
    # What lies about the border of two steps lies in the middle of one of the others.
    for offset in (0, _SHIFT_STEP // 2):
        steps = ((shifts + offset) // _SHIFT_STEP + 512).astype(np.int64)
        keys, votes = np.unique((fields << 20) | (steps[:, 0] << 10) | steps[:, 1], return_counts=True)
        enough = np.flatnonzero(votes >= _LEAST_VOTES // 2)
        for key, count in zip(keys[enough].tolist(), votes[enough].tolist(), strict=True):
            x, y = (((key >> bits & 1023) - 512 + 0.5) * _SHIFT_STEP - offset for bits in (10, 0))
            found[key >> 20, x, y] = count
    return sorted(found, key=lambda place: found[place], reverse=True)[: 2 * most]


def _spots(fine: Bytes) -> tuple[npt.NDArray[np.int16], Integers]:
    """Most prominent spots of a texture: places (n, 2) and codes (n, tables)."""
    smooth = cv2.GaussianBlur(fine.astype(np.float32), (0, 0), _SPOT_SIGMA)
    band = np.abs(smooth - cv2.GaussianBlur(smooth, (0, 0), 3**0.5 * _SPOT_SIGMA))
    peaks = (band >= cv2.dilate(band, np.ones((_APART, _APART), np.uint8))) & (band > _LEAST_SPOT)
    inside = np.zeros_like(peaks)
    inside[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN] = peaks[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    rows, columns = np.nonzero(inside)
    chosen = np.argsort(-band[rows, columns], kind="stable")[:_SPOTS]
    rows, columns = rows[chosen], columns[chosen]
    y, x = rows[:, None, None, None], columns[:, None, None, None]
    values = smooth[y + _COMPARED[..., 0], x + _COMPARED[..., 1]]
    codes = (values[..., 0] > values[..., 1]) @ (1 << np.arange(_BITS))
    return np.stack([columns, rows], axis=1).astype(np.int16), codes.astype(np.int64)
