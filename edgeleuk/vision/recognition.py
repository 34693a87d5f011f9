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
_LONGEST_CHAIN = 64
# Fields with most such spots whose shifts are looked at.
_SHORT_LIST = 24
_COMPARED = np.round(
    np.random.default_rng(20).uniform(-1, 1, (_TABLES, _BITS, 2, 2)) * _SURROUNDINGS * _SPOT_SIGMA
).astype(np.intp)
_MARGIN = int(np.abs(_COMPARED).max()) + 1
_EACH_TABLE = np.arange(_TABLES)


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
        for place, codes in zip(spots.places, spots.codes, strict=True):
            self._spots += 1
            slot = self._spots % self._room
            self._places[slot], self._fields[slot] = place, number
            self._before[slot] = self._last[_EACH_TABLE, codes]
            self._last[_EACH_TABLE, codes] = self._spots

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
        fields, group = np.unique(self._fields[seen], return_inverse=True)
        likely = np.argsort(np.bincount(group))[::-1][:_SHORT_LIST]
        found = []
        for index in likely:
            of_field = group == index
            if np.count_nonzero(of_field) < _LEAST_VOTES:
                break
            shifts = self._places[seen[of_field]] - spots.places[mine[of_field]]
            shift, votes = _agreed(shifts)
            if votes >= _LEAST_VOTES:
                found.append(Proposal(int(fields[index]), shift, votes))
        return sorted(found, key=lambda proposal: proposal.votes, reverse=True)[:most]

    def _like(self, spots: Spots) -> tuple[Integers, Integers]:
        """Pairs of spots that look alike: slots of remembered ones, and which of the field's own."""
        oldest = max(0, self._spots - self._room)
        slots, own = [], []
        for table in range(_TABLES):
            mine = np.arange(len(spots.places))
            at = self._last[table, spots.codes[:, table]]
            for _ in range(_LONGEST_CHAIN):
                # What was written over was followed by older ones alone.
                left = at > oldest
                at, mine = at[left], mine[left]
                if not len(at):
                    break
                slots.append(at % self._room)
                own.append(mine)
                at = self._before[at % self._room, table]
        if not slots:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        return np.concatenate(slots), np.concatenate(own)


def _agreed(shifts: npt.NDArray[np.int16]) -> tuple[tuple[float, float], int]:
    """Return the shift that most agree with, and how many do."""
    apart = np.abs(shifts[:, None] - shifts[None]).max(axis=2) <= _SHIFT_STEP / 2
    agreeing = shifts[apart[int(np.argmax(apart.sum(axis=1)))]]
    x, y = np.median(agreeing, axis=0)
    return (float(x), float(y)), len(agreeing)


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
