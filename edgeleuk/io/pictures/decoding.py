"""Bytes to pixels, in one way for cameras, folders, `classify` and `segment`.

::

    kind -> size, held to the limit -> whole? -> pixels -> 16 bits to 8 -> turned as its EXIF data says
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from edgeleuk.errors import DataRefusedError
from edgeleuk.io.pictures.headers import READ, PictureHeader, jpeg_ends, missing_bytes, read_header
from edgeleuk.io.pictures.jpeg import DamagedJpegError, decode_jpeg
from edgeleuk.io.pictures.limit import most_bytes, most_megapixels

if TYPE_CHECKING:
    from pathlib import Path

    from edgeleuk.frames import RgbImage

TRUNCATED, DAMAGED_JPEG, TOO_LARGE = "truncated JPEG", "damaged JPEG", "too large"
UNREADABLE, TOO_FEW_BITS, NOT_READ = "unreadable file", "too few bits", "a kind that is not read"
# Bits of a camera whose values are stored in 16 without being spread.
_BITS = (8, 10, 12, 14)
# EXIF's orientation -> turns by 90 degrees against the clock, then mirrored left to right.
_UPRIGHT = {1: (0, 0), 2: (0, 1), 3: (2, 0), 4: (2, 1), 5: (3, 1), 6: (3, 0), 7: (1, 1), 8: (1, 0)}


class PictureRefusedError(DataRefusedError):
    """A picture that is not decoded, or not to be trusted.

    Parameters
    ----------
    reason : str
        Few words, the same for all pictures with the same fault.
    what : str
        The same as a sentence, with the picture's name.
    """

    def __init__(
        self, reason: str, what: str, *, got: object = None, allowed: object = None, cure: str | None = None
    ) -> None:
        self.reason = reason
        super().__init__(what, got=got, allowed=allowed, cure=cure)


class Decoded(NamedTuple):
    """A picture.

    Attributes
    ----------
    pixels : (H, W, 3) uint8, RGB
    notes : tuple of str
        What else its file holds and nobody looks at.
    """

    pixels: RgbImage
    notes: tuple[str, ...] = ()


def read_bytes(path: Path) -> bytes:
    """Read a picture's file, no longer than a picture can be.

    Raises
    ------
    OSError
    PictureRefusedError
        It is longer than any picture within the limit, or no file.
    """
    if not stat.S_ISREG(path.stat().st_mode) and path.is_char_device():
        raise PictureRefusedError(UNREADABLE, f"{path} is a device, not a picture")
    most = most_bytes()
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise PictureRefusedError(
            TOO_LARGE,
            f"{path} is too large",
            got=f"a file of more than {most / 1e6:.0f} MB",
            allowed=f"{most_megapixels():g} megapixels",
            cure="cut it into fields, or pass --most-megapixels",
        )
    return data


def decode(data: bytes, name: object) -> Decoded:
    """Decode a picture's bytes; `name` only names it.

    Raises
    ------
    PictureRefusedError
        It is no picture, a damaged or a truncated one, of a kind that is not read, or too large.
    """
    header = _header(data, name)
    if header.kind == "JPEG":
        if not jpeg_ends(data):
            raise PictureRefusedError(TRUNCATED, f"{name} is a truncated JPEG")
        try:
            pixels = decode_jpeg(data)
        except DamagedJpegError as error:
            raise PictureRefusedError(DAMAGED_JPEG, f"{name} is a damaged JPEG", got=error) from None
    else:
        pixels = _by_opencv(data, name, header)
    notes: tuple[str, ...] = ()
    if header.pages > 1:
        further = header.pages - 1
        notes = (f"{further} further page{'s' * (further > 1)} of the {header.kind} not looked at",)
    # libtiff's pictures are turned already.
    return Decoded(_upright(pixels, 1 if header.kind == "TIFF" else header.orientation), notes)


def decode_jpeg_frame(data: bytes, name: object) -> RgbImage:
    """Decode one picture of a stream of JPEGs to (H, W, 3) uint8 RGB.

    Raises
    ------
    PictureRefusedError
        It is truncated, damaged or too large: there is nothing else in such a stream.
    """
    try:
        return decode(data, name).pixels
    except PictureRefusedError as error:
        if error.reason in (TOO_LARGE, TRUNCATED):
            raise
        reason = DAMAGED_JPEG if jpeg_ends(data) else TRUNCATED
        raise PictureRefusedError(reason, f"{name} is a {reason}") from None


def _header(data: bytes, name: object) -> PictureHeader:
    """Read the header, and hold it to what may be decoded."""
    header = read_header(data)
    if header is None:
        what = f"{name} is empty" if not data else f"{name} is no image, or a damaged one"
        raise PictureRefusedError(UNREADABLE, what, allowed=", ".join(READ))
    if header.kind not in READ:
        raise PictureRefusedError(
            NOT_READ, f"{name} is a {header.kind} picture, which is not read", allowed=", ".join(READ)
        )
    megapixels = header.height * header.width / 1e6
    if megapixels > most_megapixels():
        raise PictureRefusedError(
            TOO_LARGE,
            f"{name} is too large",
            got=f"{header.width}x{header.height}, {megapixels:.0f} megapixels",
            allowed=f"{most_megapixels():g}",
            cure="cut it into fields, or pass --most-megapixels",
        )
    return header


def _by_opencv(data: bytes, name: object, header: PictureHeader) -> RgbImage:
    if (lacking := missing_bytes(data)) is not None:
        raise PictureRefusedError(UNREADABLE, f"{name} is a damaged {header.kind}", got=lacking)
    if header.bits > 16:
        raise PictureRefusedError(
            UNREADABLE, f"{name} has samples of {header.bits} bits", allowed="8 or 16", cure="store 8 bits"
        )
    depth = cv2.IMREAD_ANYDEPTH if header.bits == 16 else 0
    # OpenCV's own way to RGB spoils TIFFs of 16 bits.
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION | depth
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        bgr = None
    if bgr is None:
        raise PictureRefusedError(UNREADABLE, f"{name} is a damaged {header.kind}")
    pixels = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=bgr)
    if pixels.dtype == np.uint16:
        return _eight_bits(np.asarray(pixels, np.uint16), name)
    if pixels.dtype != np.uint8:
        raise PictureRefusedError(
            UNREADABLE, f"{name} holds {pixels.dtype} samples", allowed="8 or 16 bits", cure="store 8 bits"
        )
    return np.asarray(pixels, np.uint8)


def _eight_bits(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint16]], name: object) -> RgbImage:
    """Take the upper bytes; refuse values of fewer bits, which would all but vanish."""
    most = int(pixels.max())
    bits = next((bits for bits in _BITS if most < 1 << bits), None)
    if bits is not None and most > 0:
        raise PictureRefusedError(
            TOO_FEW_BITS,
            f"{name} has {bits} bits in 16",
            got=f"values that end at {most}",
            allowed="values up to 65535",
            cure="store 8 bits, or spread the values over 16",
        )
    return np.asarray(pixels >> 8, np.uint8)


def _upright(pixels: RgbImage, orientation: int) -> RgbImage:
    """Turn a picture as EXIF's orientation says."""
    turns, mirrored = _UPRIGHT[orientation]
    if not turns and not mirrored:
        return pixels
    turned = np.rot90(pixels, turns)
    return np.ascontiguousarray(turned[:, ::-1] if mirrored else turned)
