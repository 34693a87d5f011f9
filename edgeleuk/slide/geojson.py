"""The cells on a slide as one GeoJSON file, as QuPath reads it for a picture."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

import msgspec

from edgeleuk.labels.formats.geojson import feature_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeleuk.labels.formats.cells import Outlined


def write_cells(file: IO[bytes], cells: Iterable[Outlined]) -> int:
    """Write cells as they come, and return how many there are.

    Raises
    ------
    OSError
        They cannot be written.
    """
    count = 0
    file.write(b'{"type":"FeatureCollection","features":[')
    for cell in cells:
        file.write(b",\n" if count else b"\n")
        file.write(msgspec.json.encode(feature_of(cell)))
        count += 1
    file.write(b"\n]}\n")
    return count
