"""Sessions whose names are no UTF-8, as a disk of another system may have them."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import msgspec
import pytest
from exchanged import record_cells, round_cell, say

from edgeleuk.labels.formats.cells import outlined_cells, words_of
from edgeleuk.labels.formats.geojson import feature_of
from edgeleuk.labels.sessions import session_words
from edgeleuk.session import read_session

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("name", "told"), [(b"s\xff.db", r"s\xff.db"), ("ö & <.db".encode(), "ö & <.db")])
def test_they_are_labelled_and_exported(tmp_path: Path, name: bytes, told: str) -> None:
    session = record_cells(tmp_path / os.fsdecode(name), [round_cell(), round_cell()])
    with read_session(session) as reader:
        unlabelled = list(outlined_cells(reader, None))
    assert {cell.facts.slide for cell in unlabelled} == {told.removesuffix(".db")}
    say(session, (1, "blast", "A"))
    [(number, entry)] = words_of(session).items()
    assert (number, entry.slide, entry.sources[0].session) == (1, "S7", told)
    assert [one.identity for one in session_words(session).cells] == [entry.identity]
    with read_session(session) as reader:
        cells = [json.loads(msgspec.json.encode(feature_of(cell))) for cell in outlined_cells(reader, None)]
    assert [cell["properties"]["metadata"]["session"] for cell in cells] == [told, told]
    assert cells[1]["properties"]["classification"]["name"] == "blast"
