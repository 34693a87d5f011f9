"""Directories of TIFF files, and of the EXIF data that other pictures carry in the same form."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal, NamedTuple

Order = Literal["<", ">"]

_MAGIC: dict[bytes, tuple[Order, bool]] = {
    b"II*\0": ("<", False),
    b"MM\0*": (">", False),
    b"II+\0": ("<", True),
    b"MM\0+": (">", True),
}
_SUBFILE_TYPE, _WIDTH, _HEIGHT, _BITS_PER_SAMPLE, _ORIENTATION = 254, 256, 257, 258, 274
_TILE_WIDTH, _TILE_HEIGHT, _DNG_VERSION = 322, 323, 50706
# Field type -> struct's code and size: bytes, 16, 32 and 64 bits without sign.
_TYPES = {1: ("B", 1), 3: ("H", 2), 4: ("I", 4), 13: ("I", 4), 16: ("Q", 8), 18: ("Q", 8)}
_MOST_PAGES, _MOST_ENTRIES = 1000, 4096


@dataclass(frozen=True, slots=True)
class TiffPage:
    """What counts of one directory of a TIFF file.

    Attributes
    ----------
    reduced : bool
        It is a smaller copy of another page.
    bits : int
        Of the first sample.
    width, height, tile_width, tile_height : int
        In pixels; tiles 0 where there are none.
    orientation : int
        1 to 8.
    raw : bool
        A digital negative.
    """

    reduced: bool
    bits: int
    width: int = 0
    height: int = 0
    tile_width: int = 0
    tile_height: int = 0
    orientation: int = 1
    raw: bool = False


class _Layout(NamedTuple):
    order: Order
    number: str  # struct's code of a directory's number of entries
    entry: str  # of a field: tag, type, number of values
    link: str  # of an offset


_CLASSIC = ("H", "HHI", "I")
_BIG = ("Q", "HHQ", "Q")


def tiff_pages(data: bytes) -> tuple[TiffPage, ...]:
    """List the directories of a TIFF file, up to 1000; empty for anything else."""
    magic = _MAGIC.get(data[:4])
    if magic is None:
        return ()
    order, big = magic
    layout = _Layout(order, *(_BIG if big else _CLASSIC))
    pages: list[TiffPage] = []
    seen: set[int] = set()
    try:
        (at,) = struct.unpack_from(order + layout.link, data, 8 if big else 4)
        while at and at not in seen and len(pages) < _MOST_PAGES:
            seen.add(at)
            fields, at = _directory(data, at, layout)
            pages.append(_page(fields))
    except (struct.error, OverflowError):
        # Cut off, or a directory outside the file.
        pass
    return tuple(pages)


def orientation_of(exif: bytes) -> int:
    """Read the orientation of EXIF data, 1 to 8; 1 where there is none."""
    pages = tiff_pages(exif)
    return pages[0].orientation if pages else 1


def _directory(data: bytes, at: int, layout: _Layout) -> tuple[dict[int, int], int]:
    """Read the first value of each field of a directory, and where the next directory is."""
    (count,) = struct.unpack_from(layout.order + layout.number, data, at)
    at += struct.calcsize(layout.order + layout.number)
    header, link = struct.calcsize(layout.order + layout.entry), struct.calcsize(layout.order + layout.link)
    fields: dict[int, int] = {}
    for number in range(min(count, _MOST_ENTRIES)):
        place = at + number * (header + link)
        tag, kind, values = struct.unpack_from(layout.order + layout.entry, data, place)
        if kind not in _TYPES:
            continue
        code, size = _TYPES[kind]
        place += header
        if values * size > link:
            (place,) = struct.unpack_from(layout.order + layout.link, data, place)
        (fields[tag],) = struct.unpack_from(layout.order + code, data, place)
    (following,) = struct.unpack_from(layout.order + layout.link, data, at + count * (header + link))
    return fields, int(following)


def _page(fields: dict[int, int]) -> TiffPage:
    orientation = fields.get(_ORIENTATION, 1)
    return TiffPage(
        reduced=bool(fields.get(_SUBFILE_TYPE, 0) & 1),
        bits=fields.get(_BITS_PER_SAMPLE, 1),
        width=fields.get(_WIDTH, 0),
        height=fields.get(_HEIGHT, 0),
        tile_width=fields.get(_TILE_WIDTH, 0),
        tile_height=fields.get(_TILE_HEIGHT, 0),
        orientation=orientation if 1 <= orientation <= 8 else 1,
        raw=_DNG_VERSION in fields,
    )
