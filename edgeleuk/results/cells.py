"""What the device says of cells, and of frames."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeleuk.frames import Box, Cell
    from edgeleuk.results.kinds import Kind


class Decision(str, Enum):
    """What a cell can be called; ``other`` is of a known kind that is not asked for blasts."""

    BLAST = "blast"
    NORMAL = "normal"
    OTHER = "other"
    UNCERTAIN = "uncertain"


# As texts, for what is recorded and printed.
DECISIONS = tuple(decision.value for decision in Decision)


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one cell.

    Attributes
    ----------
    decision : Decision
    probability : float
        Of the positive class, after the temperature; 0 to 1. NaN of a cell that was not asked.
    reason : str or None
        Why the cell is ``uncertain``.
    foreign : bool
        The reason is that the network was never trained on such cells, so that its probability says nothing.
    kind : Kind or None
        None where the bundle knows no kinds, or cannot tell this cell's.
    kind_probability : float or None
        Of that kind.
    """

    decision: Decision
    probability: float
    reason: str | None = None
    foreign: bool = False
    kind: Kind | None = None
    kind_probability: float | None = None


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


@dataclass(frozen=True, slots=True)
class ExcludedCell:
    """One white cell of one frame that cannot be judged there.

    Attributes
    ----------
    track : int
    box : Box
    reason : str
        Few words, the same for all cells with the same fault.
    """

    track: int
    box: Box
    reason: str


@dataclass(frozen=True, slots=True)
class FrameResult:
    """All that one frame showed.

    Attributes
    ----------
    sequence : int
        Number of the frame at its source.
    captured_at : float
        Seconds since the Unix epoch.
    source : str
    width, height : int
        In pixels.
    px_per_um : float or None
        Scale that was used, None where nothing told it.
    cells : tuple of CellResult
        Cells with a judgement, made in this frame or before.
    excluded : tuple of ExcludedCell
        The others.
    found : tuple of Cell
        All cells as they were segmented, with their masks, in the order they were found. Of a cell whose
        nucleus the border cuts, the mask and the box are those of the nucleus.
    latency_ms : float
        From the frame's arrival until its results were on the disk.
    """

    sequence: int
    captured_at: float
    source: str
    width: int
    height: int
    px_per_um: float | None
    cells: tuple[CellResult, ...]
    excluded: tuple[ExcludedCell, ...]
    found: tuple[Cell, ...]
    latency_ms: float
