"""Pictures as they are kept in a session: judged crops without loss, textures of fields well enough.

Since schema 7 a session keeps WebP, and each picture once: a thumbnail is made of the crop when it is wanted.
Earlier ones keep PNG, JPEG and a thumbnail of each cell; all of them are read.
"""

from __future__ import annotations

import zlib
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.frames import CellCrop

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeleuk.frames import Mask, RgbImage
    from edgeleuk.vision.registration import Texture

THUMBNAIL_PX = 96
# How hard libwebp looks for fewer bytes, 0 to 6. OpenCV has it be 4: 220 million instructions a crop on a
# Raspberry Pi, more than the network takes. 2 takes 50, for the same bytes of cells from real fields and 7 %
# more of drawn ones; 0 takes 10, for 22 % more of both.
_EFFORT = 2
# Textures are kept at half their size. Measured on 270 pairs of fields: all 48 that overlap are found, at
# most 0.24 px of the field off, their correlation lower by 0.012, and no other. A field is known again from
# 0.68 on. Of 240 spots by which a field is recognised 89 or more stay, where 12 suffice.
_TEXTURE_PART = 2
_TEXTURE_QUALITY = 12
# WebP has no longer sides.
_LONGEST_WEBP = 16383
_RIFF_HEAD = 8
_PNG = b"\x89PNG"


def thumbnail(crop: RgbImage) -> bytes:
    """Encode a crop as a JPEG whose longer side has at most `THUMBNAIL_PX` pixels."""
    import cv2  # noqa: PLC0415 - reading a session must not cost OpenCV's start

    height, width = crop.shape[:2]
    factor = THUMBNAIL_PX / max(height, width)
    small: object = crop
    if factor < 1:
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        small = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(np.asarray(small, np.uint8), cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def thumbnail_of(row: Mapping[str, object]) -> bytes | None:
    """Return a small JPEG of a cell, from its row of a session; None where no picture was kept.

    Raises
    ------
    ValueError, TypeError
        The crop is damaged.
    """
    kept, crop = row.get("thumbnail"), row.get("crop")
    if isinstance(kept, bytes):
        return kept
    return thumbnail(decode_crop(crop, 1.0).pixels) if isinstance(crop, bytes) else None


def encode_crop(crop: CellCrop) -> bytes:
    """Keep a crop without loss: a PNG whose transparency is the mask."""
    import cv2  # noqa: PLC0415 - reading a session must not cost OpenCV's start

    red, green, blue = cv2.split(crop.pixels)
    # A level of compression would turn off OpenCV's fast choice of filter and strategy: half the time for
    # a twentieth more bytes.
    return cv2.imencode(".png", cv2.merge([blue, green, red, crop.mask]))[1].tobytes()


def as_png(data: bytes) -> bytes:
    """Return a crop that a session kept as a PNG, whose transparency is the mask."""
    return data if data.startswith(_PNG) else encode_crop(decode_crop(data, 1.0))


def pack_crop(crop: CellCrop) -> bytes:
    """Keep a crop without loss in the least room: a WebP, and behind its end the mask's bits.

    What shows pictures passes over what follows a WebP. As its transparency the mask would cost the pixels
    around the cell: they are left out there. Nothing follows where just these pixels are black.
    """
    from PIL import Image  # noqa: PLC0415 - as above

    inside = crop.mask == 255
    if max(crop.mask.shape) > _LONGEST_WEBP or not (inside | (crop.mask == 0)).all():
        return encode_crop(crop)
    kept = BytesIO()
    Image.fromarray(crop.pixels).save(kept, "WEBP", lossless=True, method=_EFFORT, quality=0)
    picture = kept.getvalue()
    if (crop.pixels.any(axis=2) == inside).all():
        return picture
    return picture + zlib.compress(np.packbits(inside).tobytes(), 9)


def decode_crop(data: bytes, px_per_um: float) -> CellCrop:
    """Return the crop that `pack_crop` or `encode_crop` kept.

    Raises
    ------
    ValueError, TypeError
        It is damaged.
    """
    import cv2  # noqa: PLC0415 - as above

    if data[:4] != b"RIFF":
        bgra = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED), np.uint8)
        pixels = np.ascontiguousarray(bgra[:, :, 2::-1])
        return CellCrop(pixels, np.ascontiguousarray(bgra[:, :, 3]), px_per_um)
    end = _RIFF_HEAD + int.from_bytes(data[4:_RIFF_HEAD], "little")
    bgr = np.asarray(cv2.imdecode(np.frombuffer(data[:end], np.uint8), cv2.IMREAD_COLOR), np.uint8)
    pixels = np.ascontiguousarray(bgr[:, :, ::-1])
    if len(data) == end:
        return CellCrop(pixels, np.where(pixels.any(axis=2), np.uint8(255), np.uint8(0)), px_per_um)
    return CellCrop(pixels, _unpacked(data[end:], bgr.shape[:2]), px_per_um)


def _unpacked(bits: bytes, shape: tuple[int, ...]) -> Mask:
    """Return the mask of that shape."""
    size = shape[0] * shape[1]
    try:
        packed = zlib.decompressobj().decompress(bits, size // 8 + 2)
    except zlib.error as error:
        msg = f"the mask cannot be read: {error}"
        raise ValueError(msg) from error
    if len(packed) != (size + 7) // 8:
        msg = f"expected a mask of {size} pixels, got {8 * len(packed)}"
        raise ValueError(msg)
    inside = np.unpackbits(np.frombuffer(packed, np.uint8), count=size).reshape(shape)
    return np.asarray(inside * 255, np.uint8)


def encode_texture(texture: Texture, *, webp: bool = True) -> bytes:
    """Keep what a field is recognised by, well enough for that; a JPEG as earlier schemas do, if asked."""
    import cv2  # noqa: PLC0415 - as above

    if webp:
        height, width = (max(1, side // _TEXTURE_PART) for side in texture.fine.shape)
        half = cv2.resize(texture.fine, (width, height), interpolation=cv2.INTER_AREA)
        return cv2.imencode(".webp", half, [cv2.IMWRITE_WEBP_QUALITY, _TEXTURE_QUALITY])[1].tobytes()
    return cv2.imencode(".jpg", texture.fine, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()


def decode_texture(data: bytes, shape: tuple[int, int]) -> Texture:
    """Return the texture that `encode_texture` kept, of a field of that shape (H, W)."""
    import cv2  # noqa: PLC0415 - as above

    from edgeleuk.vision.registration import Texture  # noqa: PLC0415 - as above

    fine = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    return Texture.enlarged(np.asarray(fine, np.uint8), shape)
