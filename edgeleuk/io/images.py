"""Pictures on disk: read as RGB, written as PNG."""

from __future__ import annotations

import stat
import struct
import zlib
from typing import TYPE_CHECKING

import cv2

from edgeleuk.errors import UsageError
from edgeleuk.io.atomic import bears, replace_file, require_replaceable, write_errors_of
from edgeleuk.io.pictures.decoding import decode, read_bytes

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from edgeleuk.frames import RgbImage
    from edgeleuk.io.pictures.decoding import Decoded


# A chunk of text behind the header: who drew the picture.
_TEXT = b"tEXtSoftware\0edgeleuk"
_MARK = struct.pack(">I", len(_TEXT) - 4) + _TEXT + struct.pack(">I", zlib.crc32(_TEXT))
_AFTER_HEADER = 33
_is_ours = bears(_MARK)


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


def require_picture(path: Path, flag: str) -> None:
    """Refuse to draw over what is no picture that edgeleuk drew; see `require_replaceable`.

    Raises
    ------
    UsageError
    """
    if not _is_stream(path):
        require_replaceable(path, _is_ours, flag)


def write_png(
    path: Path, pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16], flag: str = "--out"
) -> None:
    """Write (H, W, 3) RGB, or (H, W) grey, without loss, with a mark that edgeleuk drew it.

    Raises
    ------
    UsageError
        The file cannot be written, or edgeleuk did not make what is there: choose another `flag`.
    """
    require_picture(path, flag)
    stored = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.ndim == 3 else pixels
    encoded, data = cv2.imencode(".png", stored)
    assert encoded
    png = data.tobytes()
    png = png[:_AFTER_HEADER] + _MARK + png[_AFTER_HEADER:]
    with write_errors_of(f"the picture {path}"):
        path.write_bytes(png) if _is_stream(path) else replace_file(path, png)


def _is_stream(path: Path) -> bool:
    """Whether it is a pipe or a device, which takes a picture and keeps nothing that could be lost."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)
