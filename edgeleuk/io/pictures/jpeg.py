"""JPEGs to pixels, strictly: what libjpeg only warns of is damage, and so is what the picture shows.

The pixels are OpenCV's, bit for bit: both decode by libjpeg-turbo with the same settings, and OpenCV drops
its warnings.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import simplejpeg

from edgeleuk.io.pictures.headers import jpeg_quantum
from edgeleuk.io.pictures.seams import strongest_seam

if TYPE_CHECKING:
    from edgeleuk.frames import RgbImage

# libjpeg's warnings that are about the file's make, not about what it holds.
_HARMLESS = ("JFIF", "Adobe", "sequential JPEG")
# Cameras pad behind the last square, so that this alone is no damage.
_PADDED = re.compile(r"extraneous bytes before marker 0xd9")
# What a JPEG may be that libjpeg's simple interface does not convert, and OpenCV does.
_OTHER_COLOURS = ("CMYK", "YCCK")

# How the colours are halved -> width and height of what is coded at once, in pixels.
_SQUARES = {
    "444": (8, 8),
    "422": (16, 8),
    "420": (16, 16),
    "440": (8, 16),
    "411": (32, 8),
    "441": (8, 32),
    "Gray": (8, 8),
}


class SeamLimits(NamedTuple):
    """From where on a seam is damage; see `edgeleuk.io.pictures.seams.Seam`."""

    step: float
    break_ratio: float


# Above what sound pictures show, of which enlarged crops come nearest; chosen on pictures of the same sets as
# tests/bench/damaged_jpegs.py has.
_LIMITS = SeamLimits(7.0, 3.6)
# Where bytes are left over, too.
_SUSPECTED = SeamLimits(5.0, 2.9)
# Coarse quantization makes steps of its own, of up to one level of the lowest frequency.
_QUANTUM_SHARE = 1.5


class DamagedJpegError(ValueError):
    """The JPEG is damaged; the text says how that is known."""


def decode_jpeg(data: bytes) -> RgbImage:
    """Decode a JPEG to (H, W, 3) uint8 RGB, as it is stored: not turned.

    Raises
    ------
    DamagedJpegError
        It is damaged, or no JPEG.
    """
    try:
        height, width, colours, sampling = simplejpeg.decode_jpeg_header(data, strict=False)
    except (ValueError, LookupError) as error:
        # Of a header without an image simplejpeg says only that it has no name for its colours.
        raise DamagedJpegError(str(error)) from None
    if colours in _OTHER_COLOURS:
        return _by_opencv(data)
    pixels = np.empty((height, width, 3), np.uint8)
    limits = _LIMITS
    try:
        # What it warns of is decoded all the same, into the buffer.
        simplejpeg.decode_jpeg(data, "RGB", buffer=pixels)
    except ValueError as error:
        warning = str(error)
        if _PADDED.search(warning):
            limits = _SUSPECTED
        elif not any(word in warning for word in _HARMLESS):
            raise DamagedJpegError(warning) from None
    square = _SQUARES.get(sampling)
    if square is not None and _has_seam(pixels, square, limits, data):
        raise DamagedJpegError("the picture does not go on below a seam between its squares")
    return pixels


def _has_seam(pixels: RgbImage, square: tuple[int, int], limits: SeamLimits, data: bytes) -> bool:
    seam = strongest_seam(pixels, square)
    if seam.break_ratio > limits.break_ratio:
        return True
    return seam.step > limits.step and seam.step > _QUANTUM_SHARE * jpeg_quantum(data)


def _by_opencv(data: bytes) -> RgbImage:
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if pixels is None:
        raise DamagedJpegError("libjpeg cannot decode it")
    return np.asarray(pixels, np.uint8)
