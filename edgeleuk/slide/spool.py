"""The fields of a scan, kept whole in a file beside the slide until that is written.

A database of SQLite: what a scan has put there is readable after a crash, and a scan that goes on adds to it.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import zlib
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import cv2
import msgspec
import numpy as np
import simplejpeg

from edgeleuk.errors import SessionError, UsageError
from edgeleuk.io.closing import Closing
from edgeleuk.session.schema import explained
from edgeleuk.stage.base import ScanField
from edgeleuk.stage.resuming import Begun
from edgeleuk.stage.stacking import FocusStack, parse_stack

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from edgeleuk.frames import RgbImage

    Floats = npt.NDArray[np.float32]

ENDING = ".fields"
_APPLICATION_ID = 0x45444C53
_SCHEMA = """
CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE fields (
    number INTEGER PRIMARY KEY, row INTEGER NOT NULL, "column" INTEGER NOT NULL,
    x_um REAL NOT NULL, y_um REAL NOT NULL, picture BLOB
);
CREATE TABLE planes (number INTEGER, plane INTEGER, picture BLOB NOT NULL, PRIMARY KEY (number, plane));
CREATE TABLE maps (number INTEGER PRIMARY KEY, heights BLOB NOT NULL);
"""
# So fine that nobody sees the second loss, when the slide itself is written; its colours are as coarse.
_QUALITY = 95
_PNG = b"\x89PNG"
_PNG_EFFORT = 1
_Kept = Literal["jpeg", "lossless"]
_Size = tuple[Annotated[int, msgspec.Meta(ge=1)], Annotated[int, msgspec.Meta(ge=1)]]


class ScanFacts(NamedTuple):
    """What is known of a scan whose fields are kept.

    Attributes
    ----------
    begun : Begun
    size : (W, H)
        Of each field, px.
    kept : str
    light : str
        How the lamp's light was taken out of the fields; empty where it was not.
    simulated : bool
    stack : FocusStack or None
        That was taken of each field.
    extended_focus : bool
        Its planes were joined.
    """

    begun: Begun
    size: tuple[int, int]
    kept: _Kept
    light: str
    simulated: bool
    stack: FocusStack | None = None
    extended_focus: bool = False


class KeptField(NamedTuple):
    """A field of the plan, and whether its picture is there."""

    place: ScanField
    is_there: bool


class FieldSpool(Closing):
    """Fields of a scan on the disk.

    Parameters
    ----------
    path : Path
        Must be there, unless it is to be made; see `create`.

    Raises
    ------
    UsageError
        There is no such file.
    SessionError
        It is damaged, or no such file of edgeleuk's.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise UsageError("there are no fields of a slide", got=path, cure="scan again with --slide")
        self.path = path
        self._is_writing = False
        self._facts: ScanFacts | None = None
        with explained(path):
            # The fields come from the thread that reads the camera.
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            try:
                (found,) = self._connection.execute("PRAGMA application_id").fetchone()
            except sqlite3.DatabaseError as error:
                if "not a database" not in str(error):
                    raise
                found = None
        if found != _APPLICATION_ID:
            self._connection.close()
            raise SessionError(f"{path} is no file of a slide's fields")

    @classmethod
    def create(cls, path: Path, fields: Iterable[ScanField], facts: ScanFacts) -> FieldSpool:
        """Make an empty one for the fields of a plan.

        Raises
        ------
        UsageError
            There is a file already.
        SessionError
            It cannot be written.
        """
        if path.exists():
            raise UsageError(
                f"{path} exists: the fields of an earlier scan",
                cure="go on with that scan with --resume, choose another --slide, or remove it",
            )
        rows = {
            "begun": facts.begun.to_text(),
            "size": json.dumps(facts.size),
            "kept": facts.kept,
            "light": facts.light,
            "simulated": json.dumps(facts.simulated),
        }
        if facts.stack is not None:
            rows |= {"stack": str(facts.stack), "extended_focus": json.dumps(facts.extended_focus)}
        with explained(path):
            connection = sqlite3.connect(path, isolation_level=None)
            connection.executescript(f"PRAGMA application_id = {_APPLICATION_ID}; {_SCHEMA}")
            connection.executemany("INSERT INTO facts VALUES (?, ?)", rows.items())
            connection.executemany(
                "INSERT INTO fields VALUES (?, ?, ?, ?, ?, NULL)", (tuple(place) for place in fields)
            )
            connection.close()
        return cls(path)

    def add(
        self,
        number: int,
        pixels: RgbImage,
        *,
        is_lossless: bool,
        others: Mapping[int, RgbImage] | None = None,
        heights: Floats | None = None,
    ) -> None:
        """Keep a field's picture, in place of an earlier one of it.

        Parameters
        ----------
        number : int
            Of the field in its plan.
        pixels : (H, W, 3) uint8, RGB
        is_lossless : bool
            As PNG, not as JPEG.
        others : mapping, optional
            Of a stack the other planes, by their numbers.
        heights : (h, w) float32, optional
            Of an extended focus the map, in um.

        Raises
        ------
        SessionError
            The disk is full, or fails.
        """
        data = _encoded(pixels, is_lossless=is_lossless)
        planes = [(number, n, _encoded(each, is_lossless=is_lossless)) for n, each in (others or {}).items()]
        with explained(self.path):
            if not self._is_writing:
                # A power cut may take the last fields away: a scan that goes on takes them again.
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = NORMAL")
                self._is_writing = True
            # A field is there once its picture is, which comes last.
            if planes:
                self._connection.executemany("INSERT OR REPLACE INTO planes VALUES (?, ?, ?)", planes)
            if heights is not None:
                kept = zlib.compress(np.asarray(heights, "<f4").tobytes())
                self._connection.execute("INSERT OR REPLACE INTO maps VALUES (?, ?)", (number, kept))
            self._connection.execute("UPDATE fields SET picture = ? WHERE number = ?", (data, number))

    def facts(self) -> ScanFacts:
        """Return what is known of the scan.

        Raises
        ------
        SessionError
            It is damaged.
        """
        if self._facts is None:
            with explained(self.path):
                rows = dict(self._connection.execute("SELECT key, value FROM facts"))
            try:
                self._facts = ScanFacts(
                    begun=Begun.from_text(rows["begun"]),
                    size=msgspec.json.decode(rows["size"], type=_Size),
                    kept=msgspec.convert(rows["kept"], _Kept),
                    light=msgspec.convert(rows["light"], str),
                    simulated=msgspec.json.decode(rows["simulated"], type=bool),
                    stack=parse_stack(rows["stack"]) if "stack" in rows else None,
                    extended_focus=msgspec.json.decode(rows.get("extended_focus", "false"), type=bool),
                )
            except KeyError as error:
                raise SessionError(f"{self.path} is damaged", got=f"no fact {error}") from error
            except (ValueError, TypeError, UsageError) as error:
                raise SessionError(f"{self.path} is damaged", got=error) from error
        return self._facts

    def fields(self) -> list[KeptField]:
        """Return the fields of the plan in the order of the walk.

        Raises
        ------
        SessionError
            One is damaged.
        """
        with explained(self.path):
            rows = self._connection.execute(
                'SELECT number, row, "column", x_um, y_um, picture IS NOT NULL FROM fields ORDER BY number'
            ).fetchall()
        try:
            kept = [KeptField(msgspec.convert(row[:5], ScanField), bool(row[5])) for row in rows]
        except ValueError as error:
            raise SessionError(f"{self.path} is damaged", got=f"a field: {error}") from error
        for place, _ in kept:
            if not np.isfinite((place.x_um, place.y_um)).all():
                raise SessionError(f"{self.path} is damaged", got=f"no place of field {place.number}")
        return kept

    def picture(self, number: int, plane: int | None = None) -> RgbImage:
        """Return a field, (H, W, 3) uint8 RGB, of the size that `facts` tells; or another plane of its stack.

        Raises
        ------
        SessionError
            It is damaged.
        """
        if plane is None:
            data = self._blob("SELECT picture FROM fields WHERE number = ?", number)
        else:
            data = self._blob("SELECT picture FROM planes WHERE number = ? AND plane = ?", number, plane)
        try:
            pixels = _decoded(data)
        except (cv2.error, ValueError) as error:
            raise SessionError(f"{self.path} is damaged", got=f"field {number}: {error}") from error
        size = (pixels.shape[1], pixels.shape[0])
        if size != self.facts().size:
            raise SessionError(
                f"{self.path} is damaged", got=f"field {number} of {size} px", allowed=self.facts().size
            )
        return pixels

    def heights(self, number: int, size: tuple[int, int]) -> Floats:
        """Return the map of a field, (h, w) float32 in um, whose size is (w, h).

        Raises
        ------
        SessionError
            It is damaged.
        """
        data = self._blob("SELECT heights FROM maps WHERE number = ?", number)
        try:
            return np.frombuffer(zlib.decompress(data), "<f4").reshape(size[::-1]).astype(np.float32)
        except (zlib.error, ValueError) as error:
            raise SessionError(f"{self.path} is damaged", got=f"map of field {number}: {error}") from error

    def _blob(self, query: str, *key: int) -> bytes:
        with explained(self.path):
            row = self._connection.execute(query, key).fetchone()
        data = None if row is None else row[0]
        if not isinstance(data, bytes):
            raise SessionError(f"{self.path} is damaged", got=f"no picture of field {key[0]}")
        return data

    def close(self) -> None:
        """Leave one file, which can be read where there is no room for what SQLite keeps beside it."""
        if self._is_writing:
            self._is_writing = False
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("PRAGMA journal_mode = DELETE")
        self._connection.close()

    def remove(self) -> None:
        """Close it, and remove it from the disk."""
        self.close()
        for end in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + end).unlink(missing_ok=True)


def _encoded(pixels: RgbImage, *, is_lossless: bool) -> bytes:
    if not is_lossless:
        return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), _QUALITY, colorsubsampling="420"))
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, _PNG_EFFORT])[1].tobytes()


def _decoded(data: bytes) -> RgbImage:
    if not data.startswith(_PNG):
        return np.asarray(simplejpeg.decode_jpeg(data, "RGB"), np.uint8)
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ValueError("no picture")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
