"""Decode picture files to RGB bytes, or say in a few words why that cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeleuk.io.pictures.headers import missing_bytes
from edgeleuk.io.pictures.tiff import tiff_pages

if TYPE_CHECKING:
    from pathlib import Path

    from edgeleuk.frames import RgbImage
    from edgeleuk.io.pictures.tiff import TiffPage

# A picture of 16 bits whose brightest value is below comes of a camera of 12 bits or fewer.
_TWELVE_BITS = 4096


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
