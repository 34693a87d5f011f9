"""Decode picture files to RGB bytes, or say in a few words why that cannot be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from edgeleuk.frames import RgbImage

# A picture of 16 bits whose brightest value is below comes of a camera of 12 bits or fewer.
_TWELVE_BITS = 4096
_TIFF_MAGIC: dict[bytes, Literal["little", "big"]] = {b"II*\0": "little", b"MM\0*": "big"}
_SUBFILE_TYPE, _BITS_PER_SAMPLE = 254, 258
_MOST_PAGES = 1000


@dataclass(frozen=True, slots=True)
class TiffPage:
    """What counts of one directory of a TIFF file."""

    reduced: bool
    bits: int


def decode(path: Path) -> RgbImage | str:
    """Decode a picture file to RGB; where that fails, return the reason.

    Grey, palette and CMYK pictures become RGB, 16 bits become 8, and a JPEG is turned as its EXIF data
    says. Transparency is dropped, as Keras's ``load_img`` does.

    Returns
    -------
    (H, W, 3) uint8, RGB, or str
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        return error.strerror or type(error).__name__
    pages = tiff_pages(data)
    if reason := _unfit(data, pages):
        return reason
    deep = data[:8] == b"\x89PNG\r\n\x1a\n" and data[24:25] == b"\x10"
    deep = deep or any(page.bits == 16 for page in pages)
    return _decoded(data, cv2.IMREAD_COLOR | (cv2.IMREAD_ANYDEPTH if deep else 0))


def _decoded(data: bytes, flags: int) -> RgbImage | str:
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        return f"cannot be decoded: {error.err}"
    if bgr is None:
        return "no image, or damaged"
    if bgr.dtype == np.uint16:
        if bgr.max() < _TWELVE_BITS:
            return f"16-bit values that end at {bgr.max()}: store 8 bits"
        bgr = bgr // 256
    return np.asarray(cv2.cvtColor(np.asarray(bgr, np.uint8), cv2.COLOR_BGR2RGB), np.uint8)


def missing_bytes(data: bytes) -> str | None:
    """Say what a truncated file lacks; OpenCV decodes some of them to half a picture."""
    truncated = "truncated"
    if data[:2] == b"BM" and len(data) >= 34:
        offset = int.from_bytes(data[10:14], "little")
        if int.from_bytes(data[14:18], "little") >= 40 and int.from_bytes(data[30:34], "little") == 0:
            width = abs(int.from_bytes(data[18:22], "little", signed=True))
            height = abs(int.from_bytes(data[22:26], "little", signed=True))
            row = (width * int.from_bytes(data[28:30], "little") + 31) // 32 * 4
            return truncated if len(data) < offset + row * height else None
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return None if b"IEND" in data[-64:] else truncated
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return None if len(data) >= int.from_bytes(data[4:8], "little") + 8 else truncated
    if data[:2] == b"\xff\xd8":
        return None if jpeg_ends(data) else truncated
    return None


def jpeg_ends(data: bytes) -> bool:
    r"""Tell whether a JPEG's end marker follows its pixels, whatever comes after; a thumbnail's is none.

    Examples
    --------
    >>> jpeg_ends(b"\xff\xd8\xff\xe1\x00\x04\xff\xd9\xff\xda\x00\x02abc")
    False
    """
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        if data[at + 1] == 0xDA:
            return data.find(b"\xff\xd9", at) >= 0
        if data[at + 1] == 0xFF:
            at += 1
            continue
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return data.find(b"\xff\xd9", at) >= 0


def tiff_pages(data: bytes) -> tuple[TiffPage, ...]:
    """List the directories of a TIFF file; empty for anything else, and for a BigTIFF."""
    order = _TIFF_MAGIC.get(data[:4])
    if order is None:
        return ()
    pages: list[TiffPage] = []
    seen: set[int] = set()
    at = int.from_bytes(data[4:8], order)
    while at and at not in seen and at + 2 <= len(data) and len(pages) < _MOST_PAGES:
        seen.add(at)
        count = int.from_bytes(data[at : at + 2], order)
        entries = [data[at + 2 + 12 * n : at + 14 + 12 * n] for n in range(count)]
        values = {int.from_bytes(entry[:2], order): entry for entry in entries if len(entry) == 12}
        subfile = int.from_bytes(values.get(_SUBFILE_TYPE, bytes(12))[8:12], order)
        pages.append(TiffPage(bool(subfile & 1), _bits(values.get(_BITS_PER_SAMPLE), data, order)))
        end = at + 2 + 12 * count
        at = int.from_bytes(data[end : end + 4], order)
    return tuple(pages)


def _bits(entry: bytes | None, data: bytes, order: Literal["little", "big"]) -> int:
    """Return the bits of a sample, by the first of them."""
    if entry is None:
        return 1
    if int.from_bytes(entry[4:8], order) <= 2:
        return int.from_bytes(entry[8:10], order)
    at = int.from_bytes(entry[8:12], order)
    return int.from_bytes(data[at : at + 2], order)


def _unfit(data: bytes, pages: tuple[TiffPage, ...]) -> str | None:
    """Say why a file cannot be taken, as far as its bytes tell before it is decoded."""
    if not data:
        return "empty file"
    whole = [page for page in pages if not page.reduced]
    if len(whole) > 1:
        return f"{len(whole)} pages: store each as a file"
    if whole and whole[0].bits > 16:
        return f"{whole[0].bits}-bit values: store 8 bits"
    return missing_bytes(data)
