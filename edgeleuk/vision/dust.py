"""Dust on the optics: what stays where it is in the picture while the slide moves beneath it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeleuk.frames import Box, Cell
    from edgeleuk.vision.tracking import Placed

# Boxes of a grain in two frames agree at least so much, as no cell that passes by does.
_LEAST_OVERLAP = 0.75
# The slide must have moved by this share of the box, so that a cell could not lie there still.
_LEAST_MOVE = 0.5
# Sightings on different ground that make a grain.
_ENOUGH = 3
# Frames that a grain may be missed in, for a cell that covers it: before and after it is known for one.
_MOST_MISSED = {False: 1, True: 50}


class Dust(NamedTuple):
    """What one frame tells of dust.

    Attributes
    ----------
    now : frozenset of int
        Indices of the frame's cells that are dust.
    exposed : tuple of int
        Tracks of earlier frames that turn out to be dust now.
    """

    now: frozenset[int]
    exposed: tuple[int, ...]


@dataclass
class _Grain:
    """Something that may be dust: where in the picture, on which ground it was seen last, as which cells."""

    box: Box
    placed: Placed
    tracks: list[int] = field(default_factory=list)
    grounds: int = 1
    missed: int = 0

    @property
    def is_dust(self) -> bool:
        return self.grounds >= _ENOUGH


class DustWatch:
    """Compares each frame's cells with where those of earlier frames lay in the picture."""

    def __init__(self) -> None:
        self._grains: list[_Grain] = []

    def look(self, cells: Sequence[Cell], tracks: Sequence[int], placed: Placed | None) -> Dust:
        """Tell dust among the cells of one frame.

        Parameters
        ----------
        cells : sequence of Cell
        tracks : sequence of int
            The number of each cell on the slide.
        placed : Placed or None
            Where the frame lies on the slide; nothing can be told without.

        Returns
        -------
        Dust
        """
        now, exposed = set(), []
        if placed is None:
            return Dust(frozenset(), ())
        for known in self._grains:
            known.missed += 1
        for index, (cell, track) in enumerate(zip(cells, tracks, strict=True)):
            grain = next((one for one in self._grains if one.box.overlap(cell.box) >= _LEAST_OVERLAP), None)
            if grain is None:
                self._grains.append(_Grain(cell.box, placed, [track]))
                continue
            grain.missed = 0
            if _moved(grain.placed, placed) >= _LEAST_MOVE * max(cell.box.w, cell.box.h):
                grain.grounds += 1
                grain.placed = placed
            if grain.is_dust:
                now.add(index)
                exposed += grain.tracks
                grain.tracks = []
            elif track not in grain.tracks:
                grain.tracks.append(track)
        self._grains = [one for one in self._grains if one.missed <= _MOST_MISSED[one.is_dust]]
        return Dust(frozenset(now), tuple(exposed))


def _moved(before: Placed, now: Placed) -> float:
    """How far the slide moved, in pixels; without end between areas that nothing connects."""
    if before.area != now.area:
        return float("inf")
    return max(abs(now.left - before.left), abs(now.top - before.top))
