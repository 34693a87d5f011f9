"""Pictures on disk: read as RGB, written as PNG."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeleuk.errors import DataRefusedError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from edgeleuk.frames import RgbImage


def read_image(path: Path) -> RgbImage:
    """Read a picture as (H, W, 3) uint8 RGB.

    Raises
    ------
    UsageError
        There is no such file.
    DataRefusedError
        It is no image, or a damaged one.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UsageError("there is no such file", got=path) from None
    except IsADirectoryError:
        raise UsageError("expected image files", got=f"the folder {path}", cure=f"pass {path}/*") from None
    return decode_image(data, path)


def decode_image(data: bytes, path: Path) -> RgbImage:
    """Decode a picture's bytes to (H, W, 3) uint8 RGB; `path` only names them.

    Raises
    ------
    DataRefusedError
        They are no image, or a damaged one.
    """
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
    if pixels is None:
        raise DataRefusedError(f"{path} is no image, or a damaged one", allowed="PNG, JPEG, BMP, TIFF, WebP")
    return np.asarray(pixels, np.uint8)


def write_png(path: Path, pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> None:
    """Write (H, W, 3) RGB, or (H, W) grey, without loss.

    Raises
    ------
    UsageError
        The file cannot be written.
    """
    stored = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.ndim == 3 else pixels
    encoded, data = cv2.imencode(".png", stored)
    assert encoded
    try:
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise UsageError(f"the picture {path} cannot be written", got=error.strerror) from error
