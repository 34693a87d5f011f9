"""What was exported comes back as it was: cells, labels, slide, subject, and outlines."""

from __future__ import annotations

import json
import string
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from exchanged import AT, record_cells, round_cell, say
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeleuk.frames import CYTOPLASM, NUCLEUS
from edgeleuk.labels.contents import Statement
from edgeleuk.labels.file import open_labels
from edgeleuk.labels.formats.cells import CATEGORIES, read_index
from edgeleuk.labels.formats.exporting import WRITERS, export_folder
from edgeleuk.labels.formats.importing import Origins, import_marks
from edgeleuk.labels.formats.outlines import mask_of
from edgeleuk.labels.naming import Naming
from edgeleuk.labels.sessions import labels_beside, session_labels
from edgeleuk.labels.spool import Spool
from edgeleuk.results.kinds import LABELS
from edgeleuk.session.reviewed_series import open_for_review
from edgeleuk.session.reviews import Word

if TYPE_CHECKING:
    from edgeleuk.frames import Mask
    from edgeleuk.labels.importing import Imported

KINDS = sorted(WRITERS)
NOBODY_ELSE = Origins(Naming(), None, AT)


def imported(kind: str, source: Path, origins: Origins = NOBODY_ELSE, **options: Any) -> Imported:
    with Spool() as spool:
        return import_marks(kind, source, options.get("pictures"), origins, spool)


MASKS = st.lists(
    hnp.arrays(
        np.uint8,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=3, max_side=12),
        elements=st.sampled_from([0, CYTOPLASM, NUCLEUS]),
    ),
    min_size=1,
    max_size=3,
)
NAMES = st.text(st.sampled_from(string.ascii_letters + "äß 中-_./"), min_size=1, max_size=12).filter(
    str.strip
)
WORDS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(LABELS), st.sampled_from("AB")), min_size=1, max_size=5
)


def is_tight(mask: Mask) -> bool:
    """Whether a mask fills its box, as the masks of cells do."""
    inside = mask > 0
    return all(bool(side.any()) for side in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(masks=MASKS, words=WORDS, slide=NAMES, subject=st.none() | NAMES)
def test_nothing_is_lost(
    kind: str, masks: list[Mask], words: list[tuple[int, str, str]], slide: str, subject: str | None
) -> None:
    assume(all(map(is_tight, masks)))
    with tempfile.TemporaryDirectory() as folder:
        session, out = record_cells(Path(folder) / "night.db", masks), Path(folder) / "out"
        words = [word for word in words if word[0] < len(masks)]
        assume(words)
        say(session, *words, slide=slide, subject=subject)
        export_folder(session, kind, out)
        found = imported(kind, out)
        assert found.cells == open_labels(labels_beside(session)).cells
        facts = read_index(out / "cells.json")
        # So small a cell has lost nothing of its nucleus' outline, either.
        for cell in facts.values():
            mask = masks[cell.track]
            rings = [list(ring) for polygon in cell.nucleus for ring in polygon]
            np.testing.assert_array_equal(mask_of(rings, mask.shape), mask == NUCLEUS)


@pytest.mark.parametrize("kind", [*KINDS, "labels"])
def test_reviews_go_with_what_was_said_beside_the_session(kind: str, tmp_path: Path) -> None:
    session = record_cells(tmp_path / "night.db", [round_cell()] * 3)
    say(session, (0, "band", "A"))
    with open_for_review(session) as reviewed:
        reviewed.record([Word(0, "smudge", "B", "t1"), Word(1, "monocyte", "B", "t2")])
        reviewed.record([Word(2, "uncertain", "B", "t3")])
    assert export_folder(session, kind, tmp_path / "out").labelled == 2
    said = session_labels(session).cells
    if kind == "labels":
        assert open_labels(tmp_path / "out" / "night.labels").cells == said
    else:
        assert imported(kind, tmp_path / "out").cells == said
    assert sorted(word.by for cell in said for word in cell.statements) == ["A", "B", "B"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_person_changed_is_their_word(kind: str, tmp_path: Path) -> None:
    session = record_cells(tmp_path / "night.db", [round_cell()] * 3)
    say(session, (0, "band", "A"))
    export_folder(session, kind, tmp_path / "out")
    change(kind, tmp_path / "out", 0, "smudge")
    found = imported(kind, tmp_path / "out", Origins(Naming(), "B", AT))
    (cell,) = found.cells
    assert [(said.by, said.label) for said in cell.statements] == [("A", "band"), ("B", "smudge")]
    assert cell.slide == "S7"
    # Label Studio's file has no annotation of what nobody called anything.
    left_out = {} if kind == "label-studio" else {"only the machine called it something": 2}
    assert {reason: len(cells) for reason, cells in found.left_out.items()} == left_out


def change(kind: str, folder: Path, track: int, word: str) -> None:
    """Call a cell something else, as a person does in the program of the format."""
    if kind == "yolo":
        path = sorted((folder / "labels").iterdir())[track]
        _, _, rest = path.read_text().partition(" ")
        path.write_text(f"{CATEGORIES.index(word)} {rest}")
        return
    files = {"coco": "annotations.json", "label-studio": "tasks.json"}
    path = folder / files[kind] if kind in files else sorted((folder / "annotations").iterdir())[track]
    data = json.loads(path.read_bytes())
    if kind == "coco":
        data["annotations"][track]["category_id"] = CATEGORIES.index(word) + 1
    elif kind == "geojson":
        data["features"][0]["properties"]["classification"] = {"name": word, "color": [1, 2, 3]}
    else:
        data[track]["annotations"][0]["result"][0]["value"]["polygonlabels"] = [word]
    path.write_text(json.dumps(data))


def test_who_and_when_come_from_label_studio(tmp_path: Path) -> None:
    session = record_cells(tmp_path / "night.db", [round_cell()])
    export_folder(session, "label-studio", tmp_path / "out")
    path = tmp_path / "out" / "tasks.json"
    (task,) = json.loads(path.read_bytes())
    # As a person agrees with the machine: its prediction becomes the annotation.
    task["annotations"] = [
        {
            "result": task["predictions"][0]["result"],
            "completed_by": who,
            "created_at": "2026-05-01T10:00:00Z",
        }
        for who in ({"email": "reader@lab.example", "id": 4}, 7)
    ]
    path.write_text(json.dumps([task]))
    (cell,) = imported("label-studio", tmp_path / "out").cells
    assert {(said.by, said.label, said.at.isoformat()) for said in cell.statements} == {
        ("reader@lab.example", "blast", "2026-05-01T10:00:00+00:00"),
        ("Label Studio user 7", "blast", "2026-05-01T10:00:00+00:00"),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_an_outline_that_was_changed_is_another_cell_of_that_picture(kind: str, tmp_path: Path) -> None:
    session = record_cells(tmp_path / "night.db", [round_cell()])
    say(session, (0, "band", "A"))
    export_folder(session, kind, tmp_path / "out")
    index = tmp_path / "out" / "cells.json"
    data = json.loads(index.read_bytes())
    data["cells"][0]["identity"] = "0" * 64
    index.write_text(json.dumps(data))
    (cell,) = imported(kind, tmp_path / "out").cells
    (source,) = cell.sources
    assert msgspec.to_builtins(source)["from"] == "picture"
    assert cell.statements == (Statement(at=AT, by="A", label="band"),)
