"""The fields of a session side by side, from the textures that it keeps, and the cells on them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edgeleuk.results import Decision

if TYPE_CHECKING:
    from edgeleuk.frames import RgbImage
    from edgeleuk.session.reader import SessionReader

# A page prints no more than that.
MOST_PX = 1400
_QUALITY = 70
_GROUND = 225
# How far grey levels go from the middle: the marks are to stand out.
_CONTRAST = 0.5
MARKS = "blast a circle, normal a square, other a triangle, uncertain a cross"
_MARKERS = {
    Decision.BLAST.value: "circle",
    Decision.NORMAL.value: "MARKER_SQUARE",
    Decision.OTHER.value: "MARKER_TRIANGLE_UP",
    Decision.UNCERTAIN.value: "MARKER_TILTED_CROSS",
}


class SlideImage(NamedTuple):
    """A picture of the slide.

    Attributes
    ----------
    jpeg : bytes
    width, height : int
    fields, left_out : int
        Drawn, and of other places that nothing joins with these.
    """

    jpeg: bytes
    width: int
    height: int
    fields: int
    left_out: int


def slide_image(reader: SessionReader) -> SlideImage | None:
    """Draw the largest connected part of the slide that a session holds; None where it keeps no fields.

    Fields show their structure alone: a session keeps no colours of whole fields.
    """
    areas = Counter(int(str(field["area"])) for field in reader.kept_fields())
    if not areas:
        return None
    area, fields = areas.most_common(1)[0]
    import cv2  # noqa: PLC0415 - a session without fields must not cost OpenCV's start

    places = {
        int(str(field["sequence"])): _box(field) for field in reader.kept_fields() if field["area"] == area
    }
    left, top = (min(box[side] for box in places.values()) for side in (0, 1))
    right, bottom = (max(box[side] + box[side + 2] for box in places.values()) for side in (0, 1))
    factor = min(1.0, MOST_PX / max(right - left, bottom - top))
    size = [max(1, round(side * factor)) for side in (right - left, bottom - top)]
    picture: RgbImage = np.full((size[1], size[0], 3), _GROUND, np.uint8)
    # Of a large slide each field is small: JPEGs are decoded at an eighth in much less time.
    reading = cv2.IMREAD_GRAYSCALE
    for field in reader.kept_fields():
        box = places.get(int(str(field["sequence"])))
        if box is None:
            continue
        fine = cv2.imdecode(np.frombuffer(_bytes(field["picture"]), np.uint8), reading)
        if fine is None:
            continue
        if reading == cv2.IMREAD_GRAYSCALE and fine.shape[1] >= 8 * factor * box[2]:
            reading = cv2.IMREAD_REDUCED_GRAYSCALE_8
        x, y = round((box[0] - left) * factor), round((box[1] - top) * factor)
        width, height = max(1, round(box[2] * factor)), max(1, round(box[3] * factor))
        small = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
        part = picture[y : y + height, x : x + width]
        part[:] = (160 + _CONTRAST * (small[: part.shape[0], : part.shape[1], None] - 128.0)).astype(np.uint8)
    for cell in reader.rows("cells"):
        box = places.get(int(str(cell["frame"])))
        if box is not None:
            _mark(picture, cell, ((box[0] - left), (box[1] - top)), factor)
    encoded = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
    return SlideImage(encoded, size[0], size[1], fields, sum(areas.values()) - fields)


def _mark(picture: RgbImage, cell: dict[str, Any], corner: tuple[float, float], factor: float) -> None:
    """Draw what a cell is called where it lies, in the colours of every picture and in its own form."""
    import cv2  # noqa: PLC0415 - as above

    from edgeleuk.vision.annotate import COLOURS  # noqa: PLC0415 - as above

    x = round((corner[0] + cell["x"] + cell["w"] / 2) * factor)
    y = round((corner[1] + cell["y"] + cell["h"] / 2) * factor)
    side = max(7, round(1.3 * factor * max(cell["w"], cell["h"])))
    colour, form = COLOURS[Decision(cell["decision"])], _MARKERS[cell["decision"]]
    # On a large slide the marks are small, and must not run into one another.
    line = 2 if side > 10 else 1
    if form == "circle":
        cv2.circle(picture, (x, y), side // 2, colour, line, cv2.LINE_AA)
    else:
        cv2.drawMarker(picture, (x, y), colour, getattr(cv2, form), side, line)


def _box(field: dict[str, object]) -> tuple[float, float, float, float]:
    left, top, width, height = (float(str(field[name])) for name in ("left_px", "top_px", "width", "height"))
    return left, top, width, height


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""
