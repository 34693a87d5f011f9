from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import edgeleuk
from edgeleuk.api.inputs import pictures_of
from edgeleuk.capture import open_source
from edgeleuk.errors import DataRefusedError, MissingDependencyError, SessionError, UsageError
from edgeleuk.frames import CellCrop
from edgeleuk.io.images import write_png
from edgeleuk.session import read_session

if TYPE_CHECKING:
    from pathlib import Path

CAMERA = "virtual://?seed=1&frames=2"
SCALE = 13.0


@pytest.fixture(scope="module")
def field() -> np.ndarray:
    with open_source(CAMERA) as source:
        for event in source.frames():
            return event.pixels
    raise AssertionError


@pytest.fixture(scope="module")
def picture(field: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "field <1>.png"
    write_png(path, field)
    return path


@pytest.fixture(scope="module")
def result(picture: Path) -> edgeleuk.ImageResult:
    return edgeleuk.classify(picture, px_per_um=SCALE, runtime="litert")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sessions") / "night.db"
    list(edgeleuk.watch(CAMERA, session=path, px_per_um=SCALE, runtime="litert"))
    return path


def command_line(*words: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "edgeleuk", *words, "--json"], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_the_root_is_light() -> None:
    code = (
        "import sys, edgeleuk; assert set(edgeleuk.__all__) <= set(dir(edgeleuk));"
        "print(*(name for name in sys.modules if name.split('.')[0] in"
        " {'numpy', 'cv2', 'msgspec', 'av', 'ai_edge_litert'} or name.startswith('edgeleuk.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["edgeleuk.version"]


@pytest.mark.parametrize("name", edgeleuk.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(edgeleuk, name)
    assert isinstance(value, str) or value.__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'classfy'"):
        _ = edgeleuk.classfy


def test_a_picture_has_the_numbers_of_the_command_line(picture: Path, result: edgeleuk.ImageResult) -> None:
    printed = command_line("classify", str(picture), "--px-per-um", str(SCALE), "--runtime", "litert")
    assert result.cells
    assert json.loads(json.dumps([result.to_json()])) == printed["files"]
    assert result.counts.to_json() == printed["cells"]


def test_a_real_field_has_the_numbers_of_the_command_line(edgeleuk_data: Path) -> None:
    file = edgeleuk_data / "fields_bccd" / "BloodImage_00000.jpg"
    for scale in ((), ("--px-per-um", "10")):
        printed = command_line("classify", str(file), "--runtime", "litert", *scale)
        found = edgeleuk.classify(file, px_per_um=10.0 if scale else None, runtime="litert")
        assert [json.loads(json.dumps(found.to_json()))] == printed["files"]
        assert found.cells


def test_array_file_list_and_folder_give_the_same(
    field: np.ndarray, picture: Path, result: edgeleuk.ImageResult
) -> None:
    given = [picture, str(picture), field]
    listed = edgeleuk.classify(given, px_per_um=SCALE, runtime="litert")
    (of_folder,) = edgeleuk.classify(picture.parent, px_per_um=SCALE, runtime="litert")
    assert [of.file for of in listed] == [str(picture), str(picture), "array 2"]
    for of in (*listed, of_folder):
        assert [cell.row() for cell in of.cells] == [cell.row() for cell in result.cells]


def test_contours_lie_on_their_boxes(result: edgeleuk.ImageResult) -> None:
    for cell in result.cells:
        low, high = cell.contour.min(axis=0), cell.contour.max(axis=0)
        assert tuple(low) == (cell.box.x, cell.box.y)
        assert tuple(high) == (cell.box.x + cell.box.w - 1, cell.box.y + cell.box.h - 1)


def test_html_escapes_names_and_shows_the_counts(result: edgeleuk.ImageResult) -> None:
    page = result._repr_html_()
    assert "field &lt;1&gt;.png" in page
    assert "<1>" not in page
    assert f"<tr><th>uncertain</th><td>{result.counts.uncertain}</td></tr>" in page


def test_a_rejected_picture_says_why() -> None:
    found = edgeleuk.classify(np.full((480, 640, 3), 180, np.uint8), runtime="litert")
    assert (found.rejected, found.cells) == ("monochrome picture", ())
    assert "not judged" in found._repr_html_()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (np.zeros((4, 4), np.uint8), r"shape \(4, 4\) of uint8"),
        (np.zeros((4, 4, 3), np.float32), r"of float32"),
        (np.zeros((4, 4, 4), np.uint8), r"convert grey or BGR"),
        ([np.zeros((4, 4), np.uint8)], r"shape \(4, 4\)"),
        (7, "got int"),
        ([7], "got int"),
        ("nothing.png", "no such file"),
    ],
)
def test_what_is_no_picture_is_refused(given: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        pictures_of(given)


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataRefusedError, match="no pictures in"):
        pictures_of(tmp_path)


def test_segment_finds_the_cells_that_classify_judges(
    field: np.ndarray, result: edgeleuk.ImageResult
) -> None:
    found = edgeleuk.segment(field, px_per_um=SCALE)
    assert [cell.box for cell in found.cells] == [cell.box for cell in result.cells]
    assert found.mask.shape == field.shape[:2]
    assert np.count_nonzero(found.mask) == sum(cell.area_px for cell in found.cells)


@pytest.mark.parametrize(("method", "package"), [("plot", "matplotlib"), ("to_pandas", "pandas")])
def test_a_missing_library_is_named(
    result: edgeleuk.ImageResult, monkeypatch: pytest.MonkeyPatch, method: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(MissingDependencyError, match=f"pip install {package}"):
        getattr(result, method)()


def test_plot_draws_on_the_axes_that_are_given(result: edgeleuk.ImageResult) -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure()
    axes = figure.subplots()
    assert result.plot(axes) is axes
    assert axes.images[0].get_array().shape == result.annotated().shape


def test_pandas_has_a_row_for_each_cell(result: edgeleuk.ImageResult) -> None:
    table = result.to_pandas()
    assert list(table["label"]) == [cell.label for cell in result.cells]
    assert [value for value in table["probability"] if value == value] == [  # noqa: PLR0124 - NaN
        cell.probability for cell in result.cells if cell.probability is not None
    ]


@pytest.mark.parametrize("table", ["cells", "frames", "events"])
def test_pandas_has_a_row_for_each_row_of_a_session(recorded: Path, table: str) -> None:
    with edgeleuk.open_session(recorded) as session:
        rows = getattr(session, table)
        found = session.to_pandas(table)
    assert len(found) == len(rows)
    assert list(found.columns) == list(rows[0]) if rows else "id" in found.columns
    if table == "cells":
        assert list(found["decision"]) == [row["decision"] for row in rows]
        assert rows


def test_a_table_without_rows_has_its_columns(result: edgeleuk.ImageResult) -> None:
    blank = edgeleuk.classify(np.full((480, 640, 3), 180, np.uint8), runtime="litert").to_pandas()
    assert len(blank) == 0
    assert list(blank.columns) == list(result.to_pandas().columns)


def test_pandas_has_a_row_for_each_cell_of_a_frame() -> None:
    (frame,) = edgeleuk.watch("virtual://?seed=1&frames=1", px_per_um=SCALE, runtime="litert")
    table = frame.to_pandas()
    assert table.to_dict("records")[0] == frame.to_json()["cells"][0]
    assert len(table) == len(frame.cells)
    assert list(table.columns) == list(frame.to_json()["cells"][0])


def test_the_door_is_quiet_and_its_notes_are_logged(picture: Path) -> None:
    """A process of its own, because LiteRT says its notice once in each."""
    code = (
        "import logging, sys, edgeleuk\n"
        f"edgeleuk.classify({str(picture)!r}, px_per_um={SCALE}, runtime='litert')\n"
        "logging.basicConfig(level=logging.INFO, stream=sys.stdout)\n"
        f"edgeleuk.classify({str(picture)!r}, px_per_um={SCALE})\n"
        f"list(edgeleuk.watch({CAMERA!r}, px_per_um={SCALE}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert [line.split("   ")[0] for line in done.stdout.splitlines()] == ["INFO:edgeleuk:runtime"] * 2


def test_watch_yields_until_the_source_ends_and_records(tmp_path: Path) -> None:
    file = tmp_path / "night.db"
    frames = list(edgeleuk.watch(CAMERA, session=file, px_per_um=SCALE, runtime="litert"))
    with edgeleuk.open_session(file) as session:
        assert [row["sequence"] for row in session.frames] == [frame.sequence for frame in frames]
        assert session.summary["cells"]["unique"] == len(session.cells)
        new = [cell for frame in frames for cell in frame.cells if cell.is_new]
        assert len(new) == len(session.cells) > 0
    assert frames[0].simulated
    assert frames[0].to_json()["width"] == frames[0].rgb.shape[1]


def test_a_watch_records_what_a_run_records(tmp_path: Path) -> None:
    file = tmp_path / "watched.db"
    list(edgeleuk.watch("virtual://?seed=1&frames=1", session=file, px_per_um=SCALE, runtime="litert"))
    command = [sys.executable, "-m", "edgeleuk", "run", "--camera", "virtual://?seed=1&frames=1"]
    words = ["--px-per-um", str(SCALE), "--runtime", "litert", "--session", str(tmp_path / "run.db")]
    subprocess.run([*command, *words], check=True, capture_output=True)
    with read_session(file) as watched, read_session(tmp_path / "run.db") as ran:
        assert watched.settings == ran.settings
    assert not file.with_suffix(".png").exists()


def test_a_watch_applies_the_settings_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGELEUK_FLAT_FIELD", str(tmp_path / "missing.png"))
    with pytest.raises(edgeleuk.EdgeleukError, match=r"missing\.png"):
        next(edgeleuk.watch("virtual://?seed=1&frames=1", runtime="litert"))


def test_a_watch_that_is_left_closes_its_camera(tmp_path: Path) -> None:
    frames = edgeleuk.watch(
        "virtual://?seed=1", session=tmp_path / "left.db", px_per_um=SCALE, runtime="litert"
    )
    next(frames)
    assert any(thread.name == "edgeleuk-watch" for thread in threading.enumerate())
    frames.close()
    assert not any(thread.name == "edgeleuk-watch" for thread in threading.enumerate())
    with edgeleuk.open_session(tmp_path / "left.db") as session:
        assert session.summary["ended"] == "stopped by the user"


def test_an_error_of_the_source_comes_out_of_the_loop() -> None:
    with pytest.raises(UsageError, match="unknown option of a virtual camera"):
        next(edgeleuk.watch("virtual://?colour=red", runtime="litert"))


def test_a_classifier_takes_arrays_and_crops() -> None:
    crop = np.zeros((64, 64, 3), np.uint8)
    crop[12:52, 12:52] = 120, 60, 150
    with edgeleuk.open_classifier(runtime="litert") as classifier:
        scale = classifier.bundle.contract.crop_px_per_um
        first, second = classifier([crop, CellCrop.on_black(crop, scale, whole=True)])
        assert first == second
        with pytest.raises(UsageError, match=r"pass \[crop\]"):
            classifier(crop)
        with pytest.raises(UsageError, match="px_per_um is out of range"):
            classifier([crop], px_per_um=0)


def test_a_bundle_tells_what_it_is() -> None:
    bundle = edgeleuk.open_bundle()
    printed = command_line("inspect", "default")
    assert (bundle.name, bundle.sha256) == (printed["manifest"]["name"], printed["sha256"])
    assert bundle.validation["verdict"] == printed["validation"]["verdict"]
    assert bundle.networks


def test_what_is_no_session_is_refused(picture: Path) -> None:
    with pytest.raises(SessionError):
        edgeleuk.open_session(picture)


def test_an_unknown_table_is_refused(tmp_path: Path) -> None:
    list(edgeleuk.watch(CAMERA, session=tmp_path / "a.db", px_per_um=SCALE, runtime="litert"))
    with (
        edgeleuk.open_session(tmp_path / "a.db") as session,
        pytest.raises(UsageError, match="allowed cells, frames, events"),
    ):
        session.to_pandas("secrets")


@pytest.mark.parametrize("name", ["convert", "evaluate"])
def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    words = ("a.keras", "cells", "a.edgeleuk") if name == "convert" else ("default", "cells")
    with pytest.raises(MissingDependencyError, match=r"edgeleuk\[workstation\]"):
        getattr(edgeleuk, name)(*words)
