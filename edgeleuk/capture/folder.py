"""``dir://``: the pictures of a folder, in the order a person would count them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.capture.addresses import public_uri
from edgeleuk.capture.base import PICTURE_SUFFIXES, FrameRejectedError, SourceEvent, local_path, natural_key
from edgeleuk.clock import moment
from edgeleuk.closing import Closing
from edgeleuk.errors import CameraError, DataRefusedError
from edgeleuk.frames import Frame

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgeleuk.frames import RgbImage

# JPEG leaves this much colour in a grey picture; stained smears have many times as much.
_GREY = 8


@dataclass(frozen=True, slots=True)
class _Unreadable:
    """A file that is no picture; it fails when it is decoded, like a camera's."""

    sequence: int
    where: str

    def decode(self) -> Frame:
        raise FrameRejectedError("unreadable file", self.where)


class FolderSource(Closing):
    """Pictures of one folder, each once, in natural order; folders inside it are not entered.

    Pictures without colour, such as the masks that data sets keep beside their pictures, are skipped with
    an event. Files that are no pictures inside are counted as rejected.

    Parameters
    ----------
    folder : Path
        Or one picture.

    Raises
    ------
    CameraError
        There is no such folder.
    DataRefusedError
        It holds no pictures.
    """

    live = False

    def __init__(self, folder: Path) -> None:
        self.uri = f"dir://{folder}"
        if folder.is_dir():
            files = (path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
            self.files = sorted((path for path in files if path.is_file()), key=natural_key)
        elif folder.is_file():
            self.files = [folder]
        else:
            raise CameraError(
                "there is no such folder", got=public_uri(str(folder)), cure="check the path after dir://"
            )
        if not self.files:
            raise DataRefusedError(
                f"no pictures in {folder}",
                allowed=" ".join(PICTURE_SUFFIXES),
                cure="pass the folder that holds the pictures itself, folders inside it are not entered",
            )

    def frames(self) -> Iterator[Frame | _Unreadable | SourceEvent]:
        """Yield each picture; see `FrameSource.frames`.

        Raises
        ------
        DataRefusedError
            At the end, if every file was skipped.
        """
        sequence = 0
        for path in self.files:
            captured_at, captured_monotonic = moment()
            where = f"dir://{path}"
            pixels = _read(path)
            if pixels is None:
                yield SourceEvent("unreadable", f"{path.name} is no readable picture")
                yield _Unreadable(sequence, where)
            elif _is_grey(pixels):
                yield SourceEvent("skipped", f"{path.name} has no colour (a mask?)")
                continue
            else:
                yield Frame(pixels, sequence, captured_at, captured_monotonic, where)
            sequence += 1
        if sequence == 0:
            raise DataRefusedError(
                f"none of the {len(self.files)} pictures has colour",
                got=self.uri,
                cure="pass a folder of stained smears, not of masks",
            )

    def close(self) -> None:
        """Do nothing: each file is closed as soon as it is read."""


def open_folder(uri: str) -> FolderSource:
    """Open ``dir://folder``; see `FolderSource` for the errors."""
    return FolderSource(local_path(uri.split("://", 1)[1]))


def _read(path: Path) -> RgbImage | None:
    """Read the stored pixels of a picture as RGB, or None; a camera's orientation flag is not applied."""
    import cv2

    try:
        data = path.read_bytes()
        if _is_cut_off(data):
            return None
        flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except (OSError, cv2.error):
        return None
    return None if pixels is None else np.asarray(pixels, np.uint8)


def _is_cut_off(data: bytes) -> bool:
    """Whether an empty file, or a JPEG without its end: OpenCV 4 fills up the rest of those with grey."""
    return not data or (data[:2] == b"\xff\xd8" and b"\xff\xd9" not in data[-4096:])


def _is_grey(pixels: RgbImage) -> bool:
    """Whether no pixel has a colour; a coarse look settles it for all pictures that do."""
    for view in (pixels[::16, ::16], pixels):
        red, green, blue = (view[..., channel].astype(np.int16) for channel in range(3))
        if max(int(np.abs(red - green).max()), int(np.abs(green - blue).max())) > _GREY:
            return False
    return True
