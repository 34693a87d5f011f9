"""What a ``.labels`` file says: cells, where they come from, and who called them what, and when.

Nothing is ever overwritten: each word of each person is kept, and the newest of a person counts. Two files
are joined by putting together what they say, in any order, with the same result.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from edgeleuk.bundle.numbers import Count, Digest, Name  # noqa: TC001 - msgspec looks at them
from edgeleuk.results.kinds import BLAST, LABELS, LYMPHOID, NORMAL, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeleuk.frames import CellCrop

SCHEMA_VERSION = 1
# What the file's index says of itself.
FORMAT: Literal["edgeleuk labels"] = "edgeleuk labels"
LONGEST_NAME = 1000
Scale = Annotated[float, Meta(gt=0, le=10_000)]
Moment = Annotated[datetime, Meta(tz=True)]


def tidy(name: str) -> str:
    r"""Return a name of a person, a slide, a subject or a file as it is kept: one line, and valid UTF-8.

    Raises
    ------
    ValueError
        Nothing is left of it, or it is longer than any name.

    Examples
    --------
    >>> tidy(" Slide\n 7 ")
    'Slide 7'
    """
    # Names of files may hold bytes that are no UTF-8.
    kept = " ".join(name.encode("utf-8", "replace").decode().split())
    if not 0 < len(kept) <= LONGEST_NAME:
        msg = f"expected a name of 1 to {LONGEST_NAME} characters, got {len(kept)}"
        raise ValueError(msg)
    return kept


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all parts: a field that nobody knows is an error."""


class Statement(_Strict, frozen=True, kw_only=True, order=True):
    """What one person called one cell.

    Attributes
    ----------
    at : datetime
        With its zone; kept in UTC.
    by : str
        Who.
    label : str
        One of `edgeleuk.results.kinds.LABELS`.
    """

    at: Moment
    by: Name
    label: str

    def __post_init__(self) -> None:
        if self.label not in LABELS:
            msg = f"expected a label out of {', '.join(LABELS)}, got {self.label!r}"
            raise ValueError(msg)
        # One moment and one name have one spelling, or the same words would be two.
        msgspec.structs.force_setattr(self, "at", self.at.astimezone(timezone.utc))
        msgspec.structs.force_setattr(self, "by", tidy(self.by))


class PictureSource(_Strict, frozen=True, kw_only=True, tag_field="from", tag="picture"):
    """A picture file that shows the cell.

    Attributes
    ----------
    path : str
        From the folder that was imported on, its name first.
    sha256 : str
        Of the picture's pixels; see `pixels_sha256`.
    """

    path: Name
    sha256: Digest


class SessionSource(_Strict, frozen=True, kw_only=True, tag_field="from", tag="session"):
    """A cell of a session.

    Attributes
    ----------
    session : str
        Name of the file, as `edgeleuk.io.console.recordable` tells it.
    chain_end : str or None
        The last link of its hash chain when the cell was labelled; None where it has no chain.
    cell : int
        Its number.
    bundle_sha256 : str or None
        Of the bundle that judged it.
    """

    session: Name
    chain_end: Digest | None
    cell: Count
    bundle_sha256: Digest | None


Source = PictureSource | SessionSource


class CellEntry(_Strict, frozen=True, kw_only=True):
    """One cell, and all that was said of it.

    Attributes
    ----------
    identity : str
        SHA-256 of its pixels and its mask; see `identity_of`.
    px_per_um : float
    whole : bool
        As of `CellCrop`.
    slide : str
    subject : str or None
        Whose cell it is, where that is known.
    sources : tuple of PictureSource or SessionSource
    statements : tuple of Statement
        The oldest first.
    """

    identity: Digest
    px_per_um: Scale
    whole: bool = False
    slide: Name
    subject: Name | None = None
    sources: tuple[Source, ...]
    statements: Annotated[tuple[Statement, ...], Meta(min_length=1)]

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "slide", tidy(self.slide))
        if self.subject is not None:
            msgspec.structs.force_setattr(self, "subject", tidy(self.subject))

    @property
    def key(self) -> tuple[str, float, bool, str, str]:
        """What makes it another cell than the next; entries are sorted by it."""
        return self.identity, self.px_per_um, self.whole, self.slide, self.subject or ""

    @property
    def newest(self) -> dict[str, Statement]:
        """What counts: the newest word of each person."""
        return {said.by: said for said in self.statements}


def joined(entries: Iterable[CellEntry]) -> tuple[CellEntry, ...]:
    """Put together what is said of each cell, each word once, in one order whatever the order was before."""
    by_key: dict[tuple[str, float, bool, str, str], list[CellEntry]] = {}
    for entry in entries:
        by_key.setdefault(entry.key, []).append(entry)
    return tuple(_joined(by_key[key]) for key in sorted(by_key))


def _joined(same: list[CellEntry]) -> CellEntry:
    sources = {source for entry in same for source in entry.sources}
    statements = {said for entry in same for said in entry.statements}
    return msgspec.structs.replace(
        same[0],
        sources=tuple(sorted(sources, key=msgspec.json.encode)),
        statements=tuple(sorted(statements)),
    )


def following(said: Statement, before: Iterable[Statement]) -> Statement:
    """Return a word as said after all that the same person said before, whatever the clock shows.

    The clock of a board without a battery may stand before an earlier word, which would count in its place.
    """
    last = max((each.at for each in before if each.by == said.by), default=None)
    if last is None or said.at > last:
        return said
    return msgspec.structs.replace(said, at=last + timedelta(microseconds=1))


def content_sha256(entries: Iterable[CellEntry]) -> str:
    """Hash what is said of cells, whatever the order of the cells, and of the words on them."""
    return hashlib.sha256(msgspec.json.encode(joined(entries), order="sorted")).hexdigest()


def identity_of(crop: CellCrop) -> str:
    """Hash a crop's pixels and its mask, with their size."""
    height, width = crop.mask.shape
    digest = hashlib.sha256(f"{height}x{width}:".encode())
    digest.update(crop.pixels.tobytes())
    digest.update(crop.mask.tobytes())
    return digest.hexdigest()


def pixels_sha256(pixels: Any) -> str:
    """Hash the pixels of a picture, (H, W, 3) uint8 RGB, with its size."""
    digest = hashlib.sha256(f"{'x'.join(map(str, pixels.shape))}:".encode())
    digest.update(pixels.tobytes())
    return digest.hexdigest()


def agreed(labels: Iterable[str]) -> str | None:
    """Return what several labels of one cell say together; None where they contradict one another.

    ``blast`` and ``normal`` do not contradict a lymphoid kind: they say more.

    Examples
    --------
    >>> agreed(["lymphocyte", "normal"]), agreed(["monocyte", "blast"]), agreed(["band", "band"])
    ('normal', None, 'band')
    """
    different = set(labels)
    if len(different) == 1:
        return different.pop()
    finer = different & {BLAST, NORMAL}
    kinds = different - finer
    if len(finer) == 1 and len(kinds) == 1 and Kind(next(iter(kinds))) in LYMPHOID:
        return finer.pop()
    return None


def named(source: Source) -> str:
    """Name a source in a sentence."""
    if isinstance(source, SessionSource):
        return f"cell {source.cell} of {source.session}"
    return source.path
