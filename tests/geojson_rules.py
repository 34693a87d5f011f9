"""What RFC 7946 asks of a file of areas, beside what QuPath adds to it."""

from __future__ import annotations

import json

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
