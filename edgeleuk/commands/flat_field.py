"""``edgeleuk camera flat-field`` and the blank that it stores: taken from a camera, read back for a run."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeleuk.capture import FrameRejectedError, decoded, open_reader, open_source
from edgeleuk.capture.discovery import find_camera
from edgeleuk.errors import DataRefusedError, UsageError
from edgeleuk.io.images import require_picture, write_png
from edgeleuk.results.structs import Printed
from edgeleuk.vision.flatfield import FlatField, average_blank, blank_fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgeleuk.frames import RgbImage

_CURES = {
    "not empty": "move to a place of the slide without cells, or defocus until none shows",
    "overexposed": "turn the lamp or the exposure down",
    "underexposed": "turn the lamp or the exposure up",
}


class StoredBlank(Printed, frozen=True, kw_only=True):
    """What ``camera flat-field`` prints: the blank, and its darkest pixel relative to the mean."""

    schema_version: int
    blank: str
    camera: str
    frames: int
    width: int
    height: int
    darkest_relative_to_mean: float


def take_blank(camera: str | None, out: Path, frames: int) -> StoredBlank:
    """Average `frames` pictures of empty glass into a PNG of 16 bits; None means the only camera found.

    Raises
    ------
    DataRefusedError
        A picture is not empty, clipped, dark, damaged or of another size, or there are too few.
    UsageError
        A number of frames out of range, or a file that cannot be written.
    """
    if not 1 <= frames <= 1000:
        raise UsageError("the number of frames is out of range", got=frames, allowed="1 to 1000")
    if out.suffix.lower() != ".png":
        raise UsageError("a blank is stored as PNG", got=out.name, allowed="FILE.png")
    require_picture(out, "--out")
    pictures: list[RgbImage] = []
    with open_source(find_camera(camera)) as source, open_reader(source) as reader:
        uri = source.uri
        while len(pictures) < frames and (item := reader.take(threading.Event())) is not None:
            try:
                pixels = decoded(item).pixels
            except FrameRejectedError as error:
                raise DataRefusedError("a picture of the blank is damaged", got=error.reason) from error
            fault = blank_fault(pixels)
            if fault is not None:
                what = f"picture {len(pictures)} of {uri} cannot serve as a blank"
                raise DataRefusedError(
                    what, got=fault, allowed="empty glass in good light", cure=_CURES[fault]
                )
            if pictures and pixels.shape != pictures[0].shape:
                raise DataRefusedError("the pictures of a blank differ in size", got=pixels.shape)
            pictures.append(pixels)
    if not pictures:
        raise DataRefusedError(f"{uri} sent no picture")
    blank = average_blank(pictures)
    write_png(out, blank)
    height, width = blank.shape[:2]
    return StoredBlank(
        schema_version=1,
        blank=str(out),
        camera=uri,
        frames=len(pictures),
        width=width,
        height=height,
        darkest_relative_to_mean=round(float((blank / blank.mean(axis=(0, 1))).min()), 3),
    )


def blank_text(stored: StoredBlank) -> str:
    """Say what was stored."""
    return (
        f"blank     {stored.blank}: {stored.width}x{stored.height}, mean of {stored.frames}"
        f" pictures, darkest at {stored.darkest_relative_to_mean} of the mean"
    )


def open_correction(file: Path) -> Callable[[RgbImage], RgbImage]:
    """Read a blank; the function returned divides by it, and refuses pictures of another size.

    Raises
    ------
    UsageError
        There is no such file, it is no colour picture, or it is black somewhere.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UsageError(f"the blank {file} cannot be read", got=error.strerror) from error
    try:
        blank = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if blank is None:
            raise UsageError(f"the blank {file} is no picture")
        # Whatever else it holds is refused by its dtype.
        flat = FlatField(np.ascontiguousarray(blank[..., ::-1]))  # type: ignore[arg-type]
    except (cv2.error, ValueError) as error:
        raise UsageError(
            f"the blank {file} cannot be used",
            got=str(error),
            cure="take it with `edgeleuk camera flat-field`",
        ) from error

    def correct(pixels: RgbImage) -> RgbImage:
        if pixels.shape != flat.shape:
            raise DataRefusedError(
                f"the blank {file} is of another size than the picture",
                got=f"{pixels.shape[1]}x{pixels.shape[0]}",
                allowed=f"{flat.shape[1]}x{flat.shape[0]}",
                cure="take a blank at the size of this camera's pictures",
            )
        return flat.correct(pixels)

    return correct
