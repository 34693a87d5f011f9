from __future__ import annotations

from xml.etree import ElementTree as ET

import ome_types
from hypothesis import given
from hypothesis import strategies as st

from edgeleuk.slide.ome import Region, SlideFacts, ome_xml, roi_xml
from edgeleuk.slide.placement import Placed, Placement
from edgeleuk.stage.base import ScanField

FIELD = Placed(ScanField(0, 0, 0, 1.0, 2.0), 0, 0, is_registered=True)
PLACEMENT = Placement((FIELD,), 30, 20, 0, 0, 0, 0.0, 13.0)
SQUARE = [(0.0, 0.0), (9.0, 0.0), (9.0, 9.0), (0.0, 9.0)]
# Of a file's name: also what XML has no word for, and bytes that are no UTF-8, as Python holds them.
NAMES = st.text(st.characters() | st.sampled_from("\t\n\x00\udcff\ufffe&<>\"'#;µ"), max_size=12)


def xml_of(name: str, word: str = "blast") -> str:
    facts = SlideFacts(name, (30, 20), 13.0, 1, (0.0, 0.0), None, "as it came", simulated=False)
    region = Region(f"cell 1 {name}", word, (1, 2, 3), [SQUARE], [])
    return ome_xml(facts, PLACEMENT, [roi_xml(0, region)])


@given(name=NAMES)
def test_any_name_gives_xml_that_holds_it(name: str) -> None:
    text = xml_of(name, name)
    [image] = ET.fromstring(text.encode()).findall("{*}Image")
    held = image.get("Name")
    assert len(held) == len(name)
    assert all(one in (other, "\ufffd") for one, other in zip(held, name, strict=True))
    assert ome_types.from_xml(text).rois[0].union[0].text == held


@given(name=NAMES)
def test_no_reference_by_number_stands_in_it(name: str) -> None:
    """Bio-Formats blanks them, and then takes the file for a TIFF without OME-XML."""
    assert "&#" not in xml_of(name)


def test_a_name_that_xml_can_hold_is_kept() -> None:
    name = "Größe 1 & 2 <\"µ\"> '漢字' 😀"
    assert ome_types.from_xml(xml_of(name)).images[0].name == name
