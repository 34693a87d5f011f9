"""The cells of a session as they go out: ``cells.json``, beside each format's own files, says all of them.

Tools drop what they do not know, but keep the names of pictures: by them an annotation that comes back finds
its cell, with its session and number, its slide and subject, and all that people said of it before.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from edgeleuk.bundle.numbers import Count, Digest, Name  # noqa: TC001 - msgspec looks at them
from edgeleuk.errors import DataRefusedError, SessionError
from edgeleuk.frames import NUCLEUS, Box
from edgeleuk.io.console import recordable
from edgeleuk.io.images import write_png
from edgeleuk.labels.contents import Moment, Scale, SessionSource, Source, Statement, agreed, identity_of
from edgeleuk.labels.formats.json_files import read_json
from edgeleuk.labels.formats.outlines import polygons_of, tight_box
from edgeleuk.labels.sessions import session_words
from edgeleuk.results import Decision
from edgeleuk.results.kinds import LABELS
from edgeleuk.session.contours import decode_contours
from edgeleuk.session.pictures import decode_crop
from edgeleuk.version import RESEARCH_USE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgeleuk.frames import CellCrop
    from edgeleuk.labels.contents import CellEntry
    from edgeleuk.labels.formats.outlines import Bools, Polygon
    from edgeleuk.session.reader import SessionReader

INDEX = "cells.json"
PICTURES = "images"
FORMAT: Literal["edgeleuk exchange"] = "edgeleuk exchange"
UNCERTAIN = Decision.UNCERTAIN.value
# What a cell can be called in an export: as people call it, else as the machine does.
CATEGORIES = (*LABELS, UNCERTAIN)
# Okabe and Ito's colours and lighter ones, R, G, B; the words beside the cells say the same.
COLOURS: dict[str, tuple[int, int, int]] = dict(
    zip(
        CATEGORIES,
        [
            *((0, 158, 115), (102, 197, 171), (230, 159, 0), (86, 180, 233), (204, 121, 167), (0, 114, 178)),
            *((153, 199, 224), (238, 187, 153), (148, 103, 189), (197, 176, 213), (127, 127, 127)),
            *((199, 199, 199), (213, 94, 0), (0, 73, 114), (240, 228, 66)),
        ],
        strict=True,
    )
)


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What the bundle said of a cell."""

    decision: Decision
    probability: float | None
    reason: str | None
    kind: str | None
    kind_probability: float | None

    @property
    def word(self) -> str:
        """The decision as a category: of another white cell its kind, where it is known."""
        return self.kind or "other" if self.decision is Decision.OTHER else self.decision.value


class ExchangedCell(msgspec.Struct, frozen=True, kw_only=True):
    """What ``cells.json`` says of a cell.

    Attributes
    ----------
    picture : str
        Name of its picture in ``images``.
    category : str
        What the annotation calls it; one of `CATEGORIES`.
    identity : str
        See `edgeleuk.labels.contents.identity_of`.
    px_per_um : float or None
        None where the session does not know the scale.
    slide : str
    subject : str or None
    sources : tuple of PictureSource or SessionSource
        The session with the cell's number, and from where else its words come.
    statements : tuple of Statement
        All that people said, the oldest first; empty where nobody said anything.
    machine : Machine
    track : int
        Number of the cell in the session.
    frame : int
        Number of the field in which it was seen first.
    box : (x, y, w, h)
        In that field, px.
    captured_at : datetime
    nucleus : tuple of polygons
        In px of the picture, its rings each; empty where the session kept no outlines.
    """

    picture: Name
    category: str
    identity: Digest
    px_per_um: Scale | None
    slide: Name
    subject: Name | None
    sources: tuple[Source, ...]
    statements: tuple[Statement, ...]
    machine: Machine
    track: Count
    frame: Count
    box: tuple[int, int, int, int]
    captured_at: Moment
    nucleus: tuple[tuple[tuple[tuple[float, float], ...], ...], ...]

    @property
    def plain(self) -> dict[str, str | int | float]:
        """What tools show beside an annotation: names and numbers, without what is unknown."""
        newest = max(self.statements, default=None)
        session = next((one for one in self.sources if isinstance(one, SessionSource)), None)
        every: dict[str, str | float | None] = {
            "session": None if session is None else session.session,
            "cell": self.track,
            "slide": self.slide,
            "subject": self.subject,
            "frame": self.frame,
            "captured_at": self.captured_at.isoformat(),
            "machine": self.machine.word,
            "probability": self.machine.probability,
            "reason": self.machine.reason,
            "kind": self.machine.kind,
            "kind_probability": self.machine.kind_probability,
            "label": None if newest is None else newest.label,
            "by": None if newest is None else newest.by,
            "at": None if newest is None else newest.at.isoformat(),
        }
        return {name: value for name, value in every.items() if value is not None}


class _Head(msgspec.Struct):
    """What ``cells.json`` says of its folder."""

    kind: str


class Index(msgspec.Struct, frozen=True, kw_only=True):
    """``cells.json``."""

    format: Literal["edgeleuk exchange"]
    schema_version: int
    research_use_only: str
    kind: str
    cells: tuple[ExchangedCell, ...]


@dataclass(frozen=True, slots=True)
class Outlined:
    """A cell on its way into a format.

    Attributes
    ----------
    facts : ExchangedCell
    size : (width, height)
        Of its picture.
    area_px : int
    box : (x, y, w, h)
        Of the cell in its picture.
    polygons, nucleus : list of polygons
        In its picture.
    """

    facts: ExchangedCell
    size: tuple[int, int]
    area_px: int
    box: tuple[int, int, int, int]
    polygons: list[Polygon]
    nucleus: list[Polygon]


def words_of(session: Path) -> dict[int, CellEntry]:
    """Return what people said of a session's cells, by the cells' numbers; the one place that asks."""
    return {
        source.cell: entry
        for entry in session_words(session).cells
        for source in entry.sources
        if isinstance(source, SessionSource) and source.session == recordable(session.name)
    }


def outlined_cells(reader: SessionReader, folder: Path | None) -> Iterator[Outlined]:
    """Write the picture of each cell of a session into ``images``, and yield what goes with it.

    Cells whose pixels were not recorded are left out. Without a folder no picture is written.

    Raises
    ------
    SessionError
        A crop or outlines are damaged.
    """
    words = words_of(reader.path)
    slide = next((entry.slide for entry in words.values()), recordable(reader.path.stem))
    subject = next((entry.subject for entry in words.values()), None)
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", reader.path.stem).strip(".") or "session"
    own = SessionSource(
        session=recordable(reader.path.name), chain_end=reader.chain_end(), cell=0,
        bundle_sha256=_text(reader.settings.get("bundle_sha256")),
    )  # fmt: skip
    if folder is not None:
        (folder / PICTURES).mkdir()
    for row in reader.rows("cells", thumbnails=True):
        if not isinstance(row["crop"], bytes):
            continue
        try:
            crop, nucleus = _decoded(row)
        except (ValueError, IndexError, TypeError) as error:
            raise SessionError(f"{reader.path} is damaged", got=f"cell {row['track']}: {error}") from error
        track = int(str(row["track"]))
        machine = msgspec.convert({key: row.get(key) for key in Machine.__struct_fields__}, Machine)
        entry = words.get(track)
        facts = ExchangedCell(
            picture=f"{name}-{track:06d}.png",
            category=machine.word if entry is None else _word(entry),
            identity=identity_of(crop),
            px_per_um=_number(row["px_per_um"]),
            slide=slide,
            subject=subject,
            sources=(msgspec.structs.replace(own, cell=track),) if entry is None else entry.sources,
            statements=() if entry is None else entry.statements,
            machine=machine,
            track=track,
            frame=int(str(row["frame"])),
            box=Box(*(int(str(row[key])) for key in "xywh")),
            captured_at=datetime.fromtimestamp(float(str(row["captured_at"])), timezone.utc),
            nucleus=_frozen(polygons_of(nucleus)),
        )
        if folder is not None:
            write_png(folder / PICTURES / facts.picture, crop.pixels)
        yield _outlined(crop, facts)


def read_index(path: Path) -> dict[str, ExchangedCell]:
    """Read ``cells.json``: what is known of each cell, by its picture's name; nothing where it is missing.

    Raises
    ------
    DataRefusedError
        It is damaged, or of a newer version.
    """
    if not path.is_file():
        return {}
    index = read_json(path, Index, "list of exported cells")
    if index.schema_version > 1:
        raise DataRefusedError(
            f"{path.name} was made by a newer edgeleuk",
            got=f"schema {index.schema_version}",
            allowed="up to 1",
            cure="update edgeleuk to read it",
        )
    return {cell.picture: cell for cell in index.cells}


def read_kind(path: Path) -> str | None:
    """Return the format of an exported folder by its ``cells.json``; None where it has none."""
    return read_json(path, _Head, "list of exported cells").kind if path.is_file() else None


def write_index(folder: Path, kind: str, cells: list[msgspec.Raw]) -> None:
    """Write ``cells.json`` from encoded `ExchangedCell`."""
    head = {"format": FORMAT, "schema_version": 1, "research_use_only": RESEARCH_USE, "kind": kind}
    (folder / INDEX).write_bytes(msgspec.json.encode({**head, "cells": cells}))


def _decoded(row: dict[str, object]) -> tuple[CellCrop, Bools]:
    """Return the crop of a row, and its nucleus in it; an empty one where no outlines were kept."""
    data, outlines, scale = row["crop"], row.get("contours"), row["px_per_um"]
    assert isinstance(data, bytes)
    crop = decode_crop(data, scale if isinstance(scale, float) and scale > 0 else 1.0)
    nucleus = np.zeros(crop.mask.shape, np.bool_)
    box = tight_box(crop.mask > 0)
    if isinstance(outlines, bytes) and box is not None:
        size = int(str(row["h"])), int(str(row["w"]))
        if size == (box.h, box.w):
            nucleus[box.slices] = (decode_contours(outlines, size) == NUCLEUS) & (crop.mask[box.slices] > 0)
    return crop, nucleus


def _outlined(crop: CellCrop, facts: ExchangedCell) -> Outlined:
    """Trace a cell's outlines."""
    mask = crop.mask > 0
    return Outlined(
        facts=facts,
        size=(mask.shape[1], mask.shape[0]),
        area_px=int(np.count_nonzero(mask)),
        box=tight_box(mask) or Box(0, 0, 0, 0),
        polygons=polygons_of(mask),
        nucleus=[[list(ring) for ring in polygon] for polygon in facts.nucleus],
    )


def _word(entry: CellEntry) -> str:
    """Return what people call a cell: what they agree on, else what was said last."""
    newest = entry.newest.values()
    return agreed(said.label for said in newest) or max(newest).label


def _frozen(polygons: list[Polygon]) -> tuple[tuple[tuple[tuple[float, float], ...], ...], ...]:
    return tuple(tuple(tuple(ring) for ring in polygon) for polygon in polygons)


def _number(value: object) -> float | None:
    return value if isinstance(value, float) and value > 0 else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
