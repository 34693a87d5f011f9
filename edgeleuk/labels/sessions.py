"""What people call the cells of a session: reviews in it, and words in ``NAME.labels`` beside it.

Each word stands where it was said: `review` records in the session, `labels set` beside it.
`session_labels` reads both as one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import msgspec

from edgeleuk.bundle.reading import read_bundle
from edgeleuk.errors import DataRefusedError, IntegrityError, LabelsError, SessionError, UsageError
from edgeleuk.io.console import recordable
from edgeleuk.labels.contents import CellEntry, SessionSource, Statement, following, joined, named
from edgeleuk.labels.file import (
    ENDING,
    LabelFile,
    decode_png,
    locked,
    open_labels,
    require_labels_place,
    write_labels,
)
from edgeleuk.labels.spool import Spool
from edgeleuk.results.kinds import LABELS
from edgeleuk.session.pictures import decode_crop
from edgeleuk.session.reader import read_session
from edgeleuk.session.reviews import reviews_of, standing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from edgeleuk.frames import CellCrop
    from edgeleuk.labels.contents import Source
    from edgeleuk.session.reader import SessionReader
    from edgeleuk.session.reviews import Review

_NAMED_AT_MOST = 8


@dataclass(frozen=True, slots=True)
class Origin:
    """Of which slide and subject a session's cells are.

    Attributes
    ----------
    slide : str or None
        None: as it was said before, else the session's own name.
    subject : str or None
        None: as it was said before, else unknown.
    """

    slide: str | None = None
    subject: str | None = None


def labels_beside(session: Path) -> Path:
    """Return where the labels of a session's cells are kept: ``night.labels`` beside ``night.db``."""
    return session.with_suffix(ENDING)


def label_cells(
    session: Path,
    words: Sequence[tuple[int, Statement]],
    origin: Origin,
    *,
    bundle: str | None = None,
    in_order: bool = True,
) -> tuple[CellEntry, ...]:
    """Record what a person calls cells of a session, beside what was said before.

    Parameters
    ----------
    session : Path
        Is not changed.
    words : sequence of (int, Statement)
        Number of the cell, and what it is called.
    origin : Origin
    bundle : str, optional
        The bundle that must have judged the cells.
    in_order : bool
        Each word is said after the same person's earlier ones on the cell; see `following`.

    Returns
    -------
    tuple of CellEntry
        All that is said of the session's cells now.

    Raises
    ------
    UsageError
        There is no such cell.
    DataRefusedError
        Cells have no pixels in the session.
    IntegrityError
        Another bundle judged the session.
    LabelsError
        What lies beside the session are labels of another of the same name.
    """
    place = labels_beside(session)
    if place == session:
        raise UsageError("a session is not a file of labels", got=session)
    with read_session(session) as reader, locked(session.parent), Spool() as spool:
        _require_bundle(reader, bundle)
        require_labels_place(place)
        before = open_labels(place) if place.exists() else None
        others, own = _parted(reader, before)
        own = _moved(own, origin)
        slide = next((entry.slide for entry in own), origin.slide or recordable(session.stem))
        subject = next((entry.subject for entry in own), origin.subject)
        statements = {entry.identity: list(entry.statements) for entry in own}
        said = []
        for (cell, word), crop in zip(words, _crops(reader, words), strict=True):
            identity = spool.add(crop)
            earlier = statements.setdefault(identity, [])
            earlier.append(following(word, earlier) if in_order else word)
            said.append(
                CellEntry(
                    identity=identity,
                    px_per_um=crop.px_per_um,
                    slide=slide,
                    subject=subject,
                    sources=(_source(reader, cell, reader.chain_end()),),
                    statements=(earlier[-1],),
                )
            )
        write_labels(place, [*others, *own, *said], _Both(spool, before))
    return tuple(
        entry for entry in open_labels(place).cells if _cell_in(entry, recordable(session.name)) is not None
    )


class SessionLabels:
    """What was said of a session's cells, with their pixels; made by `session_labels`.

    Attributes
    ----------
    path : Path
        The session.
    cells : tuple of CellEntry
        Sorted by their keys.
    digests : dict of str to str
        By the identity of each cell the SHA-256 of its PNG.
    """

    def __init__(self, path: Path, cells: tuple[CellEntry, ...], spool: Spool) -> None:
        self.path = path
        self.cells = cells
        self._spool = spool
        self.digests = {
            entry.identity: hashlib.sha256(spool.png(entry.identity)).hexdigest() for entry in cells
        }

    def png(self, identity: str) -> bytes:
        """Return the PNG of a cell; see `edgeleuk.labels.file.Pictures`."""
        return self._spool.png(identity)

    def crop(self, entry: CellEntry) -> CellCrop:
        """Decode the crop of a cell."""
        return decode_png(self.png(entry.identity), entry, self.path)


def session_labels(session: Path, *, bundle: str | None = None) -> SessionLabels:
    """Return what was said of a session's cells, at least one word; see `session_words`.

    Raises
    ------
    DataRefusedError
        Nobody labelled a cell of it, or as `session_words`.
    """
    found = session_words(session, bundle=bundle)
    if not found.cells:
        place = labels_beside(session)
        beside = f"no word on its cells in {place.name}" if place.exists() else f"no {place.name} beside it"
        raise DataRefusedError(
            f"nobody labelled a cell of {session.name}",
            got=f"{beside}, and no review in it",
            cure="label cells with `edgeleuk review` or `edgeleuk labels set`",
        )
    return found


def session_words(session: Path, *, bundle: str | None = None) -> SessionLabels:
    """Return what was said of a session's cells, in it and beside it, with the session's own pixels.

    Of reviews the words count that nobody took back. A review that says ``uncertain`` names no label, and
    one of a cell whose pixels were not recorded cannot be handed on: both are left out.

    Raises
    ------
    DataRefusedError
        The session shows other pixels than were labelled beside it.
    IntegrityError, LabelsError, UsageError
        As `label_cells`.
    """
    place = labels_beside(session)
    spool = Spool()
    with read_session(session) as reader:
        _require_bundle(reader, bundle)
        before = open_labels(place) if place.exists() and place != session else None
        _, beside = _parted(reader, before)
        lost = []
        for entry in beside:
            cell = _cell_in(entry, recordable(session.name))
            if cell is not None and _spooled(reader, cell, spool, entry.identity) is None:
                lost.append(cell)
        reviewed = _reviewed(reader, beside, spool)
    if lost:
        raise _without_pixels(lost, session.name, "other pixels than those that were labelled")
    return SessionLabels(session, joined([*beside, *reviewed]), spool)


def _reviewed(reader: SessionReader, beside: Sequence[CellEntry], spool: Spool) -> list[CellEntry]:
    """Return what reviews say of the cells whose pixels were recorded."""
    found = reviews_of(reader)
    if found and (broken := reader.verify().broken):
        raise SessionError(f"{reader.path} is damaged", got=broken, cure="restore it from a copy")
    links = {review.number: link for review, link in found}
    words: dict[int, list[Review]] = {}
    for review in standing(review for review, _ in found):
        if review.label in LABELS:
            words.setdefault(review.track, []).append(review)
    # Slide and subject are told with `labels set`, for all cells of the session.
    slide = next((entry.slide for entry in beside), recordable(reader.path.stem))
    subject = next((entry.subject for entry in beside), None)
    entries = []
    for cell, said in words.items():
        crop = _spooled(reader, cell, spool)
        if crop is None:
            continue
        entries.append(
            CellEntry(
                identity=crop[0],
                px_per_um=crop[1],
                slide=slide,
                subject=subject,
                # The first of them, or a further word would make another source of the same cell.
                sources=(_source(reader, cell, links[said[0].number]),),
                statements=tuple(
                    Statement(
                        at=datetime.fromtimestamp(review.at, timezone.utc),
                        by=review.reader,
                        label=str(review.label),
                    )
                    for review in said
                ),
            )
        )
    return entries


def _spooled(
    reader: SessionReader, cell: int, spool: Spool, identity: str | None = None
) -> tuple[str, float] | None:
    """Keep the crop of a cell; return its identity and scale, None where it has none, or another identity."""
    try:
        row = reader.cell(cell)
    except UsageError:
        return None
    data, scale = row.get("crop"), row["px_per_um"]
    if not isinstance(data, bytes) or not isinstance(scale, float) or not scale > 0:
        return None
    found = spool.add(_decoded(reader, cell, data, scale))
    return None if identity not in (None, found) else (found, scale)


class _Both:
    """Pictures that are new, and those that were there before."""

    def __init__(self, spool: Spool, before: LabelFile | None) -> None:
        self._spool = spool
        self._before = before

    def png(self, identity: str) -> bytes:
        if self._before is not None and identity in self._before.digests:
            return self._before.png(identity)
        return self._spool.png(identity)


def _require_bundle(reader: SessionReader, bundle: str | None) -> None:
    if bundle is None:
        return
    opened, judged_by = read_bundle(bundle), reader.settings.get("bundle_sha256")
    if opened.sha256 != judged_by:
        raise IntegrityError(
            f"another bundle judged {reader.path.name}",
            got=f"{opened.path.name}, {opened.sha256[:16]}",
            allowed=f"{reader.settings.get('bundle')}, {str(judged_by)[:16]}",
            cure="pass the bundle of the session, or leave --bundle out",
        )


def _parted(
    reader: SessionReader, before: LabelFile | None
) -> tuple[tuple[CellEntry, ...], tuple[CellEntry, ...]]:
    """Part the entries of a file into those of others, and those of this session.

    Raises
    ------
    LabelsError
        They are of another session of the same name.
    """
    entries = () if before is None else before.cells
    name = recordable(reader.path.name)
    for entry in entries:
        for source in entry.sources:
            if _belies(reader, source):
                raise LabelsError(
                    f"{labels_beside(reader.path).name} is about another session called {name}",
                    got=f"{named(source)} with another hash chain",
                    cure="move one of them to another folder",
                )
    own = tuple(entry for entry in entries if _cell_in(entry, name) is not None)
    return tuple(entry for entry in entries if _cell_in(entry, name) is None), own


def _belies(reader: SessionReader, source: Source) -> bool:
    """Whether a source names this session, and an end that its hash chain never had."""
    return (
        isinstance(source, SessionSource)
        and source.session == recordable(reader.path.name)
        and source.chain_end is not None
        and not reader.has_link(source.chain_end)
    )


def _cell_in(entry: CellEntry, session: str) -> int | None:
    """Return the number of a cell in a session, if it is from there."""
    return next(
        (
            source.cell
            for source in entry.sources
            if isinstance(source, SessionSource) and source.session == session
        ),
        None,
    )


def _moved(own: Iterable[CellEntry], origin: Origin) -> tuple[CellEntry, ...]:
    """Say of all cells of a session what is now known of its slide and its subject."""
    return tuple(
        msgspec.structs.replace(
            entry, slide=origin.slide or entry.slide, subject=origin.subject or entry.subject
        )
        for entry in own
    )


def _source(reader: SessionReader, cell: int, link: str | None) -> SessionSource:
    bundle = reader.settings.get("bundle_sha256")
    return SessionSource(
        session=recordable(reader.path.name),
        chain_end=link,
        cell=cell,
        bundle_sha256=bundle if isinstance(bundle, str) else None,
    )


def _crops(reader: SessionReader, words: Iterable[tuple[int, Statement]]) -> list[CellCrop]:
    """Return the recorded crop of each cell.

    Raises
    ------
    DataRefusedError
        Some have none.
    """
    crops, without, unscaled = [], [], []
    for cell, _ in words:
        row = reader.cell(cell)
        data, scale = row.get("crop"), row["px_per_um"]
        if not isinstance(data, bytes):
            without.append(cell)
        elif not isinstance(scale, float) or not scale > 0:
            unscaled.append(cell)
        else:
            crops.append(_decoded(reader, cell, data, scale))
    for cells, lacking in ((without, "no pixels"), (unscaled, "no scale")):
        if cells:
            raise _without_pixels(cells, reader.path.name, lacking)
    return crops


def _decoded(reader: SessionReader, cell: int, data: bytes, scale: float) -> CellCrop:
    try:
        return decode_crop(data, scale)
    except (ValueError, IndexError, TypeError) as error:
        raise SessionError(f"{reader.path} is damaged", got=f"the picture of cell {cell}") from error


def _without_pixels(cells: Sequence[int], session: str, lacking: str) -> DataRefusedError:
    listed = ", ".join(map(str, cells[:_NAMED_AT_MOST]))
    more = f" and {len(cells) - _NAMED_AT_MOST} more" if len(cells) > _NAMED_AT_MOST else ""
    one = len(cells) == 1
    return DataRefusedError(
        f"cell{'' if one else 's'} {listed}{more} of {session} {'has' if one else 'have'} {lacking}"
        if lacking.startswith("no ")
        else f"cell{'' if one else 's'} {listed}{more} of {session} show{'s' if one else ''} {lacking}",
        cure="label cells whose pictures were recorded; `edgeleuk export SESSION --csv` lists the cells",
    )
