"""``dir://``: the pictures of a folder, in the order a person would count them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeleuk.capture.base import PICTURE_SUFFIXES, FrameRejectedError, SourceEvent, local_path, natural_key
from edgeleuk.errors import CameraError, DataRefusedError
from edgeleuk.frames import Frame
from edgeleuk.io.clock import moment
from edgeleuk.io.closing import Closing
from edgeleuk.io.pictures.decoding import UNREADABLE, PictureRefusedError, decode, read_bytes
from edgeleuk.io.pictures.headers import NOT_READ
from edgeleuk.io.uris import public_uri
from edgeleuk.vision.stream import is_colourless

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class _Unreadable:
    """A file that is no picture; it fails when it is decoded, like a camera's."""

    sequence: int
    where: str
    reason: str

    def decode(self) -> Frame:
        raise FrameRejectedError(self.reason, self.where)


class FolderSource(Closing):
    """Pictures of one folder, each once, in natural order; folders inside it are not entered.

    Pictures without colour, such as the masks that data sets keep beside their pictures, are skipped with
    an event. Files that are no pictures inside, and pictures of kinds that are not read, are counted as
    rejected.

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
            known = {*PICTURE_SUFFIXES, *NOT_READ}
            files = (path for path in folder.iterdir() if path.suffix.lower() in known)
            self.files = sorted((path for path in files if path.is_file()), key=natural_key)
        elif folder.is_file():
            self.files = [folder]
        else:
            raise CameraError(
                "there is no such folder", got=public_uri(str(folder)), cure="check the path after dir://"
            )
        if not any(path.suffix.lower() not in NOT_READ for path in self.files):
            kinds = {NOT_READ[path.suffix.lower()] for path in self.files}
            raise DataRefusedError(
                f"no pictures in {folder}" if folder.is_dir() else f"{folder} is not read",
                got=f"{len(self.files)} {' and '.join(sorted(kinds))}" if kinds else None,
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
            try:
                picture = decode(read_bytes(path), path.name)
            except PictureRefusedError as refused:
                yield SourceEvent("unreadable", str(refused))
                yield _Unreadable(sequence, where, refused.reason)
            except OSError as error:
                yield SourceEvent("unreadable", f"{path.name} cannot be read: {error.strerror}")
                yield _Unreadable(sequence, where, UNREADABLE)
            else:
                for note in picture.notes:
                    yield SourceEvent("pages", f"{path.name}: {note}")
                if is_colourless(picture.pixels):
                    yield SourceEvent("skipped", f"{path.name} has no colour (a mask?)")
                    continue
                yield Frame(picture.pixels, sequence, captured_at, captured_monotonic, where)
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
