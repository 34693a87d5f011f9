"""The cells of a session on its slide: outlines in pixels of the slide, as GeoJSON and as ROIs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgeleuk.labels.formats.cells import COLOURS, outlined_cells
from edgeleuk.slide.ome import Region
from edgeleuk.stage.resuming import field_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeleuk.labels.formats.cells import Outlined
    from edgeleuk.labels.formats.outlines import Polygon
    from edgeleuk.session.reader import SessionReader
    from edgeleuk.slide.placement import Placement


def cells_on_slide(reader: SessionReader, placement: Placement, shrink: int = 1) -> Iterator[Outlined]:
    """Yield the cells of a session with their outlines in pixels of the slide.

    Cells whose pixels were not recorded are left out, and those of fields that are not on the slide.

    Parameters
    ----------
    reader : SessionReader
    placement : Placement
    shrink : int
        How many pixels of a field are one of the slide in each direction.

    Raises
    ------
    SessionError
        A crop or outlines are damaged.
    """
    corners: dict[int | None, tuple[int, int]] = {
        placed.field.number: (placed.x, placed.y) for placed in placement.fields
    }
    sources = ((int(str(row["sequence"])), str(row["source"])) for row in reader.rows("frames"))
    numbers = {sequence: field_of(source) for sequence, source in sources}
    for cell in outlined_cells(reader, None):
        corner = corners.get(numbers.get(cell.facts.frame))
        if corner is None or not cell.polygons:
            continue
        # From pixels of the crop to those of its field, and on to those of the slide.
        x = corner[0] + cell.facts.box[0] - cell.box[0]
        y = corner[1] + cell.facts.box[1] - cell.box[1]
        left, top, width, height = cell.box
        yield replace(
            cell,
            box=((left + x) // shrink, (top + y) // shrink, -(-width // shrink), -(-height // shrink)),
            polygons=_moved(cell.polygons, (x, y), shrink),
            nucleus=_moved(cell.nucleus, (x, y), shrink),
        )


def region_of(cell: Outlined) -> Region:
    """Return a cell as an ROI: the outer ring of each part."""
    facts = cell.facts
    return Region(
        f"cell {facts.track}",
        facts.category,
        COLOURS[facts.category],
        [polygon[0] for polygon in cell.polygons],
        [polygon[0] for polygon in cell.nucleus],
    )


def _moved(polygons: list[Polygon], way: tuple[int, int], shrink: int) -> list[Polygon]:
    return [
        [[((x + way[0]) / shrink, (y + way[1]) / shrink) for x, y in ring] for ring in polygon]
        for polygon in polygons
    ]
