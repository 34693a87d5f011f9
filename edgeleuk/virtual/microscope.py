"""The virtual slide on a virtual stand: a stage with play, a tilted slide, a focus that drifts, a lamp.

What a real stand gets wrong is a setting here, so that autofocus, calibration and scanning meet it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeleuk.virtual.render import Field, VirtualSlide

# Of a 40x objective of numerical aperture .65 in green light: wavelength over the aperture squared.
DEPTH_OF_FIELD_UM = 1.3


@dataclass(frozen=True, slots=True)
class Stand:
    """How the stand is built.

    Attributes
    ----------
    focus_um : float
        Height of the stage at which the slide's origin is in focus.
    tilt_x, tilt_y : float
        Rise of the slide, micrometres a micrometre along the stage's axes.
    drift_um_per_s : float
        How fast the focus rises.
    backlash_um : float
        Play of each axis: so far a motor turns after a change of direction before anything moves.
    turned_degrees : float
        The camera's turn against the stage's axes, clockwise in the picture.
    """

    focus_um: float = 0.0
    tilt_x: float = 0.0
    tilt_y: float = 0.0
    drift_um_per_s: float = 0.0
    backlash_um: float = 0.0
    turned_degrees: float = 0.0


@dataclass
class _Play:
    """One axis: where the motor stands, and where the stage does."""

    backlash_um: float
    moved_um: float = 0.0

    def follow(self, motor_um: float) -> float:
        half = self.backlash_um / 2
        self.moved_um = min(max(self.moved_um, motor_um - half), motor_um + half)
        return self.moved_um


@dataclass
class VirtualMicroscope:
    """What a camera sees on that stand.

    Attributes
    ----------
    slide : VirtualSlide
    stand : Stand
    width, height : int
        Of a field, in pixels.
    """

    slide: VirtualSlide
    stand: Stand = field(default_factory=Stand)
    width: int = 1280
    height: int = 960

    def __post_init__(self) -> None:
        self._axes = [_Play(self.stand.backlash_um) for _ in range(3)]

    def look(
        self,
        x_um: float,
        y_um: float,
        z_um: float,
        *,
        lamp: float = 1.0,
        exposure: int = 0,
        time_s: float = 0.0,
    ) -> Field:
        """Render the field with the motors at a place; the way there matters, for the axes have play.

        Parameters
        ----------
        x_um, y_um, z_um : float
            Where the motors stand.
        lamp : float
            1 is right.
        exposure : int
            Number of the picture; see `VirtualSlide.field`.
        time_s : float
            Since the stand was set up.
        """
        x, y, z = self.reach(x_um, y_um, z_um)
        slide_x, slide_y = self.on_slide(x, y)
        return self.slide.field(
            slide_x,
            slide_y,
            z_um=z - self.focus_um(x, y, time_s),
            lamp=lamp,
            exposure=exposure,
            width=self.width,
            height=self.height,
        )

    def reach(self, x_um: float, y_um: float, z_um: float) -> tuple[float, float, float]:
        """Turn the motors to a place, and return where the stage is then."""
        x, y, z = (axis.follow(motor) for axis, motor in zip(self._axes, (x_um, y_um, z_um), strict=True))
        return x, y, z

    def focus_um(self, x_um: float, y_um: float, time_s: float = 0.0) -> float:
        """Height at which the slide is in focus at a place of the stage."""
        stand = self.stand
        return stand.focus_um + stand.tilt_x * x_um + stand.tilt_y * y_um + stand.drift_um_per_s * time_s

    def on_slide(self, x_um: float, y_um: float) -> tuple[float, float]:
        """Return the place on the slide, along the picture's axes, that a place of the stage shows."""
        turn = math.radians(self.stand.turned_degrees)
        return (
            math.cos(turn) * x_um - math.sin(turn) * y_um,
            math.sin(turn) * x_um + math.cos(turn) * y_um,
        )
