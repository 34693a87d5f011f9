"""How the camera lies on the stage: learnt from how far the picture moves when the stage does."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.errors import HardwareError
from edgeleuk.results.structs import Printed
from edgeleuk.vision.registration import Spectrum, Texture, refine, register

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeleuk.stage.base import Mover, Place, SynchronousCamera

# Of a field: as far as overlaps are sure.
_WAY = 0.35
# Residuals above this share of a move mean that the moves and the pictures do not belong together.
_MOST_RESIDUAL = 0.05


class PrintedMapping(Printed, frozen=True, kw_only=True):
    """What ``edgeleuk stage map --json`` prints; see `Mapping`."""

    schema_version: int
    matrix_px_per_um: tuple[tuple[float, float], tuple[float, float]]
    px_per_um: float
    angle_degrees: float
    backlash_um: tuple[float, float]
    residual_px: float
    moves: int


@dataclass(frozen=True, slots=True)
class Mapping:
    """From the stage's micrometres to the picture's pixels.

    Attributes
    ----------
    matrix : tuple of two tuples of two floats
        Pixels that the view moves to the right and down for a micrometre of x and of y.
    backlash_um : (x, y)
        Play found in each axis.
    residual_px : float
        Root mean square of what the moves leave unexplained.
    moves : int
        Moves it was learnt from.
    """

    matrix: tuple[tuple[float, float], tuple[float, float]]
    backlash_um: tuple[float, float] = (0.0, 0.0)
    residual_px: float = 0.0
    moves: int = 0

    @property
    def px_per_um(self) -> float:
        """Scale: the geometric mean of both axes."""
        return math.sqrt(abs(float(np.linalg.det(np.array(self.matrix)))))

    @property
    def angle_degrees(self) -> float:
        """Turn of the stage's x axis in the picture, clockwise."""
        return math.degrees(math.atan2(self.matrix[1][0], self.matrix[0][0]))

    def to_um(self, x_px: float, y_px: float) -> tuple[float, float]:
        """Return the move of the stage that moves the view by so many pixels."""
        x, y = np.linalg.solve(np.array(self.matrix), np.array([x_px, y_px]))
        return float(x), float(y)

    def printed(self) -> PrintedMapping:
        """Return what ``edgeleuk stage map --json`` prints."""
        return PrintedMapping(
            schema_version=1,
            matrix_px_per_um=self.matrix,
            px_per_um=self.px_per_um,
            angle_degrees=self.angle_degrees,
            backlash_um=self.backlash_um,
            residual_px=self.residual_px,
            moves=self.moves,
        )

    def to_json(self) -> dict[str, object]:
        """Return the object of ``edgeleuk stage map --json``."""
        return self.printed().to_json()


def calibrate(camera: SynchronousCamera, stage: Mover, px_per_um: float) -> Mapping:
    """Learn the mapping from six moves: along each axis forth, further and back.

    Forth and further are in one direction, so that only the way back meets the play of the axis; the first
    move of each axis is preceded by a small one in its direction, which takes the play out.

    Parameters
    ----------
    camera : SynchronousCamera
    stage : Mover
        Its own compensation of backlash should be off, else there is none to be found.
    px_per_um : float
        Of the picture, roughly: how far to move.

    Raises
    ------
    HardwareError
        The picture does not follow the stage.
    """
    start = stage.position()
    texture = Texture.of(camera().pixels)
    height, width = texture.shape
    ways, shifts, backlash = [], [], []
    for axis, side in enumerate((width, height)):
        step = _WAY * side / px_per_um / 2
        _go(stage, start, axis, 0.25 * step)
        places = [0.25 * step, 1.25 * step, 2.25 * step]
        textures = [Texture.of(camera().pixels)]
        for place in places[1:]:
            _go(stage, start, axis, place)
            textures.append(Texture.of(camera().pixels))
        _go(stage, start, axis, places[1])
        textures.append(Texture.of(camera().pixels))
        for first, second, way in ((0, 1, step), (1, 2, step), (0, 2, 2 * step)):
            ways.append([way, 0.0] if axis == 0 else [0.0, way])
            shifts.append(_shift(textures[first], textures[second], axis))
        # Forth and back to one number of the motor: what is between is play.
        apart = np.hypot(*_shift(textures[1], textures[3], axis))
        along = np.hypot(*shifts[-1]) / (2 * step)
        backlash.append(float(apart / along))
        _go(stage, start, axis, 0.0)
    matrix, residual = _fitted(np.array(ways), np.array(shifts))
    return Mapping(
        matrix=((matrix[0][0], matrix[0][1]), (matrix[1][0], matrix[1][1])),
        backlash_um=(backlash[0], backlash[1]),
        residual_px=residual,
        moves=len(ways),
    )


def _measured(first: Texture, second: Texture) -> tuple[float, float] | None:
    coarse = register(Spectrum(first), Spectrum(second))
    if coarse is None:
        return None
    fine = refine(first, second, (coarse.x, coarse.y))
    return (fine.x, fine.y) if fine is not None else (coarse.x, coarse.y)


def _shift(first: Texture, second: Texture, axis: int) -> tuple[float, float]:
    found = _measured(first, second)
    if found is None:
        raise HardwareError(
            "the picture does not follow the stage",
            got=f"pictures along {'xy'[axis]} that share nothing",
            cure="look at cells in focus, see that the stage moves, and give the scale with --px-per-um",
        )
    return found


def _go(stage: Mover, start: Place, axis: int, way_um: float) -> None:
    if axis == 0:
        stage.move(x_um=start.x_um + way_um)
    else:
        stage.move(y_um=start.y_um + way_um)


def _fitted(
    ways: npt.NDArray[np.float64], shifts: npt.NDArray[np.float64]
) -> tuple[list[list[float]], float]:
    matrix = np.linalg.lstsq(ways, shifts, rcond=None)[0].T
    residual = float(np.sqrt(np.mean((ways @ matrix.T - shifts) ** 2)))
    length = float(np.sqrt(np.mean(shifts**2)))
    if residual > _MOST_RESIDUAL * max(length, 1e-9) or abs(np.linalg.det(matrix)) < 1e-9:
        raise HardwareError(
            "the moves of the stage and of the picture do not fit together",
            got=f"{residual:.1f} px left over of {length:.0f}",
            cure="see that nothing slips and that the picture is in focus, then calibrate again",
        )
    rows: list[list[float]] = matrix.tolist()
    return rows, residual
