"""Reading and writing ``.labels`` files: a zip of pictures and an index, of which nothing is merely believed.

::

    labels.json            who said what, when, of which cell; the digest of all that, and of each picture
    cells/<identity>.png   the cell's pixels, its mask as their transparency

Members are stored, not packed, so that one picture of 20,000 is found by its place in the file. The same
content gives the same bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import stat
import struct
import weakref
import zipfile
import zlib
from typing import TYPE_CHECKING, Literal, Protocol

import cv2
import msgspec
import numpy as np

from edgeleuk.bundle.manifest import MANIFEST
from edgeleuk.bundle.numbers import Digest, cause_of
from edgeleuk.errors import LabelsError, UsageError
from edgeleuk.frames import CellCrop
from edgeleuk.io.alone import alone_in
from edgeleuk.io.atomic import part_of, require_replaceable, write_errors_of
from edgeleuk.io.pictures.headers import read_header
from edgeleuk.labels.contents import FORMAT, SCHEMA_VERSION, CellEntry, content_sha256, identity_of, joined
from edgeleuk.session.verify import is_database

if TYPE_CHECKING:
    from collections.abc import Container, Iterable
    from contextlib import AbstractContextManager
    from pathlib import Path

ENDING = ".labels"
INDEX = "labels.json"
_FOLDER, _PNG = "cells/", ".png"
# The earliest time that a zip can hold: the file does not say when it was made.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_LARGEST_INDEX, _MOST_MEMBERS = 1 << 29, 1_000_000
# Of a crop: no white cell is so large at any scale of a microscope.
_LARGEST_PNG, _MOST_PIXELS = 1 << 26, 1 << 24
_LOCAL_HEADER = 30
DAMAGED = "copy it again, or restore it from a copy"


class Pictures(Protocol):
    """Where the encoded crops are."""

    def png(self, identity: str) -> bytes:
        """Return the PNG of a cell."""
        ...


class _Index(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``labels.json``."""

    format: Literal["edgeleuk labels"]
    schema_version: int
    sha256: Digest
    pictures: dict[Digest, Digest]
    cells: tuple[CellEntry, ...]


class _Version(msgspec.Struct):
    format: str = ""
    schema_version: int = 0


class LabelFile:
    """A ``.labels`` file that was opened and checked; its pictures are read when they are asked for.

    Attributes
    ----------
    path : Path
    cells : tuple of CellEntry
        Sorted by their keys.
    digests : dict of str to str
        By the identity of each cell the SHA-256 of its PNG.
    """

    def __init__(
        self, path: Path, index: _Index, descriptor: int, places: dict[str, tuple[int, int]]
    ) -> None:
        self.path = path
        self.cells = index.cells
        self.digests = index.pictures
        self._places = places
        self._descriptor = descriptor
        # The file stays readable as it was found, even if another takes its place meanwhile.
        weakref.finalize(self, os.close, descriptor)

    def png(self, identity: str) -> bytes:
        """Read one picture.

        Raises
        ------
        LabelsError
            It is not as it was written.
        """
        header_at, size = self._places[identity]
        try:
            header = os.pread(self._descriptor, _LOCAL_HEADER, header_at)
            name, extra = struct.unpack_from("<HH", header, 26)
            data = os.pread(self._descriptor, size, header_at + _LOCAL_HEADER + name + extra)
        except (OSError, struct.error) as error:
            raise _damaged(self.path, cause_of(error)) from error
        if hashlib.sha256(data).hexdigest() != self.digests[identity]:
            raise _damaged(self.path, f"the picture {identity[:16]} has the wrong hash")
        return data

    def crop(self, entry: CellEntry) -> CellCrop:
        """Decode the crop of a cell.

        Raises
        ------
        LabelsError
            The picture is damaged, or shows another cell.
        """
        crop = decode_png(self.png(entry.identity), entry, self.path)
        if identity_of(crop) != entry.identity:
            raise _damaged(self.path, f"the picture {entry.identity[:16]} shows another cell")
        return crop


def decode_png(data: bytes, entry: CellEntry, path: Path) -> CellCrop:
    """Decode a PNG to a crop, no larger than a cell can be.

    Raises
    ------
    LabelsError
        It is no PNG of 8 bits with transparency, or too large.
    """
    header = read_header(data)
    fits = header is not None and header.kind == "PNG" and 0 < header.height * header.width <= _MOST_PIXELS
    bgra = None
    if fits:
        with contextlib.suppress(cv2.error):
            bgra = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if bgra is None or bgra.dtype != np.uint8 or bgra.ndim != 3 or bgra.shape[2] != 4:
        raise _damaged(path, f"the picture {entry.identity[:16]} is no PNG of a cell")
    pixels = np.ascontiguousarray(bgra[:, :, 2::-1], np.uint8)
    mask = np.ascontiguousarray(bgra[:, :, 3], np.uint8)
    return CellCrop(pixels, mask, entry.px_per_um, entry.whole)


def open_labels(path: Path) -> LabelFile:
    """Open a ``.labels`` file and check its index; nothing in it is ever run.

    Raises
    ------
    UsageError
        There is no such file, or it is a folder or a device.
    LabelsError
        It is no file of labels, damaged, or of a newer version.
    """
    try:
        if path.is_dir():
            raise UsageError("a file of labels is a file", got=f"the folder {path}")
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise UsageError(
            "there is no such file of labels", got=path, cure="make one with `edgeleuk labels import`"
        ) from None
    except OSError as error:
        raise UsageError(f"the file of labels {path} cannot be read", got=error.strerror) from error
    try:
        _require_plain(path, descriptor)
        data, places = _members(path, descriptor)
        index = _decoded(path, data)
        _require_sound(path, index, places)
    except BaseException:
        os.close(descriptor)
        raise
    return LabelFile(path, index, descriptor, places)


def _require_plain(path: Path, descriptor: int) -> None:
    """Refuse what is no file, and a session, which many will take for one of labels."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise UsageError("a file of labels is a file", got=f"{path}, which is a device or a pipe")
    if is_database(path):
        raise UsageError(
            f"{path.name} is a session or another database, and no file of labels",
            cure="write one with `edgeleuk labels export SESSION --out FILE.labels`",
        )


def is_labels(path: Path) -> bool:
    """Whether a file holds labels, be it of another version."""
    try:
        with zipfile.ZipFile(path) as archive:
            return INDEX in archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return False


def _members(path: Path, descriptor: int) -> tuple[bytes, dict[str, tuple[int, int]]]:
    """Return the index, and by each picture's identity its place and its size."""
    size = os.fstat(descriptor).st_size
    try:
        with os.fdopen(os.dup(descriptor), "rb") as file, zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
            if len(infos) > _MOST_MEMBERS:
                raise _damaged(path, f"{len(infos)} members")
            names = {info.filename: info for info in infos}
            # A bundle has another file of that name.
            if INDEX not in names or MANIFEST in names:
                raise _no_labels(path, names)
            if infos and min(info.header_offset for info in infos) > 0:
                raise _damaged(path, "bytes before its first member")
            # Ours are stored: what is packed, or larger than the file, is another's.
            if any(info.compress_type for info in infos) or sum(info.file_size for info in infos) > size:
                raise _damaged(path, "compressed members")
            if names[INDEX].file_size > _LARGEST_INDEX or len(names) < len(infos):
                raise _damaged(path, "two members of one name, or too long an index")
            data = archive.read(INDEX)
    except (
        *(zipfile.BadZipFile, EOFError, ValueError, RuntimeError, OSError, OverflowError, MemoryError),
        *(struct.error, zlib.error),
    ) as error:
        raise LabelsError(
            f"{path.name} is no file of labels, or a truncated one", got=cause_of(error), cure=DAMAGED
        ) from error
    del names[INDEX]
    return data, {_identity(path, info): (info.header_offset, info.file_size) for info in names.values()}


def _identity(path: Path, info: zipfile.ZipInfo) -> str:
    name = info.filename
    if not (name.startswith(_FOLDER) and name.endswith(_PNG)) or info.file_size > _LARGEST_PNG:
        raise _damaged(path, f"a member {name[:100]!r} of {info.file_size} bytes")
    return name[len(_FOLDER) : -len(_PNG)]


def _decoded(path: Path, data: bytes) -> _Index:
    try:
        version = msgspec.json.decode(data, type=_Version)
        if version.format == FORMAT and version.schema_version > SCHEMA_VERSION:
            raise LabelsError(
                f"{path.name} was made by a newer edgeleuk",
                got=f"schema {version.schema_version}",
                allowed=f"up to {SCHEMA_VERSION}",
                cure="update edgeleuk to read it",
            )
        return msgspec.json.decode(data, type=_Index)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError, OverflowError, MemoryError) as error:
        raise _damaged(path, cause_of(error)) from error


def _require_sound(path: Path, index: _Index, places: dict[str, tuple[int, int]]) -> None:
    """Refuse an index that was changed, or that names other pictures than there are."""
    found = content_sha256(index.cells)
    if found != index.sha256:
        raise _damaged(path, f"the index has the hash {found[:16]} and not {index.sha256[:16]}")
    if set(places) != set(index.pictures) or {entry.identity for entry in index.cells} != set(places):
        raise _damaged(path, "pictures that its index does not name, or the other way round")


def _no_labels(path: Path, names: Container[str]) -> LabelsError:
    """Say what an archive without labels is, where that can be told."""
    if MANIFEST in names:
        return LabelsError(
            f"{path.name} is a bundle, and no file of labels",
            cure="pass a .labels file; `edgeleuk inspect` shows what the bundle was taught by",
        )
    return LabelsError(
        f"{path.name} is no file of labels", got=f"no {INDEX} in it", cure="pass a .labels file"
    )


def _damaged(path: Path, got: str) -> LabelsError:
    return LabelsError(f"{path.name} is damaged, or was altered", got=got, cure=DAMAGED)


def write_labels(path: Path, cells: Iterable[CellEntry], pictures: Pictures) -> None:
    """Write a ``.labels`` file beside `path`, then rename it: nobody ever finds half of one.

    Parameters
    ----------
    path : Path
    cells : iterable of CellEntry
        In any order; what is said twice is written once.
    pictures : Pictures
        Has the picture of each of them.

    Raises
    ------
    UsageError
        It cannot be written, or what is there is no file of labels.
    LabelsError
        A picture cannot be read.
    """
    require_labels_place(path)
    entries = joined(cells)
    digests: dict[str, str] = {}
    with write_errors_of(f"the file of labels {path}"), part_of(path) as (_, file):
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for identity in dict.fromkeys(entry.identity for entry in entries):
                png = pictures.png(identity)
                digests[identity] = hashlib.sha256(png).hexdigest()
                archive.writestr(_info(f"{_FOLDER}{identity}{_PNG}"), png)
            index = _Index(
                format=FORMAT,
                schema_version=SCHEMA_VERSION,
                sha256=content_sha256(entries),
                pictures=digests,
                cells=entries,
            )
            archive.writestr(_info(INDEX), msgspec.json.encode(index))
        file.flush()
        os.fsync(file.fileno())


def require_labels_place(path: Path) -> None:
    """Refuse to write over what is no file of labels; see `edgeleuk.io.atomic.require_replaceable`.

    Raises
    ------
    UsageError
    """
    require_replaceable(path, is_labels)


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.external_attr = 0o644 << 16
    return info


def locked(folder: Path) -> AbstractContextManager[None]:
    """Let nobody else change the files of labels in a folder while the body runs; wait for who does.

    Raises
    ------
    UsageError
        The folder is missing, or its file system knows no locks.
    """
    if not folder.is_dir():
        raise UsageError("there is no such folder", got=folder, cure="make it, or choose another")
    return alone_in(folder, folder, "choose a local disk", patience_s=math.inf)
