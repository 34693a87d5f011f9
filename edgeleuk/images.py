"""Pictures on disk: read as RGB, written as PNG."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2

from edgeleuk.errors import UsageError
from edgeleuk.pictures.decoding import decode, read_bytes

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from edgeleuk.frames import RgbImage
    from edgeleuk.pictures.decoding import Decoded


def read_image(path: Path) -> RgbImage:
    """Read a picture as (H, W, 3) uint8 RGB; see `read_picture`."""
    return read_picture(path).pixels


def read_picture(path: Path) -> Decoded:
    """Read a picture, upright.

    Raises
    ------
    UsageError
        There is no such file, or it cannot be read.
    PictureRefusedError
        It is no image, a damaged one, one of a kind that is not read, or too large.
    """
    try:
        data = read_bytes(path)
    except FileNotFoundError:
        raise UsageError("there is no such file", got=path) from None
    except IsADirectoryError:
        raise UsageError("expected image files", got=f"the folder {path}", cure=f"pass {path}/*") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read", got=error.strerror) from error
    return decode(data, path)


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
