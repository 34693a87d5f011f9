"""Taking the lamp and the lens out of a picture: dividing by a picture of empty glass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeleuk.frames import require_rgb
from edgeleuk.vision.quality import QualityFault, fault_of, measure_quality

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from edgeleuk.frames import RgbImage

    Levels = npt.NDArray[np.uint16]
    Floats = npt.NDArray[np.float32]

# A blank is stored in 16 bits, as an average of frames is finer than one of them.
BLANK_LEVELS = 256


def blank_fault(pixels: RgbImage) -> str | None:
    """Return why a picture cannot serve as a blank, or None if it shows empty glass in good light.

    A cast is no hindrance: the light is taken out channel by channel.

    Parameters
    ----------
    pixels : (H, W, 3) uint8, RGB
    """
    quality = measure_quality(pixels)
    fault = fault_of(quality)
    if fault is QualityFault.UNDEREXPOSED:
        return str(fault.value)
    if fault is QualityFault.OVEREXPOSED or max(quality.glass) >= 254:
        return str(QualityFault.OVEREXPOSED.value)
    if fault is QualityFault.EMPTY or (fault is QualityFault.WHITE_BALANCE and quality.object_share == 0):
        return None
    return "not empty"


def average_blank(pictures: Sequence[RgbImage]) -> Levels:
    """Average pictures of empty glass.

    Parameters
    ----------
    pictures : sequence of (H, W, 3) uint8, RGB
        One or more, of one size.

    Returns
    -------
    (H, W, 3) uint16, RGB
        In 256ths of a level.
    """
    shapes = {picture.shape for picture in pictures}
    if len(shapes) != 1:
        msg = f"expected pictures of one size, got {sorted(shapes)}"
        raise ValueError(msg)
    total = np.zeros(pictures[0].shape, np.uint32)
    for picture in pictures:
        require_rgb(picture)
        total += picture
    return np.round(total * (BLANK_LEVELS / len(pictures))).astype(np.uint16)


class FlatField:
    """Divides pictures by a blank, channel by channel, each relative to its own mean.

    So the mean level and the colour of the light stay as they are, and an even blank changes nothing at all.

    Parameters
    ----------
    blank : (H, W, 3) uint8 or uint16, RGB
        Above 0 everywhere.

    Examples
    --------
    >>> import numpy as np
    >>> blank = np.full((2, 2, 3), 100, np.uint8)
    >>> blank[0] = 150
    >>> FlatField(blank).correct(blank)[:, 0, 0].tolist()
    [125, 125]
    """

    def __init__(self, blank: npt.NDArray[np.uint8] | Levels) -> None:
        if blank.ndim != 3 or blank.shape[2] != 3 or blank.size == 0 or blank.dtype.kind != "u":
            msg = f"expected (H, W, 3) uint8 or uint16, got {blank.shape} {blank.dtype}"
            raise ValueError(msg)
        if not blank.all():
            msg = "expected a blank above 0 everywhere, got pixels of 0"
            raise ValueError(msg)
        self.shape = blank.shape
        self._gain: Floats = (blank.mean(axis=(0, 1)) / blank).astype(np.float32)

    def correct(self, pixels: RgbImage) -> RgbImage:
        """Return the picture as even light would show it, rounded and clipped to 8 bits.

        Parameters
        ----------
        pixels : (H, W, 3) uint8, RGB
            Of the blank's size.
        """
        require_rgb(pixels)
        if pixels.shape != self.shape:
            msg = f"expected {self.shape}, got {pixels.shape}"
            raise ValueError(msg)
        return np.asarray(cv2.multiply(pixels, self._gain, dtype=cv2.CV_8U), np.uint8)
