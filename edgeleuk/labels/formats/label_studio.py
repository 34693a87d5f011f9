"""Label Studio's JSON: ``tasks.json`` with a task a picture, and ``config.xml`` for the project.

Source: https://labelstud.io/guide/task_format. What the bundle says is a task's prediction, what people
said its annotation. Of others, polygons, rectangles, brushes, and choices for a whole picture are read.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import quoteattr

import msgspec
import numpy as np

from edgeleuk.errors import DataRefusedError
from edgeleuk.labels.contents import Moment
from edgeleuk.labels.formats.cells import CATEGORIES, COLOURS, PICTURES
from edgeleuk.labels.formats.json_files import read_json
from edgeleuk.labels.formats.marks import NO_AREA, Mark, ring_of_points
from edgeleuk.labels.formats.outlines import one_ring
from edgeleuk.labels.formats.picture_folder import picture_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy.typing as npt

    from edgeleuk.labels.formats.cells import Outlined
    from edgeleuk.labels.formats.outlines import Bools

TASKS, CONFIG = "tasks.json", "config.xml"
_IMAGE = "image"
_ENDINGS = re.compile(r"\.(png|jpe?g|bmp|webp|tiff?)$", re.IGNORECASE)
_MOST_PIXELS = 1 << 28
_READ = ("polygonlabels", "rectanglelabels", "brushlabels", "choices")


class _Result(msgspec.Struct):
    type: str = ""
    value: dict[str, Any] = {}
    original_width: int | None = None
    original_height: int | None = None
    image_rotation: float | None = None


class _Annotation(msgspec.Struct):
    result: list[_Result] = []
    was_cancelled: bool | None = False
    completed_by: Any = None
    created_at: str | None = None
    updated_at: str | None = None


class _Task(msgspec.Struct):
    data: dict[str, Any]
    annotations: list[_Annotation] | None = None
    id: Any = None


def write_label_studio(folder: Path, cells: Iterable[Outlined]) -> None:
    """Write ``tasks.json`` and ``config.xml``."""
    tasks = []
    for cell in cells:
        facts = cell.facts
        prediction: dict[str, Any] = {
            "model_version": "edgeleuk",
            "result": _regions(cell, facts.machine.word),
        }
        if facts.machine.probability is not None:
            prediction["score"] = facts.machine.probability
        said = [{"result": _regions(cell, facts.category)}] if facts.statements else []
        task = {
            # Of Label Studio's local files, where its root is the folder that holds this one.
            "data": {_IMAGE: f"/data/local-files/?d={PICTURES}/{facts.picture}", **facts.plain},
            "predictions": [prediction],
            "annotations": said,
        }
        tasks.append(msgspec.Raw(msgspec.json.encode(task)))
    (folder / TASKS).write_bytes(msgspec.json.encode(tasks))
    labels = "".join(
        f'    <Label value={quoteattr(name)} background="#{red:02x}{green:02x}{blue:02x}"/>\n'
        for name, (red, green, blue) in ((name, COLOURS[name]) for name in CATEGORIES)
    )
    config = (
        f'<View>\n  <Image name="{_IMAGE}" value="${_IMAGE}"/>\n'
        f'  <PolygonLabels name="label" toName="{_IMAGE}">\n{labels}  </PolygonLabels>\n</View>\n'
    )
    (folder / CONFIG).write_text(config, encoding="utf-8")


def read_label_studio(source: Path) -> list[Mark]:
    """Read an export in Label Studio's own JSON, or that of a folder that was exported.

    Raises
    ------
    UsageError, DataRefusedError
        It is no such JSON, or an annotation is not sound.
    """
    path = source / TASKS if source.is_dir() else source
    marks = []
    for number, task in enumerate(read_json(path, list[_Task], "JSON of Label Studio's tasks"), start=1):
        name = f"task {number if task.id is None else task.id} of {path.name}"
        for one, annotation in enumerate(task.annotations or (), start=1):
            # All regions of one annotation of an exported cell are its parts.
            where = f"annotation {one} of {name}"
            if not annotation.was_cancelled:
                marks += [
                    mark
                    for result in annotation.result
                    if (mark := _mark(task, annotation, result, where)) is not None
                ]
    return marks


def _regions(cell: Outlined, word: str) -> list[dict[str, Any]]:
    """Return a region for each part of a cell; its points are in hundredths of the picture's sides."""
    width, height = cell.size
    return [
        {
            "id": f"{cell.facts.track}-{part}",
            "type": "polygonlabels",
            "from_name": "label",
            "to_name": _IMAGE,
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {
                "points": [[100 * x / width, 100 * y / height] for x, y in one_ring(polygon)],
                "closed": True,
                "polygonlabels": [word],
            },
        }
        for part, polygon in enumerate(cell.polygons)
    ]


def _mark(task: _Task, annotation: _Annotation, result: _Result, where: str) -> Mark | None:
    """Read one region, or a choice for the whole picture; None of what says nothing of a cell."""
    kind, value = result.type, result.value
    words = value.get("choices" if kind == "choices" else kind)
    if kind not in _READ:
        # A shape that outlines no cell is counted; texts, ratings and relations are about none.
        is_shape = kind.endswith("labels")
        return Mark(_picture(task.data, where), where, None, fault=NO_AREA) if is_shape else None
    if result.image_rotation or value.get("rotation"):
        raise DataRefusedError(
            f"{where} is rotated, which is not read", cure="draw it upright, or as a polygon"
        )
    word = words[0] if isinstance(words, list) and words and isinstance(words[0], str) else None
    width, height = result.original_width, result.original_height
    by, at = _person(annotation.completed_by), annotation.updated_at or annotation.created_at
    mark = Mark(
        picture=_picture(task.data, where),
        where=where,
        word=word,
        size=(width, height) if width and height else None,
        by=by,
        at=None if at is None else _moment(at, where),
        is_relative=True,
        # What is exported names neither.
        is_said=by is not None or at is not None,
    )
    if kind == "polygonlabels":
        ring = ring_of_points(value.get("points"), where)
        return mark.with_polygons([[[(x / 100, y / 100) for x, y in ring]]])
    if kind == "rectanglelabels":
        try:
            x, y, w, h = (float(value[name]) / 100 for name in ("x", "y", "width", "height"))
        except (KeyError, TypeError, ValueError, OverflowError):
            raise DataRefusedError(f"{where} has a rectangle that lacks a number") from None
        return mark.with_box((x, y, x + w, y + h))
    if kind == "brushlabels":
        return mark.with_mask(_brushed(value.get("rle"), mark.size, where))
    return mark


def _picture(data: dict[str, Any], where: str) -> str:
    """Return the picture of a task: under ``image``, else the one value that ends as pictures do."""
    if isinstance(data.get(_IMAGE), str):
        return picture_of(data[_IMAGE])
    found = [text for text in data.values() if isinstance(text, str) and _ENDINGS.search(picture_of(text))]
    if len(found) != 1:
        raise DataRefusedError(f"{where} does not say which picture it is about", got=", ".join(sorted(data)))
    return picture_of(found[0])


def _person(found: object) -> str | None:
    """Name who annotated: by mail where the export tells, else by number."""
    if isinstance(found, dict):
        names = (found.get(key) for key in ("email", "username", "first_name", "id"))
        found = next((name for name in names if name), None)
    return f"Label Studio user {found}" if isinstance(found, int) else str(found) if found else None


def _moment(text: str, where: str) -> Moment:
    try:
        return msgspec.convert(text, Moment)
    except msgspec.ValidationError as error:
        raise DataRefusedError(f"{where} has a time that is none", got=repr(text[:40])) from error


def _brushed(rle: object, size: tuple[int, int] | None, where: str) -> Bools:
    """Unpack a brush: RGBA bytes of the picture, of which the last tells what is inside.

    A stream of bits: how many bytes (32), their width less one (5), four widths of lengths less one (4 each);
    then runs: one bit, whether a byte repeats, two bits, which width, the length less one, the byte or bytes.
    Source: https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack.
    """
    if size is not None and isinstance(rle, list) and size[0] * size[1] * 4 <= _MOST_PIXELS:
        with contextlib.suppress(ValueError, TypeError, OverflowError):
            bits = _Bits(np.unpackbits(np.array(rle, np.uint8)))
            number, word = bits.take(32), bits.take(5) + 1
            widths = [bits.take(4) + 1 for _ in range(4)]
            if word == 8 and number == size[0] * size[1] * 4:
                data = np.frombuffer(bits.runs(widths, number), np.uint8)
                return np.asarray(data.reshape(size[1], size[0], 4)[:, :, 3] > 0, np.bool_)
    raise DataRefusedError(f"{where} has a brush that fills no picture")


class _Bits:
    """A stream of bits."""

    def __init__(self, bits: npt.NDArray[np.uint8]) -> None:
        self._bits = bits.tobytes().translate(bytes.maketrans(b"\0\1", b"01"))
        self._at = 0

    def take(self, width: int) -> int:
        """Return the next number of so many bits; ValueError behind the end."""
        self._at += width
        return int(self._bits[self._at - width : self._at].rjust(width, b"x"), 2)

    def runs(self, widths: list[int], number: int) -> bytes:
        """Return so many bytes."""
        out = bytearray()
        while len(out) < number:
            repeats, length = self.take(1), self.take(widths[self.take(2)]) + 1
            out += bytes([self.take(8)]) * length if repeats else bytes(self.take(8) for _ in range(length))
        return bytes(out[:number])
