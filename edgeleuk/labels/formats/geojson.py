"""QuPath's GeoJSON: for each picture a file of its name, in px of the picture.

Source: https://qupath.readthedocs.io/en/stable/docs/advanced/exporting_annotations.html. A cell with a
nucleus is QuPath's ``cell``, whose ``nucleusGeometry`` stands beside its geometry.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from edgeleuk.errors import DataRefusedError
from edgeleuk.io.walking import files_under
from edgeleuk.labels.formats.cells import COLOURS
from edgeleuk.labels.formats.json_files import read_json
from edgeleuk.labels.formats.marks import NO_AREA, Mark, ring_of_points

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from edgeleuk.labels.formats.cells import Outlined
    from edgeleuk.labels.formats.outlines import Polygon

FOLDER, SUFFIX = "annotations", ".geojson"
_AREAS = ("Polygon", "MultiPolygon")


class _Geometry(msgspec.Struct):
    type: str
    coordinates: Any = None


class _Feature(msgspec.Struct):
    geometry: _Geometry | None = None
    properties: dict[str, Any] | None = None
    id: Any = None


class _Collection(msgspec.Struct, tag_field="type", tag="FeatureCollection"):
    features: list[_Feature]


class _One(_Feature, tag_field="type", tag="Feature"):
    """A file that is one feature."""


def write_geojson(folder: Path, cells: Iterable[Outlined]) -> None:
    """Write a file for each picture into ``annotations``."""
    (folder / FOLDER).mkdir()
    for cell in cells:
        features = [feature_of(cell)] if cell.polygons else []
        data = msgspec.json.encode({"type": "FeatureCollection", "features": features})
        (folder / FOLDER / (cell.facts.picture.rpartition(".")[0] + SUFFIX)).write_bytes(data)


def feature_of(cell: Outlined) -> dict[str, Any]:
    """Return a cell that has an outline as QuPath has it, in the pixels of its outline."""
    facts = cell.facts
    names = {name: value for name, value in facts.plain.items() if isinstance(value, str)}
    numbers = {"area px": cell.area_px} | {
        name: value for name, value in facts.plain.items() if not isinstance(value, str)
    }
    feature = {
        "type": "Feature",
        # The same cell of the same session has the same number wherever it is exported.
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{facts.identity}/{facts.picture}")),
        "geometry": _geometry(cell.polygons),
        "properties": {
            "objectType": "cell" if cell.nucleus else "annotation",
            "name": f"cell {facts.track}",
            "classification": {"name": facts.category, "color": COLOURS[facts.category]},
            "isLocked": False,
            "measurements": numbers,
            "metadata": names,
        },
    }
    if cell.nucleus:
        feature["nucleusGeometry"] = _geometry(cell.nucleus)
    return feature


def read_geojson(source: Path) -> list[Mark]:
    """Read one file of QuPath's, or all under a folder; each is about the picture of its name.

    Raises
    ------
    UsageError, DataRefusedError
        There is none, one is no GeoJSON, or an outline is not sound.
    """
    paths = sorted(files_under(source, (SUFFIX, ".json"))) if source.is_dir() else [source]
    if source.is_dir():
        paths = [path for path in paths if path.suffix == SUFFIX] or paths
    marks = []
    for path in paths:
        for number, feature in enumerate(_features(path), start=1):
            where = f"feature {number} of {path.name}"
            mark = Mark(picture=_picture(path), where=where, word=_class_name(feature.properties or {}))
            geometry = feature.geometry
            # Points and lines outline no cell.
            if geometry is None or geometry.type not in _AREAS:
                marks.append(replace(mark, fault=NO_AREA))
            else:
                marks.append(mark.with_polygons(_polygons(geometry, where)))
    return marks


def _features(path: Path) -> list[_Feature]:
    found: Any = read_json(path, _Collection | _One | list[_Feature], "GeoJSON of features")  # type: ignore[arg-type]
    if isinstance(found, _Collection):
        return found.features
    return found if isinstance(found, list) else [found]


def _picture(path: Path) -> str:
    """Return the name of the picture that a file is about; QuPath may keep its ending."""
    return path.name.removesuffix(path.suffix)


def _class_name(properties: dict[str, Any]) -> str | None:
    """Return the class of a feature; of a derived one, such as ``Tumor: Positive``, all of its names."""
    found = properties.get("classification")
    name = found.get("name") if isinstance(found, dict) else found
    if name is None and isinstance(found, dict) and isinstance(found.get("names"), list):
        name = ": ".join(map(str, found["names"]))
    return name if isinstance(name, str) and name.strip() else None


def _geometry(polygons: list[Polygon]) -> dict[str, Any]:
    """Return polygons as GeoJSON has them: closed, of one a Polygon."""
    closed = [[[*ring, ring[0]] for ring in polygon] for polygon in polygons]
    if len(closed) == 1:
        return {"type": "Polygon", "coordinates": closed[0]}
    return {"type": "MultiPolygon", "coordinates": closed}


def _polygons(geometry: _Geometry, where: str) -> list[Polygon]:
    every = [geometry.coordinates] if geometry.type == "Polygon" else geometry.coordinates
    if (
        not isinstance(every, list)
        or not all(isinstance(polygon, list) and polygon for polygon in every)
        or not every
    ):
        raise DataRefusedError(f"{where} has a {geometry.type} without rings")
    return [[ring_of_points(ring, where) for ring in polygon] for polygon in every]
