"""The slide's OME-XML: pixel size, channels, objective, where the stage was in each field, and the cells.

Schema: https://www.openmicroscopy.org/Schemas/OME/2016-06/ome.xsd.
"""

from __future__ import annotations

import json
import re
import uuid
from typing import TYPE_CHECKING, NamedTuple
from xml.sax.saxutils import escape, quoteattr

import cv2
import numpy as np

from edgeleuk.errors import UsageError
from edgeleuk.version import RESEARCH_USE, __version__
from edgeleuk.vision.extended_focus import MAP_PX

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgeleuk.slide.placement import Placement
    from edgeleuk.stage.stacking import FocusStack

NAMESPACE = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
HEIGHTS = "Height of the stage, in micrometres, at which each place is sharpest; NaN where nothing tells."
FIELDS_NAMESPACE = "edgeleuk.fields"
_OBJECTIVE = re.compile(r"(\d{1,3}(?:\.\d{1,2})?)x?(?:/([01]?\.\d{1,3}|1))?", re.IGNORECASE)
# An outline of fewer points leaves that of the cell by at most so many pixels.
_SIMPLER_PX = 0.8
# The sign itself, as no ``&#181;`` may stand in the text: Bio-Formats, by which QuPath, Fiji and OMERO read,
# takes such a reference for damage, and then sees a TIFF without OME-XML and without its pyramid.
_MICROMETRE = "\u00b5m"
# What XML cannot hold, or an attribute only as such a reference.
_NOT_PLAIN = re.compile("[^\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NUCLEUS = "nucleus"
_NUCLEUS_COLOUR = (75, 0, 130)


class Objective(NamedTuple):
    """Magnification, and numerical aperture where it is told."""

    magnification: float
    aperture: float | None


class Region(NamedTuple):
    """A cell as an ROI: its name and class, the class's colour, and the rings of cell and nucleus in px."""

    name: str
    category: str
    colour: tuple[int, int, int]
    cell: list[list[tuple[float, float]]]
    nucleus: list[list[tuple[float, float]]]


class SlideFacts(NamedTuple):
    """What the file says of the slide beside its pixels.

    Attributes
    ----------
    name : str
    size : (W, H)
        Of the pixels in the file.
    px_per_um : float
        Of these.
    shrink : int
        How many pixels of a field are one of the file in each direction.
    stage_um : (x, y)
        Where the stage would show the slide's upper left corner in the middle of a field.
    objective : Objective or None
    light : str
        How the lamp's light was taken out.
    simulated : bool
    stack : FocusStack or None
        That was taken of each field.
    heights : (W, H) or None
        Of the map, where the stack was joined by extended focus.
    """

    name: str
    size: tuple[int, int]
    px_per_um: float
    shrink: int
    stage_um: tuple[float, float]
    objective: Objective | None
    light: str
    simulated: bool
    stack: FocusStack | None = None
    heights: tuple[int, int] | None = None

    @property
    def planes(self) -> int:
        """Planes in the file."""
        return 1 if self.stack is None or self.heights is not None else self.stack.planes


def parse_objective(text: str) -> Objective:
    """Read ``40x/0.65``, or ``40x`` alone.

    Examples
    --------
    >>> parse_objective("40x/0.65")
    Objective(magnification=40.0, aperture=0.65)

    Raises
    ------
    UsageError
    """
    found = _OBJECTIVE.fullmatch(text.strip())
    if found is None or float(found[1]) == 0:
        raise UsageError("the objective cannot be read", got=text, allowed="40x/0.65, or 40x")
    return Objective(float(found[1]), float(found[2]) if found[2] else None)


def ome_xml(facts: SlideFacts, placement: Placement, rois: Sequence[str]) -> str:
    """Write the description of a slide; see `SlideFacts`, and `roi_xml` for its ROIs in their order."""
    return "".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>',
            f'<OME xmlns="{NAMESPACE}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"',
            f' xsi:schemaLocation="{NAMESPACE} {NAMESPACE}/ome.xsd" UUID="urn:uuid:{uuid.uuid4()}"',
            f' Creator="edgeleuk {__version__}">',
            *_instrument(facts.objective),
            f'<Image ID="Image:0" Name={_attribute(facts.name)}>',
            f"<Description>{escape(description_of(facts))}</Description>",
            *_objective_settings(facts.objective),
            *_pixels(facts),
            *(f'<ROIRef ID="ROI:{number}"/>' for number in range(len(rois))),
            '<AnnotationRef ID="Annotation:0"/></Image>',
            *_height_image(facts),
            "<StructuredAnnotations>",
            f'<XMLAnnotation ID="Annotation:0" Namespace="{FIELDS_NAMESPACE}"><Value>',
            *_fields(placement, facts.shrink),
            "</Value></XMLAnnotation></StructuredAnnotations>",
            *rois,
            "</OME>",
        ]
    )


def description_of(facts: SlideFacts) -> str:
    """Return what a reader must know of a slide, in sentences."""
    parts = [f"{RESEARCH_USE} Light: {facts.light}."]
    if facts.stack is not None:
        planes = (
            f"{facts.stack.planes} planes, {facts.stack.step_um:g} um apart, around the focus of each field"
        )
        parts.append(
            f"{planes}, the lowest first." if facts.heights is None else f"Extended focus of {planes}."
        )
    if facts.simulated:
        parts.insert(0, "SIMULATED: drawn, not photographed.")
    if facts.shrink > 1:
        parts.append(f"Written at 1/{facts.shrink} of the resolution, as the disk was full.")
    return " ".join(parts)


def _instrument(objective: Objective | None) -> Iterator[str]:
    if objective is None:
        return
    aperture = "" if objective.aperture is None else f' LensNA="{objective.aperture:g}"'
    yield '<Instrument ID="Instrument:0"><Objective ID="Objective:0:0"'
    yield f' NominalMagnification="{objective.magnification:g}"{aperture}/></Instrument>'


def _objective_settings(objective: Objective | None) -> Iterator[str]:
    if objective is not None:
        yield '<InstrumentRef ID="Instrument:0"/><ObjectiveSettings ID="Objective:0:0"/>'


def _pixels(facts: SlideFacts) -> Iterator[str]:
    width, height = facts.size
    um = f"{1 / facts.px_per_um:.9f}"
    x, y = facts.stage_um
    yield '<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SignificantBits="8" Interleaved="true"'
    yield f' SizeX="{width}" SizeY="{height}" SizeC="3" SizeZ="{facts.planes}" SizeT="1"'
    yield f' PhysicalSizeX="{um}" PhysicalSizeXUnit="{_MICROMETRE}"'
    yield f' PhysicalSizeY="{um}" PhysicalSizeYUnit="{_MICROMETRE}"'
    if facts.stack is not None and facts.planes > 1:
        yield f' PhysicalSizeZ="{facts.stack.step_um:g}" PhysicalSizeZUnit="{_MICROMETRE}"'
    yield ">"
    yield '<Channel ID="Channel:0:0" Name="RGB" SamplesPerPixel="3" IlluminationType="Transmitted"'
    yield f' AcquisitionMode="BrightField"/><TiffData IFD="0" PlaneCount="{facts.planes}"/>'
    for plane in range(facts.planes):
        yield f'<Plane TheZ="{plane}" TheT="0" TheC="0" PositionX="{x:.3f}" PositionXUnit="{_MICROMETRE}"'
        yield f' PositionY="{y:.3f}" PositionYUnit="{_MICROMETRE}"/>'
    yield "</Pixels>"


def _height_image(facts: SlideFacts) -> Iterator[str]:
    """Describe the map of heights, which is the file's second image."""
    if facts.heights is None:
        return
    width, height = facts.heights
    um = f"{MAP_PX / facts.shrink / facts.px_per_um:.9f}"
    yield f'<Image ID="Image:1" Name="heights"><Description>{HEIGHTS}</Description>'
    yield '<Pixels ID="Pixels:1" DimensionOrder="XYCZT" Type="float" BigEndian="false"'
    yield f' SizeX="{width}" SizeY="{height}" SizeC="1" SizeZ="1" SizeT="1"'
    yield f' PhysicalSizeX="{um}" PhysicalSizeXUnit="{_MICROMETRE}"'
    yield f' PhysicalSizeY="{um}" PhysicalSizeYUnit="{_MICROMETRE}">'
    yield '<Channel ID="Channel:1:0" Name="height" SamplesPerPixel="1"/>'
    yield '<TiffData IFD="1" PlaneCount="1"/></Pixels></Image>'


def field_facts(placement: Placement, shrink: int) -> Iterator[dict[str, str | float]]:
    """Tell where the stage was in each field, where it lies in the file, and what is wrong with it.

    Parameters
    ----------
    placement : Placement
    shrink : int
        How many pixels of a field are one of the file in each direction.
    """
    for placed in placement.fields:
        place = placed.field
        facts: dict[str, str | float] = {
            "Number": place.number,
            "Row": place.row,
            "Column": place.column,
            "StageX_um": round(place.x_um, 3),
            "StageY_um": round(place.y_um, 3),
            "X": placed.x / shrink,
            "Y": placed.y / shrink,
            "PlacedBy": "registration" if placed.is_registered else "stage",
        }
        if placed.has_lost_steps:
            x, y = placed.lost_um
            facts |= {"LostSteps": True, "LostX_um": round(x, 1), "LostY_um": round(y, 1)}
        yield facts


def _fields(placement: Placement, shrink: int) -> Iterator[str]:
    # Another namespace than OME's: what it holds is ours.
    yield '<Fields xmlns="urn:edgeleuk:fields">'
    for facts in field_facts(placement, shrink):
        words = (
            f'{key}="{fact if isinstance(fact, str) else json.dumps(fact)}"' for key, fact in facts.items()
        )
        yield f"<Field {' '.join(words)}/>"
    yield "</Fields>"


def roi_xml(number: int, region: Region) -> str:
    """Write a cell as the ROI of that number."""
    rings = [(ring, region.category, region.colour) for ring in region.cell]
    rings += [(ring, _NUCLEUS, _NUCLEUS_COLOUR) for ring in region.nucleus]
    shapes = []
    for part, (ring, text, colour) in enumerate(rings):
        points = " ".join(f"{x:.2f},{y:.2f}" for x, y in _simpler(ring))
        shapes.append(
            f'<Polygon ID="Shape:{number}:{part}" Text={_attribute(text)} StrokeColor="{_rgba(colour)}"'
            f' Points="{points}"/>'
        )
    return f'<ROI ID="ROI:{number}" Name={_attribute(region.name)}><Union>{"".join(shapes)}</Union></ROI>'


def _attribute(text: str) -> str:
    """Quote any text, such as a file's name; a character that cannot stand there becomes U+FFFD."""
    return quoteattr(_NOT_PLAIN.sub("\ufffd", text))


def _simpler(ring: list[tuple[float, float]]) -> list[tuple[float, float]]:
    points = np.array(ring, np.float32)[:, None]
    found = cv2.approxPolyDP(points, _SIMPLER_PX, closed=True)[:, 0].tolist()
    return [(x, y) for x, y in found] if len(found) > 2 else ring


def _rgba(colour: tuple[int, int, int]) -> int:
    """Return a colour as OME has it: a signed number of 32 bits, red first, opaque."""
    red, green, blue = colour
    number = red << 24 | green << 16 | blue << 8 | 255
    return number - (1 << 32) if number >= 1 << 31 else number
