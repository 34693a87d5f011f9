"""Files with anything in any place: read, or refused in a sentence, and never worse."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from exchanged import AT, record_cells, round_cell, say
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeleuk.errors import EdgeleukError
from edgeleuk.labels.formats.exporting import export_folder
from edgeleuk.labels.formats.importing import Origins, import_marks
from edgeleuk.labels.naming import Naming
from edgeleuk.labels.spool import Spool

FILES = {
    "coco": "annotations.json",
    "geojson": "annotations/night-000000.geojson",
    "label-studio": "tasks.json",
    "cells": "cells.json",
}
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(
        [10**400, -1, 0, 1e308, "", "band", "../x.png", "rectanglelabels", "brushlabels", "choices"]
    )
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Export one labelled cell in each format."""
    place = tmp_path_factory.mktemp("formats")
    session = record_cells(place / "night.db", [round_cell(12, 9)])
    say(session, (0, "band", "A"))
    for kind in ("coco", "geojson", "label-studio"):
        export_folder(session, kind, place / kind)
    return {"cells": place / "coco"} | {kind: place / kind for kind in ("coco", "geojson", "label-studio")}


def places(value: Any) -> list[tuple[Any, Any]]:
    """List every place in a document: the holder, and the key or number in it."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place for key in keys for place in [(value, key), *places(value[key])]]


@pytest.mark.parametrize("kind", FILES)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(number=st.integers(0, 10**6), value=ANYTHING, is_removed=st.booleans())
def test_anything_in_any_place(
    folders: dict[str, Path], kind: str, *, number: int, value: object, is_removed: bool
) -> None:
    source = folders[kind]
    document = json.loads((source / FILES[kind]).read_bytes())
    # Deep places are many: of every four, three are taken from the first ones.
    every = places(document)
    holder, key = every[number % (len(every) if number % 4 == 0 else min(len(every), 60))]
    if is_removed and isinstance(holder, dict):
        del holder[key]
    else:
        holder[key] = value
    with tempfile.TemporaryDirectory() as folder:
        altered = Path(folder)
        for name in {FILES[kind], "cells.json"} | ({"annotations.json"} if kind == "cells" else set()):
            (altered / name).parent.mkdir(exist_ok=True)
            (altered / name).write_bytes((source / name).read_bytes())
        (altered / "images").symlink_to(source / "images")
        (altered / FILES[kind]).write_text(json.dumps(document))
        read = "coco" if kind == "cells" else kind
        try:
            with Spool() as spool:
                found = import_marks(read, altered, None, Origins(Naming({}, "S"), "B", AT, 9.5), spool)
        except EdgeleukError as error:
            assert "\n" not in str(error)  # noqa: PT017 - either is right
        else:
            assert found.cells


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    text=st.text(st.sampled_from("0123456789.e- \n\tnaif[]{}:,'\"names"), max_size=60), is_yaml=st.booleans()
)
def test_any_text_of_yolo(text: str, *, is_yaml: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "labels").mkdir()
        (folder / "data.yaml").write_text(text if is_yaml else "names: [a, b]\n")
        (folder / "labels" / "x.txt").write_text("0 0.5 0.5 0.1 0.1" if is_yaml else text)
        with Spool() as spool, pytest.raises(EdgeleukError) as caught:
            import_marks("yolo", folder, None, Origins(Naming({}, "S"), "B", AT, 9.5), spool)
        assert "\n" not in str(caught.value)
