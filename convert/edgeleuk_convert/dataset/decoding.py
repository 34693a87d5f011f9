"""Decode picture files to RGB bytes as the device does, or say in a few words why that cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeleuk.io.pictures.decoding import TOO_LARGE, PictureRefusedError, read_bytes
from edgeleuk.io.pictures.decoding import decode as decode_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from edgeleuk.frames import RgbImage


def decode(path: Path) -> RgbImage | str:
    """Decode a picture file to RGB; where that fails, return the reason.

    A network is trained and judged on the pixels that the device will see: grey, palette and CMYK pictures
    become RGB, 16 bits become 8, and a JPEG is turned as its EXIF data says. Transparency is dropped, as
    Keras's ``load_img`` does.

    Returns
    -------
    (H, W, 3) uint8, RGB, or str
    """
    try:
        decoded = decode_bytes(read_bytes(path), path)
    except OSError as error:
        return error.strerror or type(error).__name__
    except PictureRefusedError as refused:
        reason = refused.what.removeprefix(f"{path} ").removeprefix("is ")
        got = "" if refused.got is None else f": {refused.got}"
        # Of one that is too large it names an option of the device's commands.
        return f"{reason}{got}" + (
            f"; {refused.cure}" if refused.cure and refused.reason != TOO_LARGE else ""
        )
    if decoded.notes:
        # What is looked at has one label; what is passed over may have another.
        return f"{decoded.notes[0]}: store each as a file"
    return decoded.pixels
