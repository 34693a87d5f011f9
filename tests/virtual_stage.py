"""A virtual microscope as a stage and a camera in one process, without a wire."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from edgeleuk.frames import Frame
from edgeleuk_firmware_bridge.stage.protocols import Position

if TYPE_CHECKING:
    from edgeleuk.virtual.microscope import VirtualMicroscope

SECONDS_A_FRAME = 0.1


class VirtualStage:
    """Moves and sees; backlash is taken out by coming from below, as the drivers do where it is set."""

    def __init__(self, microscope: VirtualMicroscope, *, take_out_um: float = 0.0) -> None:
        self.microscope = microscope
        self.at = [0.0, 0.0, 0.0]
        self.pictures = 0
        self._take_out_um = take_out_um

    @property
    def now_s(self) -> float:
        return self.pictures * SECONDS_A_FRAME

    def position(self) -> Position:
        return Position(*self.at)

    def move(self, x_um: float | None = None, y_um: float | None = None, z_um: float | None = None) -> None:
        for axis, goal in enumerate((x_um, y_um, z_um)):
            if goal is None:
                continue
            if goal < self.at[axis] and self._take_out_um:
                self._drive(axis, goal - self._take_out_um)
            self._drive(axis, goal)

    def _drive(self, axis: int, goal: float) -> None:
        self.at[axis] = goal
        self.microscope.reach(*self.at)

    def __call__(self) -> Frame:
        self.pictures += 1
        field = self.microscope.look(*self.at, time_s=self.now_s)
        return Frame(field.pixels, self.pictures, time.time(), time.monotonic(), "virtual", None, field.truth)

    @property
    def defocus_um(self) -> float:
        x, y, z = self.microscope.reach(*self.at)
        return z - self.microscope.focus_um(x, y, self.now_s)
