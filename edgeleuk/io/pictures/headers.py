"""What a picture file is, and how large, by its first bytes: nothing is decoded, whatever they claim."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Literal, NamedTuple

from edgeleuk.io.pictures.tiff import TiffPage, orientation_of, tiff_pages

if TYPE_CHECKING:
    from collections.abc import Iterator

# Kind -> what its files begin with.
_MAGIC = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "BMP": (b"BM",),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "GIF": (b"GIF87a", b"GIF89a"),
    "JPEG 2000": (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"),
    "JPEG XL": (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"),
    "PSD": (b"8BPS",),
    "PDF": (b"%PDF-",),
    "CZI": (b"ZISRAWFILE",),
    "ND2": (b"\xda\xce\xbe\x0a",),
    "OpenEXR": (b"v/1\x01",),
    "Radiance HDR": (b"#?RADIANCE", b"#?RGBE"),
    "PNM": tuple(f"P{number}{end}".encode() for number in range(1, 8) for end in "\n \t\r"),
}
_EXIF, _EXIF_BEGINS_BEFORE = b"Exif\0\0", 65536
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_AVIF_BRANDS = {b"avif", b"avis"}
READ = ("JPEG", "PNG", "BMP", "TIFF", "WebP")
# File suffix -> kind, of pictures that are not read: so that a folder can tell of them without opening each.
NOT_READ = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIC"),
    ".avif": "AVIF",
    ".gif": "GIF",
    **dict.fromkeys((".jp2", ".j2k", ".jpf", ".jpx", ".j2c"), "JPEG 2000"),
    ".jxl": "JPEG XL",
    ".psd": "PSD",
    **dict.fromkeys((".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"), "raw"),
    **dict.fromkeys((".svs", ".ndpi", ".mrxs", ".scn"), "whole slide"),
    **dict.fromkeys((".czi", ".nd2", ".lif", ".vsi", ".oib", ".oif"), "microscope vendor's"),
    **dict.fromkeys((".dcm", ".dicom"), "DICOM"),
}


class PictureHeader(NamedTuple):
    """What a file's header says.

    Attributes
    ----------
    kind : str
        ``JPEG``, ``PNG``, ..., or another kind that is known and not read.
    height, width : int
        In pixels, as stored; 0 where the kind is not read.
    bits : int
        Of a sample.
    orientation : int
        As EXIF has it, 1 to 8; 1 is upright.
    pages : int
        Pictures in the file that are no reduced copies.
    """

    kind: str
    height: int = 0
    width: int = 0
    bits: int = 8
    orientation: int = 1
    pages: int = 1


def kind_of(data: bytes) -> str | None:
    """Say what kind of picture begins so; None where that is not known.

    Examples
    --------
    >>> kind_of(b"GIF89a...")
    'GIF'
    """
    if data[4:8] == b"ftyp":
        brands = {
            data[8:12],
            *(data[at : at + 4] for at in range(16, min(int.from_bytes(data[:4], "big"), 64), 4)),
        }
        return "AVIF" if brands & _AVIF_BRANDS else "HEIC" if brands & _HEIF_BRANDS else None
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[128:132] == b"DICM":
        return "DICOM"
    return next((kind for kind, begins in _MAGIC.items() if data.startswith(begins)), None)


def read_header(data: bytes) -> PictureHeader | None:
    """Read the header of a picture; None where it is no picture, or its header is cut off."""
    kind = kind_of(data)
    if kind is None:
        return None
    if kind not in READ:
        return PictureHeader(kind)
    try:
        return _READERS[kind](data)
    except (struct.error, LookupError, ValueError):
        return None


def jpeg_quantum(data: bytes) -> float:
    """Return the coarsest step in which a JPEG codes the mean of a square of 8 by 8 pixels, in levels."""
    quanta = [0]
    for marker, at, end in _jpeg_segments(data):
        if marker == 0xDB:
            quanta += _first_quanta(data[at:end])
    return max(quanta) / 8


def jpeg_ends(data: bytes) -> bool:
    r"""Tell whether a JPEG's end marker follows its pixels, whatever comes after; a thumbnail's is none.

    Examples
    --------
    >>> jpeg_ends(b"\xff\xd8\xff\xe1\x00\x04\xff\xd9\xff\xda\x00\x02abc")
    False
    """
    at = 2
    for marker, start, end in _jpeg_segments(data):
        at = start if marker == 0xDA else end
    # Of most it is the end of the file.
    return data.endswith(b"\xff\xd9", at) or data.find(b"\xff\xd9", at) >= 0


def missing_bytes(data: bytes) -> str | None:
    """Say what a truncated file lacks; OpenCV decodes some of them to half a picture."""
    truncated = "truncated"
    if data[:2] == b"BM" and len(data) >= 34:
        offset = int.from_bytes(data[10:14], "little")
        if int.from_bytes(data[14:18], "little") >= 40 and int.from_bytes(data[30:34], "little") == 0:
            width = abs(int.from_bytes(data[18:22], "little", signed=True))
            height = abs(int.from_bytes(data[22:26], "little", signed=True))
            row = (width * int.from_bytes(data[28:30], "little") + 31) // 32 * 4
            return truncated if len(data) < offset + row * height else None
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return None if b"IEND" in data[-64:] else truncated
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return None if len(data) >= int.from_bytes(data[4:8], "little") + 8 else truncated
    if data[:2] == b"\xff\xd8":
        return None if jpeg_ends(data) else truncated
    return None


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, begin and end of what each segment holds, up to the pixels."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        yield marker, at + 4, min(end, len(data))
        if marker == 0xDA:
            return
        at = end


def _first_quanta(tables: bytes) -> list[int]:
    """Return the first entry of each quantization table, of a square's mean."""
    found, at = [], 0
    while at < len(tables):
        size = 1 + (tables[at] >> 4)
        found.append(int.from_bytes(tables[at + 1 : at + 1 + size], "big"))
        at += 1 + 64 * size
    return found


def _jpeg(data: bytes) -> PictureHeader | None:
    import simplejpeg  # noqa: PLC0415 - the suffixes above are wanted without it

    # As libjpeg reads it: whoever reads otherwise may be told another size than is decoded.
    height, width, _, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    orientation = 1
    # Most cameras write none, and a camera's pictures are many.
    if data.find(_EXIF, 0, _EXIF_BEGINS_BEFORE) >= 0:
        for marker, at, end in _jpeg_segments(data):
            if marker == 0xE1 and data.startswith(_EXIF, at):
                orientation = orientation_of(data[at + len(_EXIF) : end])
    return PictureHeader("JPEG", int(height), int(width), 8, orientation)


def _png(data: bytes) -> PictureHeader | None:
    if data[12:16] != b"IHDR":
        return None
    width, height, bits = struct.unpack_from(">IIB", data, 16)
    orientation, pages = 1, 1
    at = 8
    while at + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        if name == b"eXIf":
            orientation = orientation_of(data[at + 8 : at + 8 + size])
        elif name == b"acTL":
            pages = max(pages, int.from_bytes(data[at + 8 : at + 12], "big"))
        at += 12 + size
    return PictureHeader("PNG", height, width, bits, orientation, pages)


def _bmp(data: bytes) -> PictureHeader | None:
    (size,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if size == 12 else "<ii", data, 18)
    return PictureHeader("BMP", abs(height), abs(width))


def _webp(data: bytes) -> PictureHeader | None:
    width = height = 0
    orientation, pages = 1, 0
    at = 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        body = data[at + 8 : at + 8 + min(size, 32)]
        if name == b"VP8X":
            width, height = (1 + int.from_bytes(body[n : n + 3], "little") for n in (4, 7))
        elif name == b"VP8 ":
            width = max(width, int.from_bytes(body[6:8], "little") & 0x3FFF)
            height = max(height, int.from_bytes(body[8:10], "little") & 0x3FFF)
        elif name == b"VP8L":
            both = int.from_bytes(body[1:5], "little")
            width, height = max(width, 1 + (both & 0x3FFF)), max(height, 1 + (both >> 14 & 0x3FFF))
        elif name == b"ANMF":
            pages += 1
        elif name == b"EXIF":
            exif = data[at + 8 : at + 8 + size]
            orientation = orientation_of(exif.removeprefix(b"Exif\0\0"))
        at += 8 + size + size % 2
    return PictureHeader("WebP", height, width, 8, orientation, max(pages, 1))


def _tiff(data: bytes) -> PictureHeader | None:
    pages = tiff_pages(data)
    if not pages:
        return None
    whole = [page for page in pages if not page.reduced]
    first: TiffPage = pages[0]
    kind: Literal["TIFF", "raw"] = "raw" if first.raw else "TIFF"
    # A tile is decoded whole, and may be larger than the picture.
    height, width = max(first.height, first.tile_height), max(first.width, first.tile_width)
    return PictureHeader(kind, height, width, first.bits, first.orientation, max(len(whole), 1))


_READERS = {"JPEG": _jpeg, "PNG": _png, "BMP": _bmp, "WebP": _webp, "TIFF": _tiff}
