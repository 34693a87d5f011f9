"""Pictures as they are kept in a session: thumbnails, judged crops, textures of fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.frames import CellCrop

if TYPE_CHECKING:
    from edgeleuk.frames import RgbImage
    from edgeleuk.vision.registration import Texture

THUMBNAIL_PX = 96


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


def encode_crop(crop: CellCrop) -> bytes:
    """Keep a crop without loss: a PNG whose transparency is the mask."""
    import cv2  # noqa: PLC0415 - reading a session must not cost OpenCV's start

    red, green, blue = cv2.split(crop.pixels)
    # A level of compression would turn off OpenCV's fast choice of filter and strategy: half the time for
    # a twentieth more bytes.
    return cv2.imencode(".png", cv2.merge([blue, green, red, crop.mask]))[1].tobytes()


def decode_crop(data: bytes, px_per_um: float) -> CellCrop:
    """Return the crop that `encode_crop` kept."""
    import cv2  # noqa: PLC0415 - reading a session must not cost OpenCV's start

    bgra = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED), np.uint8)
    return CellCrop(np.ascontiguousarray(bgra[:, :, 2::-1]), np.ascontiguousarray(bgra[:, :, 3]), px_per_um)


def encode_texture(texture: Texture) -> bytes:
    """Keep what a field is recognised by, well enough for that: a JPEG."""
    import cv2  # noqa: PLC0415 - reading a session must not cost OpenCV's start

    return cv2.imencode(".jpg", texture.fine, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
