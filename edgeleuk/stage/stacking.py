"""Several planes of one field: how many, how far apart, and taking them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from edgeleuk.errors import CameraError, UsageError
from edgeleuk.stage.autofocus import detail_power
from edgeleuk.stage.base import FocusDrive

if TYPE_CHECKING:
    from edgeleuk.frames import Frame, RgbImage
    from edgeleuk.stage.base import Mover, SynchronousCamera

_STACK = re.compile(r"(\d{1,3})@(\d{1,3}(?:\.\d{1,3})?)(?:um)?")
# All planes of a field are held at a time.
MOST_PLANES = 31
_LEAST_STEP_UM, _MOST_STEP_UM = 0.01, 100.0


@dataclass(frozen=True, slots=True)
class FocusStack:
    """Planes that are taken of each field, around the focus that was found.

    Attributes
    ----------
    planes : int
        2 to `MOST_PLANES`.
    step_um : float
        From one to the next.
    """

    planes: int
    step_um: float

    def __post_init__(self) -> None:
        if not (
            2 <= self.planes <= MOST_PLANES and _LEAST_STEP_UM <= round(self.step_um, 9) <= _MOST_STEP_UM
        ):
            raise UsageError(
                "the stack is out of range",
                got=str(self),
                allowed=f"2 to {MOST_PLANES} planes, {_LEAST_STEP_UM:g} to {_MOST_STEP_UM:g} um apart",
            )

    def __str__(self) -> str:
        return f"{self.planes}@{self.step_um:g}"

    @property
    def middle(self) -> int:
        """Number of the plane that is at the focus; with an even number of planes, half a step above it."""
        return self.planes // 2

    @property
    def offsets_um(self) -> list[float]:
        """Heights above the focus, the lowest first."""
        return [(n - (self.planes - 1) / 2) * self.step_um for n in range(self.planes)]


def parse_stack(text: str) -> FocusStack:
    """Read ``5@0.8``: five planes, 0.8 um apart.

    Examples
    --------
    >>> parse_stack("5@0.8").offsets_um
    [-1.6, -0.8, 0.0, 0.8, 1.6]

    Raises
    ------
    UsageError
    """
    found = _STACK.fullmatch(text.strip())
    if found is None:
        raise UsageError("the stack cannot be read", got=text, allowed="PLANES@UM, 5@0.8")
    return FocusStack(int(found[1]), float(found[2]))


def require_focus_axis(stage: Mover) -> None:
    """Refuse a stack where the stage cannot go up and down.

    Raises
    ------
    UsageError
    """
    if isinstance(stage, FocusDrive) and not stage.has_focus_axis:
        raise UsageError(
            "this stage has no focus axis, so that no stack can be taken", cure="scan without --stack"
        )


class Planes(NamedTuple):
    """The planes of one field.

    Attributes
    ----------
    z_um : float
        Where the stage was when the field was in focus.
    pixels : tuple of (H, W, 3) uint8, RGB
        The lowest first.
    """

    z_um: float
    pixels: tuple[RgbImage, ...]


def take_planes(
    camera: SynchronousCamera, stage: Mover, stack: FocusStack, frame: Frame
) -> tuple[Frame, Planes]:
    """Take the planes of a field that is in focus; the stage stands at the highest afterwards.

    Parameters
    ----------
    camera : SynchronousCamera
    stage : Mover
        Goes from below to above, so that the play of its axis does not matter.
    stack : FocusStack
    frame : Frame
        Taken in focus.

    Returns
    -------
    frame : Frame
        The same with the pixels of the sharpest plane.
    planes : Planes

    Raises
    ------
    HardwareError
        The stage does not move.
    CameraError
        The camera has another resolution in mid-stack.
    """
    z_um = stage.position().z_um
    pixels = []
    for offset_um in stack.offsets_um:
        if offset_um == 0:
            pixels.append(frame.pixels)
            continue
        stage.move(z_um=z_um + offset_um)
        pixels.append(camera().pixels)
    if any(plane.shape != frame.pixels.shape for plane in pixels):
        raise CameraError("the camera changed its resolution within a stack", cure="resume the scan")
    return replace(frame, pixels=max(pixels, key=detail_power)), Planes(z_um, tuple(pixels))
