"""What RFC 7946 asks of a file of areas, and what QuPath reads besides."""

from __future__ import annotations

import json
import math
import uuid

from geojson_pydantic import FeatureCollection, MultiPolygon, Polygon
from shapely.geometry import LinearRing


def rings_of_geojson(text: bytes) -> int:
    """Check a collection, and return how many rings it has.

    Its members and their kinds, rings closed and of four points or more: geojson-pydantic. Right-handed:
    shapely. The numbers are those of the file, whose y points down on the screen.
    """
    collection = json.loads(text)
    FeatureCollection.model_validate(collection)
    count = 0
    for feature in collection["features"]:
        # A nucleus is QuPath's own member, and a geometry like any other.
        for name in ("geometry", "nucleusGeometry"):
            if name in feature:
                count += _rings(feature[name])
    return count


def _rings(geometry: dict[str, object]) -> int:
    if geometry["type"] == "Polygon":
        polygons = [Polygon.model_validate(geometry).coordinates]
    else:
        polygons = MultiPolygon.model_validate(geometry).coordinates
    for outer, *holes in polygons:
        assert LinearRing(outer).is_ccw
        assert not any(LinearRing(hole).is_ccw for hole in holes)
    return sum(map(len, polygons))


def check_for_qupath(text: bytes) -> int:
    """Check what QuPath's import reads of each feature, and return how many there are.

    By QuPath's guide and the source of its reader (``QuPathTypeAdapters``): an identity that is a UUID, a
    type it knows, a class with its colour, measurements that are numbers, metadata that are text. What is
    not so it drops in silence, or fails on.
    """
    features = json.loads(text)["features"]
    for feature in features:
        properties = feature["properties"]
        assert str(uuid.UUID(feature["id"])) == feature["id"]
        # Its `cell` alone has a nucleus; a cell without one would be shown as if it had lost it.
        assert properties["objectType"] == ("cell" if "nucleusGeometry" in feature else "annotation")
        assert isinstance(properties["name"], str)
        assert properties["isLocked"] is False
        classification = properties["classification"]
        assert classification.keys() == {"name", "color"}
        # Text behind a colon would make a class derived from another.
        assert classification["name"] not in ("", None)
        assert ":" not in classification["name"]
        assert len(classification["color"]) == 3
        assert all(type(part) is int and 0 <= part <= 255 for part in classification["color"])
        for name, number in properties["measurements"].items():
            assert type(number) in (int, float), name
            assert math.isfinite(number), name
        assert all(isinstance(word, str) for word in properties["metadata"].values())
    assert len({feature["id"] for feature in features}) == len(features)
    return len(features)
