"""Images as they travel through the device: frames, white cells found in them, crops of those.

Every array is checked once, here, when the object is made; code further down relies on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    RgbImage = npt.NDArray[np.uint8]
    Mask = npt.NDArray[np.uint8]

BACKGROUND = 0
CYTOPLASM = 128
NUCLEUS = 255
# Sizes are rounded to whole pixels.
_SAME_PROPORTIONS = 0.01


class Box(NamedTuple):
    """An axis-aligned box in pixels; ``x`` and ``y`` are its left and top edges."""

    x: int
    y: int
    w: int
    h: int

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y) of the middle, in pixels."""
        return self.x + self.w / 2, self.y + self.h / 2

    def overlap(self, other: Box) -> float:
        """Return the intersection over the union of both, 0 to 1."""
        w = min(self.x + self.w, other.x + other.w) - max(self.x, other.x)
        h = min(self.y + self.h, other.y + other.h) - max(self.y, other.y)
        common = max(w, 0) * max(h, 0)
        return common / (self.w * self.h + other.w * other.h - common)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices of the box, for indexing an (H, W, ...) array."""
        return slice(self.y, self.y + self.h), slice(self.x, self.x + self.w)


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a field.

    Attributes
    ----------
    pixels : (H, W, 3) uint8, RGB
    sequence : int
        Number of the frame at its source, counted from 0; gaps are frames that were dropped.
    captured_at : float
        Seconds since the Unix epoch when the frame arrived on this machine.
    captured_monotonic : float
        The same moment on ``time.monotonic()``'s clock, for latencies.
    source : str
        The camera URI without its password, with the file's name for folders.
    px_per_um : float or None
        Scale of the picture where the source knows it.
    truth : tuple of TrueCell
        What is really in the field; only simulated sources know.
    taken_monotonic : float or None
        A moment on the same clock as `captured_monotonic`: the picture was taken, or still on its way
        from the camera, then or later. None where the source cannot tell whether it waited for its reader.
    """

    pixels: RgbImage
    sequence: int
    captured_at: float
    captured_monotonic: float
    source: str
    px_per_um: float | None = None
    truth: tuple[TrueCell, ...] = ()
    taken_monotonic: float | None = None

    def __post_init__(self) -> None:
        require_rgb(self.pixels)


@dataclass(frozen=True, slots=True)
class TrueCell:
    """A simulated white cell as it lies in one field.

    Attributes
    ----------
    identity : int
        The same number in every field that shows this cell.
    label : str
        ``blast`` or ``normal``.
    x, y : float
        Centre in pixels of the field; may lie outside it when the border cuts the cell.
    radius_px : float
        Equivalent radius of the whole cell.
    """

    identity: int
    label: str
    x: float
    y: float
    radius_px: float


@dataclass(frozen=True, slots=True)
class Cell:
    """One white cell found in a frame.

    Attributes
    ----------
    box : Box
        Tight bounding box of the whole cell, in pixels of the frame.
    mask : (h, w) uint8
        Of the box's size: 255 nucleus, 128 cytoplasm, 0 rest.
    touches_border : bool
        The picture's edge cuts the cell, so its size is unknown.
    """

    box: Box
    mask: Mask
    touches_border: bool = False
    area_px: int = field(init=False)
    nucleus_area_px: int = field(init=False)

    def __post_init__(self) -> None:
        expected = (self.box.h, self.box.w)
        if self.mask.dtype != np.uint8 or self.mask.shape != expected:
            msg = f"expected {expected} uint8, got {self.mask.shape} {self.mask.dtype}"
            raise ValueError(msg)
        object.__setattr__(self, "area_px", int(np.count_nonzero(self.mask)))
        object.__setattr__(self, "nucleus_area_px", int(np.count_nonzero(self.mask == NUCLEUS)))


@dataclass(frozen=True, slots=True)
class CellCrop:
    """One white cell cut out, everything around it black.

    Attributes
    ----------
    pixels : (H, W, 3) uint8, RGB
        0 outside the cell; in a picture from a data set, perhaps what is around it.
    mask : (H, W) uint8
        255 inside the cell, 0 outside.
    px_per_um : float
        Scale of the crop.
    whole : bool
        It is a picture of its own, not cut from a field: what wants whole pictures takes it as it is.
    """

    pixels: RgbImage
    mask: Mask
    px_per_um: float
    whole: bool = False

    def __post_init__(self) -> None:
        require_rgb(self.pixels)
        if self.mask.dtype != np.uint8 or self.mask.shape != self.pixels.shape[:2]:
            msg = f"expected {self.pixels.shape[:2]} uint8, got {self.mask.shape} {self.mask.dtype}"
            raise ValueError(msg)
        if not self.px_per_um > 0:
            msg = f"expected px_per_um above 0, got {self.px_per_um}"
            raise ValueError(msg)

    @classmethod
    def on_black(cls, pixels: RgbImage, px_per_um: float, *, whole: bool = False) -> CellCrop:
        """Take a picture of a cell on pure black, as C-NMC has them: what is not black is cell."""
        require_rgb(pixels)
        return cls(pixels, not_black(pixels), px_per_um, whole)


def not_black(pixels: RgbImage) -> Mask:
    """Return an (H, W) uint8 mask: 255 where any channel of an (H, W, 3) uint8 picture is not 0."""
    # Ten times as fast as `any` over the channels.
    lit = pixels[:, :, 0] | pixels[:, :, 1] | pixels[:, :, 2]
    mask: Mask = np.where(lit != 0, np.uint8(255), np.uint8(0))
    return mask


def zoom_between(first: tuple[int, int], other: tuple[int, int]) -> float | None:
    """Return how many times as large a picture is as the first, (H, W) each; None of other proportions.

    A camera that changes its resolution and not its proportions sees the same field with other pixels.

    Examples
    --------
    >>> zoom_between((480, 640), (360, 480)), zoom_between((480, 640), (480, 720))
    (0.75, None)
    """
    zoom = other[1] / first[1]
    return float(zoom) if abs(other[0] / first[0] / zoom - 1) <= _SAME_PROPORTIONS else None


def require_rgb(pixels: RgbImage) -> None:
    """Raise ``ValueError`` unless `pixels` is a non-empty (H, W, 3) uint8 array."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        msg = f"expected (H, W, 3) uint8, got {pixels.shape} {pixels.dtype}"
        raise ValueError(msg)
