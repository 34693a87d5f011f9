"""What the device says of cells, of frames, and of a whole session."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeleuk.frames import Box


class Decision(str, Enum):
    """The three things a cell can be called."""

    BLAST = "blast"
    NORMAL = "normal"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one cell.

    Attributes
    ----------
    decision : Decision
    probability : float
        Of the positive class, after the temperature; 0 to 1.
    reason : str or None
        Why the cell is ``uncertain``.
    """

    decision: Decision
    probability: float
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class CellResult:
    """One white cell of one frame.

    Attributes
    ----------
    track : int
        Number of the cell in the session; the same cell seen again keeps it.
    is_new : bool
        Whether this is the first sighting of the track.
    box : Box
    area_um2, nucleus_area_um2 : float
        NaN where the scale is unknown.
    prediction : Prediction
    """

    track: int
    is_new: bool
    box: Box
    area_um2: float
    nucleus_area_um2: float
    prediction: Prediction
