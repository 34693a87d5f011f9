"""Whether a recording was cut: by a power cut, a full card, a copy that broke off.

Sizes and signatures at the beginning of a file tell how much of it there should be; nothing is decoded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from pathlib import Path

_MP4_BOXES = (
    b"ftyp",
    b"moov",
    b"mdat",
    b"free",
    b"skip",
    b"wide",
    b"pnot",
    b"moof",
    b"styp",
    b"sidx",
    b"uuid",
)
_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_MOST_BOXES = 100_000


def cut_of(path: Path) -> str | None:
    """Tell what a file lacks of a whole recording.

    Parameters
    ----------
    path : Path

    Returns
    -------
    str or None
        What was seen, in a few words; None where nothing is missing, as far as its header tells.
    """
    try:
        size = path.stat().st_size
        if size == 0:
            return "it is empty"
        with path.open("rb") as file:
            return _lacking(file, size)
    except OSError:
        return None


def _lacking(file: BinaryIO, size: int) -> str | None:
    head, cut = file.read(16), None
    if head[4:8] in _MP4_BOXES:
        cut = _cut_mp4(file, size)
    elif head[:4] == _EBML:
        cut = _missing(_matroska_end(file), size)
    elif head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        cut = _cut_avi(head, size)
    elif head == _ASF:
        cut = _missing(_asf_end(file), size)
    return cut


def _missing(end: int | None, size: int) -> str | None:
    """Say what is missing up to where the header says the end is."""
    if end is None or end <= size:
        return None
    return f"{int(100 * size / end)} % of its {_bytes(end)} are there"


def _cut_mp4(file: BinaryIO, size: int) -> str | None:
    at, has_index = 0, False
    for _ in range(_MOST_BOXES):
        if at + 8 > size:
            break
        file.seek(at)
        header = file.read(16)
        length, kind = int.from_bytes(header[:4], "big"), header[4:8]
        has_index = has_index or kind == b"moov"
        if length == 1 and len(header) == 16:
            length = int.from_bytes(header[8:], "big")
        if length == 0:
            # Up to the end of the file, wherever that is.
            at = size
            break
        if length < 8:
            return "it is damaged"
        at += length
    if not has_index:
        return "its index (moov) is missing, which is written last"
    return _missing(at, size)


def _cut_avi(head: bytes, size: int) -> str | None:
    length = int.from_bytes(head[4:8], "little")
    if length == 0:
        # It is filled in at the end.
        return "it was never finished"
    return _missing(8 + length, size)


def _matroska_end(file: BinaryIO) -> int | None:
    """Where the segment ends; None where it does not say so, as a stream does not."""
    file.seek(len(_EBML))
    header = _vint(file)
    if header is None:
        return None
    file.seek(header, 1)
    if file.read(4) != _SEGMENT:
        return None
    length = _vint(file)
    return None if length is None else file.tell() + length


def _vint(file: BinaryIO) -> int | None:
    """Read a number of EBML's; None for "unknown", and for none."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    rest = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & (0x7F >> rest)]) + file.read(rest), "big")
    return None if value == (1 << 7 * (rest + 1)) - 1 else value


def _asf_end(file: BinaryIO) -> int | None:
    """Read the size of the file in its properties, the first object of the header as a rule."""
    file.seek(0)
    header = file.read(4096)
    at = header.find(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"))
    if at < 0 or at + 48 > len(header):
        return None
    return int.from_bytes(header[at + 40 : at + 48], "little") or None


def _bytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1_000_000 else f"{count} bytes"
