"""One look at a picture, for `classify`, `segment` and folders alike: is it worth judging."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeleuk.vision.quality import quality_check
from edgeleuk.vision.stream import fault_of_light

if TYPE_CHECKING:
    from edgeleuk.frames import RgbImage


def fault_of_picture(pixels: RgbImage, *, judge_quality: bool = True) -> str | None:
    """Return why a picture is not judged, or None: what `run` says of it in a folder, in the same order.

    Parameters
    ----------
    pixels : (H, W, 3) uint8, RGB
    judge_quality : bool
        Also blur, exposure, white balance and what a field shows: see
        `edgeleuk.vision.quality.quality_check`.

    Returns
    -------
    str or None
        Few words, those of a session and its summary.

    Examples
    --------
    >>> import numpy as np
    >>> fault_of_picture(np.full((480, 640, 3), 180, np.uint8))
    'monochrome picture'
    """
    fault = fault_of_light(pixels)
    return quality_check(pixels) if fault is None and judge_quality else fault
