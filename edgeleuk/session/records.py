"""What a run records: frames with their judged cells, and frames that were not used, as rows of a session.

They wait until they are committed; see `edgeleuk.session.writer`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from edgeleuk.errors import SessionError
from edgeleuk.io.console import recordable
from edgeleuk.results import Decision, Prediction
from edgeleuk.results.kinds import Kind
from edgeleuk.session.contours import encode_contours
from edgeleuk.session.hash_chain import append_link
from edgeleuk.session.pictures import encode_crop, encode_texture, pack_crop
from edgeleuk.session.schema import has_contours, has_kinds

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from edgeleuk.frames import Box, CellCrop, Mask, TrueCell
    from edgeleuk.results import FrameResult
    from edgeleuk.vision.tracking import Placed

KINDS = ("kind", "kind_probability")
_AGREED_KINDS = ("agreed_kind", "agreed_kind_probability")


@dataclass(frozen=True, slots=True)
class JudgedCell:
    """One view of a cell that was judged, with what it was made from.

    Attributes
    ----------
    track : int
    box : Box
        In pixels of the frame.
    area_px, nucleus_area_px : int
    area_um2, nucleus_area_um2 : float
        NaN where the scale is unknown.
    prediction : Prediction
    crop : CellCrop or None
        What was judged; it is kept as it is. None where the cell turned out to be none.
    truth : str or None
        Its real label where the source is simulated.
    focus : float
        See `edgeleuk.vision.focus.focus_of`.
    agreed : Prediction or None
        What is said of the cell from now on; None for its first view, whose own prediction stands alone.
    mask : (h, w) uint8, optional
        Of the box's size, as of `Cell`: of the first view its outlines are kept.
    """

    track: int
    box: Box
    area_px: int
    nucleus_area_px: int
    area_um2: float
    nucleus_area_um2: float
    prediction: Prediction
    crop: CellCrop | None
    truth: str | None = None
    focus: float = 0.0
    agreed: Prediction | None = None
    mask: Mask | None = None


class EncodedPictures(NamedTuple):
    """The pictures of a frame as they are kept.

    Attributes
    ----------
    crops : mapping of int to bytes or None
        By track.
    contours : sequence of bytes or None
        Of the cells that were judged for the first time.
    texture : bytes or None
    """

    crops: Mapping[int, bytes | None] = {}
    contours: Sequence[bytes | None] = ()
    texture: bytes | None = None


class Record(Protocol):
    """Something that waits to be committed."""

    @property
    def judged(self) -> Sequence[JudgedCell]:
        """The cells that were judged in it."""
        ...

    def encoded(self, *, webp: bool) -> EncodedPictures:
        """Encode its pictures, before the transaction: nobody has to wait for it."""
        ...

    def insert(self, connection: sqlite3.Connection, pictures: EncodedPictures) -> None:
        """Write its rows and its link, in the transaction under way."""
        ...


@dataclass(frozen=True, slots=True)
class FrameRecord:
    """A processed frame.

    Attributes
    ----------
    result : FrameResult
    judged : sequence of JudgedCell
    kept : frozenset of int
        Tracks of those whose pictures are kept.
    truth : sequence of TrueCell
    placed : Placed or None
    """

    result: FrameResult
    judged: Sequence[JudgedCell]
    kept: frozenset[int]
    truth: Sequence[TrueCell] = ()
    placed: Placed | None = None

    @property
    def first(self) -> list[JudgedCell]:
        """The cells that were judged for the first time."""
        return [cell for cell in self.judged if cell.agreed is None]

    def encoded(self, *, webp: bool) -> EncodedPictures:
        """Encode the crops, the outlines and the texture."""
        # A session of before stays what its edgeleuk reads.
        pack = pack_crop if webp else encode_crop
        crops = {
            cell.track: pack(cell.crop) if cell.crop and cell.track in self.kept else None
            for cell in self.judged
        }
        contours = [None if cell.mask is None else encode_contours(cell.mask) for cell in self.first]
        seen = None if self.placed is None else self.placed.texture
        return EncodedPictures(crops, contours, None if seen is None else encode_texture(seen, webp=webp))

    def insert(self, connection: sqlite3.Connection, pictures: EncodedPictures) -> None:
        """Write the frame, its cells, and where it lies."""
        sequence, placed = self.result.sequence, self.placed
        _insert_frame(connection, self.result, len(self.first), placed)
        _insert_first_views(connection, sequence, self.first, pictures)
        _insert_further_views(connection, sequence, self.judged, pictures.crops)
        if pictures.texture is not None:
            connection.execute("INSERT INTO textures VALUES (?, ?)", (sequence, pictures.texture))
        if placed is not None:
            connection.executemany(
                "INSERT INTO moves (frame, area, into_area, x_px, y_px) VALUES (?, ?, ?, ?, ?)",
                [(sequence, *move) for move in placed.moves],
            )
        connection.executemany(
            "INSERT OR IGNORE INTO true_cells VALUES (?, ?, ?)",
            [(cell.identity, cell.label, sequence) for cell in self.truth],
        )
        append_link(connection, "frame", sequence)


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """A frame that was taken and not used.

    Attributes
    ----------
    sequence : int
    captured_at : float
    source, reason : str
    """

    sequence: int
    captured_at: float
    source: str
    reason: str

    @property
    def judged(self) -> Sequence[JudgedCell]:
        """There are none."""
        return ()

    def encoded(self, *, webp: bool) -> EncodedPictures:
        """Nothing of it is kept."""
        del webp
        return EncodedPictures()

    def insert(self, connection: sqlite3.Connection, pictures: EncodedPictures) -> None:
        """Write why it was not used."""
        del pictures
        connection.execute(
            "INSERT INTO frames (sequence, captured_at, source, rejected) VALUES (?, ?, ?, ?)",
            (self.sequence, self.captured_at, recordable(self.source), recordable(self.reason)),
        )
        append_link(connection, "frame", self.sequence)


def _insert_frame(
    connection: sqlite3.Connection, result: FrameResult, judged: int, placed: Placed | None
) -> None:
    place = (None, None, None) if placed is None else (placed.area, placed.left, placed.top)
    connection.execute(
        "INSERT INTO frames (sequence, captured_at, source, width, height, px_per_um, detected,"
        " judged, seen_before, excluded, latency_ms, area, left_px, top_px)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(result.sequence, result.captured_at, recordable(result.source), result.width, result.height),
            *(result.px_per_um, len(result.found), judged, len(result.cells) - judged),
            *(len(result.excluded), result.latency_ms, *place),
        ),
    )


def _insert_first_views(
    connection: sqlite3.Connection,
    sequence: int,
    cells: Sequence[JudgedCell],
    pictures: EncodedPictures,
) -> None:
    """Insert the cells that were judged for the first time."""
    names: tuple[str, ...] = (
        *("track", "frame", "x", "y", "w", "h", "area_px", "nucleus_area_px", "area_um2", "nucleus_area_um2"),
        *("decision", "probability", "reason", "truth", "crop", "focus", "is_foreign"),
    )
    rows: list[tuple[object, ...]] = [
        (
            *(cell.track, sequence, *cell.box, cell.area_px, cell.nucleus_area_px),
            *(cell.area_um2, cell.nucleus_area_um2, *_columns(cell.prediction)),
            *(cell.truth, pictures.crops[cell.track], cell.focus, cell.prediction.foreign),
        )
        for cell in cells
    ]
    if has_contours(connection):
        names = (*names, "contours")
        rows = [(*row, outlines) for row, outlines in zip(rows, pictures.contours, strict=True)]
    _insert(connection, "cells", (names, rows), (KINDS, [_kinds(cell.prediction) for cell in cells]))


def _insert_further_views(
    connection: sqlite3.Connection,
    sequence: int,
    judged: Sequence[JudgedCell],
    crops: Mapping[int, bytes | None],
) -> None:
    """Insert the views of cells that had been judged before."""
    names = (
        *("track", "frame", "x", "y", "w", "h", "focus", "decision", "probability", "reason", "is_foreign"),
        *("crop", "agreed_decision", "agreed_probability", "agreed_reason"),
    )
    further = [(cell, cell.agreed) for cell in judged if cell.agreed is not None]
    rows = [
        (
            *(cell.track, sequence, *cell.box, cell.focus, *_columns(cell.prediction)),
            *(cell.prediction.foreign, crops[cell.track], *_columns(agreed)),
        )
        for cell, agreed in further
    ]
    kinds = [(*_kinds(cell.prediction), *_kinds(agreed)) for cell, agreed in further]
    _insert(connection, "views", (names, rows), ((*KINDS, *_AGREED_KINDS), kinds))


def _insert(
    connection: sqlite3.Connection,
    table: str,
    columns: tuple[tuple[str, ...], Sequence[tuple[object, ...]]],
    of_kinds: tuple[tuple[str, ...], Sequence[tuple[object, ...]]],
) -> None:
    """Insert rows, with the kinds of cells where the session has columns for them.

    Raises
    ------
    SessionError
        It has none, and a kind is known.
    """
    names, rows = columns
    if has_kinds(connection):
        names = (*names, *of_kinds[0])
        rows = [(*row, *kinds) for row, kinds in zip(rows, of_kinds[1], strict=True)]
    elif any(value is not None for kinds in of_kinds[1] for value in kinds):
        raise SessionError(
            "an earlier edgeleuk began the session, and it has no place for the kinds of cells",
            cure="start a new session",
        )
    marks = ", ".join("?" * len(names))
    connection.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})", rows)  # noqa: S608 - names from above


def _columns(prediction: Prediction) -> tuple[str, float, str | None]:
    return prediction.decision.value, prediction.probability, prediction.reason


def _kinds(prediction: Prediction) -> tuple[str | None, float | None]:
    return prediction.kind and prediction.kind.value, prediction.kind_probability


def prediction_of(
    decision: str,
    probability: float | None,
    reason: str | None,
    foreign: int = 0,
    kind: str | None = None,
    kind_probability: float | None = None,
) -> Prediction:
    """Return the prediction of a row; SQLite keeps NaN as NULL."""
    return Prediction(
        Decision(decision),
        math.nan if probability is None else probability,
        reason,
        bool(foreign),
        None if kind is None else Kind(kind),
        kind_probability,
    )
