"""How far the view moved between two pictures of one slide, or that they show different places.

Correlation over every shift that leaves a least overlap, on a much reduced picture, gives a few proposals;
each is verified, and the best measured, on a finer one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeleuk.frames import RgbImage

    Floats = npt.NDArray[np.float32]
    Bytes = npt.NDArray[np.uint8]

# Longest sides of the picture that is searched and of the one that measures, in pixels.
_COARSE_SIDE = 160
_FINE_SIDE = 320
# Less overlap than this cannot be told from chance.
LEAST_OVERLAP = 0.12
_LEAST_CORRELATION = 0.6
_PROPOSALS = 4
# Texture is limited to so many times its mean size, lest two unrelated fields agree because each holds one
# dark nucleus; and it has at least so many grey levels, lest the noise of an empty glass be texture.
_LIMIT = 1.5
_LEAST_LIMIT = 6.0
# Share of the limit that the texture of an overlap must reach (standard deviation) to be compared.
_LEAST_CONTRAST = 0.1
_REACH = 3


class Shift(NamedTuple):
    """Move of the view between two fields.

    Attributes
    ----------
    x, y : float
        In pixels of the field, to the right and down.
    correlation : float
        Pearson's, of what both fields show.
    """

    x: float
    y: float
    correlation: float


@dataclass(frozen=True, slots=True)
class Texture:
    """What is left of a field to register others to it: 80 kB.

    Attributes
    ----------
    fine : (h, w) uint8
        High-passed green, 128 in the mean.
    shape : (H, W)
        Size of the field.
    """

    fine: Bytes
    shape: tuple[int, int]


def texture_of(pixels: RgbImage) -> Texture:
    height, width = pixels.shape[:2]
    factor = max(1.0, max(height, width) / _FINE_SIDE)
    size = (max(1, round(width / factor)), max(1, round(height / factor)))
    # Reducing all three channels is faster than first copying the green one of a large field.
    green = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)[..., 1].astype(np.float32)
    wide = max(size) / 16
    small = cv2.resize(green, (max(1, size[0] // 4), max(1, size[1] // 4)), interpolation=cv2.INTER_AREA)
    ground = cv2.resize(cv2.GaussianBlur(small, (0, 0), wide / 4), size, interpolation=cv2.INTER_LINEAR)
    band = cv2.GaussianBlur(green, (0, 0), 1.0) - ground
    limit = max(_LEAST_LIMIT, _LIMIT * float(np.mean(np.abs(band))))
    fine = cv2.convertScaleAbs(cv2.add(cv2.multiply(np.clip(band, -limit, limit), 127 / limit), 128))
    return Texture(np.asarray(fine, np.uint8), (height, width))
