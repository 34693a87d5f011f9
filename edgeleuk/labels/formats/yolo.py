"""YOLO's folders: ``data.yaml``, ``images``, and in ``labels`` a text for each picture.

A line is a class and an outline, ``0 x1 y1 x2 y2 ...``, or of others a box, ``0 x y width height`` about its
middle; all in parts of the picture's sides. Source: https://docs.ultralytics.com/datasets/segment/. There is
room for one outline a line: the parts and holes of a cell are joined to one by lines there and back.
"""

from __future__ import annotations

import itertools
import math
import re
from typing import TYPE_CHECKING

from edgeleuk.errors import DataRefusedError, UsageError
from edgeleuk.io.walking import files_under
from edgeleuk.labels.formats.cells import CATEGORIES, PICTURES
from edgeleuk.labels.formats.marks import Mark, checked_ring
from edgeleuk.labels.formats.outlines import one_ring

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from edgeleuk.labels.formats.cells import Outlined

DATA, LABELS = "data.yaml", "labels"
# So fine that a picture of 10,000 px finds its pixels' corners again.
_DIGITS = 8
# Beside the class: a box, and a box with its confidence.
_OF_A_BOX = (4, 5)
# Lists of classes: of data.yaml's own names, CVAT's and LabelImg's.
_LISTS = (DATA, "dataset.yaml", "obj.names", "classes.txt")
_ITEM = re.compile(r"\s*(-\s+|\d+\s*:)")
_LARGEST = 1 << 26
_NO_LABELS = {"classes.txt", "train.txt", "val.txt", "test.txt", "notes.txt"}


def write_yolo(folder: Path, cells: Iterable[Outlined]) -> None:
    """Write ``data.yaml`` and ``labels``."""
    numbers = {name: number for number, name in enumerate(CATEGORIES)}
    (folder / LABELS).mkdir()
    for cell in cells:
        ring = one_ring([ring for polygon in cell.polygons for ring in polygon]) if cell.polygons else []
        shares = [
            f"{at / side:.{_DIGITS}g}" for point in ring for at, side in zip(point, cell.size, strict=True)
        ]
        line = " ".join([str(numbers[cell.facts.category]), *shares]) + "\n"
        name = cell.facts.picture.rpartition(".")[0]
        (folder / LABELS / f"{name}.txt").write_text(line if ring else "", encoding="utf-8")
    names = "".join(f"  {number}: {name}\n" for name, number in numbers.items())
    text = f"path: .\ntrain: {PICTURES}\nval: {PICTURES}\nnames:\n{names}"
    (folder / DATA).write_text(text, encoding="utf-8")


def read_yolo(source: Path) -> list[Mark]:
    """Read all texts of labels under a folder, or under that of a ``data.yaml``.

    Raises
    ------
    UsageError, DataRefusedError
        No classes are listed, there are no labels, or a line is not sound.
    """
    root = source if source.is_dir() else source.parent
    names = class_names(_list_of_classes(source))
    marks = []
    for path in sorted(files_under(root, (".txt",), "give an existing folder")):
        if path.name in _NO_LABELS or (LABELS not in path.parts and not _is_of_numbers(path)):
            continue
        for number, line in enumerate(_text(path).splitlines(), start=1):
            if line.strip():
                where = f"line {number} of {path.name}"
                marks.append(_mark(path.relative_to(root), where, line.split(), names))
    return marks


def class_names(path: Path) -> dict[int, str]:
    """Read the names of classes: a line each, or ``names`` of a YAML file, as a list or by their numbers.

    Raises
    ------
    DataRefusedError
        There are none.
    """
    text = _text(path)
    if path.suffix not in (".yaml", ".yml"):
        names = dict(enumerate(line.strip() for line in text.splitlines() if line.strip()))
    else:
        names = _names_in_yaml(text)
    if not names:
        raise DataRefusedError(f"{path.name} lists no classes", allowed="names: and a class a line")
    return names


def _list_of_classes(source: Path) -> Path:
    if source.is_file():
        return source
    found = next((source / name for name in _LISTS if (source / name).is_file()), None)
    if found is None:
        raise UsageError(
            "the folder lists no classes",
            got=source,
            allowed=", ".join(_LISTS),
            cure="add a data.yaml with names",
        )
    return found


def _names_in_yaml(text: str) -> dict[int, str]:
    """Read ``names``, a list or by their numbers, in one line or many; of YAML no more than that."""
    match = re.search(r"^names[ \t]*:[ \t]*(.*)", text, re.MULTILINE | re.DOTALL)
    if match is None:
        return {}
    inline = re.match(r"[\[{](.*?)[\]}]", match[1], re.DOTALL)
    if inline is not None:
        items = re.findall(r"\s*((?:\d+\s*:\s*)?(?:'[^']*'|\"[^\"]*\"|[^,]+))", inline[1])
    else:
        lines = match[1].splitlines()[1:] if not match[1].startswith(("-", " ")) else match[1].splitlines()
        items = list(itertools.takewhile(_ITEM.match, (line for line in lines if line.strip())))
    names: dict[int, str] = {}
    for item in items:
        found = re.match(r"\s*(?:-\s+|(\d+)\s*:\s*)?(.*?)\s*$", item.partition(" #")[0], re.DOTALL)
        if found is not None and found[2]:
            names[len(names) if found[1] is None else int(found[1])] = found[2].strip("'\"")
    return names


def _mark(path: Path, where: str, numbers: list[str], names: dict[int, str]) -> Mark:
    """Read one line."""
    try:
        values = [float(number) for number in numbers[1:]]
        name = names.get(int(numbers[0]))
    except ValueError:
        raise DataRefusedError(
            f"{where} is no class with numbers", got=repr(" ".join(numbers)[:60])
        ) from None
    if name is None:
        raise DataRefusedError(
            f"{where} names a class that is not listed",
            got=numbers[0],
            allowed=", ".join(map(str, sorted(names))),
        )
    if not all(map(math.isfinite, values)) or len(values) < 4 or (len(values) > 5 and len(values) % 2):
        raise DataRefusedError(
            f"{where} has neither a box nor an outline",
            got=f"{len(values)} numbers behind the class",
            allowed="4, or 6 and more in pairs",
        )
    # The picture has the text's name, in `images` for `labels`.
    folders = [PICTURES if part == LABELS else part for part in path.parts[:-1]]
    mark = Mark(picture="/".join([*folders, path.stem]), where=where, word=name, is_relative=True)
    if len(values) in _OF_A_BOX:
        x, y, width, height = values[:4]
        return mark.with_box((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    return mark.with_polygons([[checked_ring(list(zip(values[::2], values[1::2], strict=True)), where)]])


def _is_of_numbers(path: Path) -> bool:
    """Whether a text beside pictures holds labels: its first line is of numbers alone."""
    first = _text(path).partition("\n")[0].split()
    return len(first) > _OF_A_BOX[0] and all(re.fullmatch(r"[-+.\deE]+", word) for word in first)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST:
            raise DataRefusedError(f"{path.name} is too large", allowed=f"{_LARGEST >> 20} MiB")
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path} cannot be read", got=error.strerror) from error
    except UnicodeDecodeError as error:
        raise DataRefusedError(f"{path.name} cannot be read", got="no text", allowed="UTF-8") from error
