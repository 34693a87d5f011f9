"""The command line: every kind of bad input is one sentence with its exit code, and no traceback."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from edgeleuk.bundle.golden import golden_crops_of
from edgeleuk.bundle.reading import DEFAULT_PATH, read_bundle
from edgeleuk.cli.app import _arguments

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from outcome import Outcome


@pytest.fixture
def cell_files(tmp_path: Path) -> list[Path]:
    """Cells on black, drawn by the project."""
    files = []
    for index, crop in enumerate(golden_crops_of(read_bundle("default"))[:2]):
        file = tmp_path / f"cell{index}.png"
        cv2.imwrite(str(file), crop.pixels[:, :, ::-1])
        files.append(file)
    return files


def test_version(edgeleuk: Callable[..., Outcome]) -> None:
    assert edgeleuk("--version").out.startswith("edgeleuk 0.")


def test_the_networks_are_listed(edgeleuk: Callable[..., Outcome]) -> None:
    listed = edgeleuk("train", "--list").out
    assert all(name in listed for name in ("resnet", "inception", "baseline", "efficientnet-lite0"))


def test_inspect_tells_what_a_bundle_is(edgeleuk: Callable[..., Outcome]) -> None:
    outcome = edgeleuk("inspect", "default")
    assert outcome.code == 0
    assert "model.int8.tflite" in outcome.out
    assert "For research use only" in outcome.out
    facts = json.loads(edgeleuk("inspect", "default", "--json").out)
    assert facts["schema_version"] == 1
    assert facts["manifest"]["members"]["model.int8.onnx"]["sha256"]


def test_verify_passes_on_the_shipped_bundle(edgeleuk: Callable[..., Outcome]) -> None:
    outcome = edgeleuk("verify", "--json")
    facts = json.loads(outcome.out)
    assert (outcome.code, facts["verdict"]) == (0, "pass")
    assert {result["status"] for result in facts["results"]} == {"ok"}


def test_classify_tells_single_cells_from_fields(
    edgeleuk: Callable[..., Outcome], cell_files: list[Path]
) -> None:
    outcome = edgeleuk("classify", *cell_files, "--json")
    facts = json.loads(outcome.out)
    assert outcome.code == 0
    assert [entry["kind"] for entry in facts["files"]] == ["cell", "cell"]
    assert all(0 <= entry["cells"][0]["probability"] <= 1 for entry in facts["files"])
    assert sum(facts["cells"][name] for name in ("blast", "normal", "uncertain")) == 2
    assert "P(blast) 0." in edgeleuk("classify", cell_files[0]).out


def test_abstention_can_be_switched_off_and_sets_asked_for(
    edgeleuk: Callable[..., Outcome], cell_files: list[Path]
) -> None:
    assert edgeleuk("classify", *cell_files, "--abstain", "off").code == 0
    outcome = edgeleuk("classify", *cell_files, "--abstain", "never")
    assert (outcome.code, outcome.out) == (2, "")
    assert "bad setting: Invalid enum value 'never'" in outcome.err


def test_both_runtimes_say_much_the_same(edgeleuk: Callable[..., Outcome], cell_files: list[Path]) -> None:
    answers = [
        json.loads(edgeleuk("classify", cell_files[0], "--runtime", runtime, "--json").out)
        for runtime in ("litert", "onnxruntime")
    ]
    one, two = (answer["files"][0]["cells"][0]["probability"] for answer in answers)
    assert one == pytest.approx(two, abs=0.1)


def test_run_counts_cells_on_the_virtual_slide_and_export_writes_them(
    edgeleuk: Callable[..., Outcome], tmp_path: Path
) -> None:
    outcome = edgeleuk(
        "run",
        "--camera",
        "virtual://?seed=3&width=640&height=480",
        "--session",
        "s.db",
        "--frames",
        6,
        "--json",
    )
    facts = json.loads(outcome.out)
    assert outcome.code == 0, outcome.err
    assert facts["frames"]["processed"] == 6
    assert facts["simulated"] is True
    cells = facts["cells"]
    assert cells["unique"] == cells["blast"] + cells["normal"] + cells["uncertain"]
    assert cv2.imread(str(tmp_path / "s.png")).shape[1] == 640
    exported = edgeleuk("export", "s.db", "--csv")
    assert len(exported.out.strip().splitlines()) == 1 + cells["unique"]


def test_run_without_json_shows_a_summary(edgeleuk: Callable[..., Outcome]) -> None:
    outcome = edgeleuk(
        "run", "--camera", "virtual://?width=640&height=480", "--session", "s.db", "--frames", 2
    )
    assert "counted once each" in outcome.out
    assert "SIMULATED" in outcome.out
    assert "For research use only" in outcome.out


def test_camera_list_and_probe_give_json(edgeleuk: Callable[..., Outcome], tmp_path: Path) -> None:
    listed = edgeleuk("camera", "list", "--json")
    assert listed.code == 0
    assert isinstance(json.loads(listed.out)["cameras"], list)
    assert edgeleuk("camera", "list").code == 0
    probed = edgeleuk("camera", "probe", VIRTUAL[1], "--seconds", "0.1", "--out", "p.png", "--json")
    facts = json.loads(probed.out)
    assert (facts["width"], facts["height"], facts["simulated"], facts["controls"]) == (320, 240, True, {})
    assert cv2.imread(str(tmp_path / "p.png")).shape == (240, 320, 3)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("run --camera", "run --camera |"),
        ("run --camera --frames 3", "run --camera | --frames 3"),
        ("run --camera 0 --frames 3", "run --camera 0 --frames 3"),
        ("run --camera=0", "run --camera=0"),
    ],
)
def test_a_camera_without_a_value_is_the_only_one(words: str, expected: str) -> None:
    assert _arguments(words.split()) == ["" if word == "|" else word for word in expected.split()]


def garbage(folder: Path) -> Path:
    file = folder / "garbage.png"
    file.write_bytes(b"not an image")
    return file


def black(folder: Path) -> Path:
    file = folder / "black.png"
    cv2.imwrite(str(file), np.zeros((50, 50, 3), np.uint8))
    return file


def truncated_bundle(folder: Path) -> Path:
    file = folder / "truncated.edgeleuk"
    file.write_bytes(DEFAULT_PATH.read_bytes()[:-5000])
    return file


def folder_of_garbage(folder: Path) -> Path:
    inner = folder / "pictures"
    inner.mkdir()
    (inner / "a.jpg").write_bytes(b"not an image")
    return inner


def text_file(folder: Path) -> Path:
    file = folder / "notes.db"
    file.write_text("hello")
    return file


def settings_file(folder: Path) -> Path:
    file = folder / "training.toml"
    file.write_text("[augmentation]\nscle = 0.1\n")
    return file


VIRTUAL = ("--camera", "virtual://?width=320&height=240", "--frames", "1")
CONVERT = ("convert", "m.keras", "--int8", "--calibration", ".", "--out", "b.edgeleuk")
BAD_INPUT: dict[str, tuple[tuple[object, ...], int, str]] = {
    "exposure of a source without one": (("run", *VIRTUAL, "--exposure-ms", "3"), 2, "has no controls"),
    "bad white balance": (("run", *VIRTUAL, "--white-balance", "warm"), 2, "white_balance as kelvin"),
    "probe of nothing": (("camera", "probe", "v4l2:///dev/video987"), 6, "no camera at /dev/video987"),
    "probe without its library": (("camera", "probe", "picamera://0"), 5, "apt install python3-picamera2"),
    "pipeline without its library": (("camera", "probe", "gstreamer:videotestsrc ! appsink"), 5, "GStreamer"),
    "unknown command": (("fly",), 2, "fly"),
    "unknown scheme": (("run", "--camera", "ftp://x"), 2, "virtual"),
    "bad key of the virtual slide": (("run", "--camera", "virtual://?sed=1"), 2, "sed"),
    "no frames": (("run", *VIRTUAL[:2], "--frames", "0"), 2, "number of frames is out of range"),
    "missing folder": (("run", "--camera", "dir://nowhere"), 6, "nowhere"),
    "refused connection": (("run", "--camera", "http://127.0.0.1:9/stream"), 6, "127.0.0.1:9"),
    "missing bundle": (("run", *VIRTUAL, "--bundle", "none.edgeleuk"), 2, "no such bundle"),
    "truncated bundle": (("verify", truncated_bundle), 7, "truncated"),
    "unknown runtime": (("run", *VIRTUAL, "--runtime", "ncnn"), 2, "ncnn"),
    "runtime without its wheel": (
        ("run", *VIRTUAL, "--runtime", "tensorrt"),
        5,
        "libonnxruntime_providers_tensorrt",
    ),
    "precision that is not carried": (
        ("run", *VIRTUAL, "--runtime", "onnxruntime", "--precision", "float32"),
        2,
        "carries no float32 network for onnxruntime",
    ),
    "scale out of range": (("classify", black, "--px-per-um", "-1"), 2, "px_per_um"),
    "session in no folder": (("run", *VIRTUAL, "--session", "no/such/folder/s.db"), 2, "folder"),
    "file that is no image": (("classify", garbage), 4, "is no image"),
    "file that is all black": (("classify", black), 4, "black picture"),
    "missing file": (("classify", "none.png"), 2, "no such file"),
    "masks of one name": (("segment", "a/x.png", "b/x.png", "--out", "masks"), 2, "two files have one name"),
    "export without a format": (("export", text_file), 2, "--csv"),
    "export of another file": (("export", text_file, "--csv"), 7, "notes.db"),
    "convert what is not there": (
        CONVERT,
        2,
        "no such network",
    ),
    "convert by another calibration": (
        (*CONVERT, "--onnx-calibration", "mean"),
        2,
        "got mean, allowed minmax, entropy, percentile",
    ),
    "convert to another kind": (
        (*CONVERT, "--also", "int4"),
        2,
        "got int4, allowed float16, dynamic, int16x8",
    ),
    "convert with an unknown limit": (
        (
            "convert",
            "m.keras",
            "--int8",
            "--calibration",
            ".",
            "--out",
            "b.edgeleuk",
            "--limits",
            settings_file,
        ),
        2,
        "unknown key in",
    ),
    "validate with no limits": (
        ("validate", "default", "--data", ".", "--limits", "none.toml"),
        2,
        "no such configuration file",
    ),
    "validate on an empty folder": (("validate", "default", "--data", "."), 4, "image"),
    "compare with nothing": (("compare", "default", "none.edgeleuk", "--data", "."), 2, "no such bundle"),
    "compare on an empty folder": (("compare", "default", "default", "--data", "."), 4, "image"),
    "train on an empty folder": (("train", "--data", ".", "--out", "m.keras"), 4, "image"),
    "train into nowhere": (("train", "--data", ".", "--out", "no/m.keras"), 2, "folder does not exist"),
    "train to another format": (("train", "--data", ".", "--out", "m.h5"), 2, "wrong ending"),
    "unknown architecture": (
        ("train", "--data", ".", "--out", "m.keras", "--architecture", "vgg"),
        2,
        "unknown architecture",
    ),
    "train with an unknown setting": (
        ("train", "--data", ".", "--out", "m.keras", "--config", settings_file),
        2,
        "line 2: got augmentation.scle, allowed scale, shift_px",
    ),
    "train without the settings": (
        ("train", "--data", ".", "--out", "m.keras", "--config", "none.toml"),
        2,
        "no such configuration file",
    ),
    "train with a flag out of range": (
        ("train", "--data", ".", "--out", "m.keras", "--fold", "7"),
        2,
        "fold is out of range: got 7, allowed 0 to 4",
    ),
    "train with nobody held out": (
        ("train", "--data", ".", "--out", "m.keras", "--held-out", "none.txt"),
        2,
        "the list of subjects none.txt cannot be read",
    ),
    "train on all subjects without answers": (
        ("train", "--data", ".", "--out", "m.keras", "--all-subjects"),
        2,
        "run `edgeleuk cross-validate` first, and pass its folder as --answers",
    ),
    "train on all subjects but a fold": (
        ("train", "--data", ".", "--out", "m.keras", "--all-subjects", "--fold", "1", "--answers", "."),
        2,
        "--all-subjects holds nobody out: got --fold",
    ),
    "a random split without a report": (
        ("evaluate", "default", "--data", ".", "--random-split"),
        2,
        "pass --report DIR as well",
    ),
    "a random split beside leakage": (
        ("evaluate", "default", "--data", ".", "--random-split", "--report", "r", "--allow-leakage"),
        2,
        "leave out --allow-leakage",
    ),
    "evaluate on an empty folder": (("evaluate", "default", "--data", "."), 4, "image"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_clear_sentence(edgeleuk: Callable[..., Outcome], tmp_path: Path, case: str) -> None:
    words, code, sentence = BAD_INPUT[case]
    outcome = edgeleuk(*(word(tmp_path) if callable(word) else word for word in words))
    assert outcome.code == code, outcome
    assert sentence in outcome.err
    assert "Traceback" not in outcome.err
    assert outcome.out == ""


def test_a_folder_of_garbage_leaves_a_session_that_says_so(
    edgeleuk: Callable[..., Outcome], tmp_path: Path
) -> None:
    outcome = edgeleuk("run", "--camera", folder_of_garbage(tmp_path), "--session", "s.db", "--json")
    assert outcome.code == 4
    assert "none of the 1 pictures" in outcome.err
    frames = json.loads(outcome.out)["frames"]
    assert (frames["captured"], frames["processed"], frames["rejected"]) == (1, 0, 1)
    assert edgeleuk("export", "s.db", "--csv").code == 0


def test_a_session_is_never_overwritten(edgeleuk: Callable[..., Outcome], tmp_path: Path) -> None:
    assert edgeleuk("run", *VIRTUAL, "--session", "s.db").code == 0
    before = (tmp_path / "s.db").read_bytes()
    outcome = edgeleuk("run", *VIRTUAL, "--session", "s.db")
    assert outcome.code == 2
    assert "s.db" in outcome.err
    assert (tmp_path / "s.db").read_bytes() == before


def test_segment_writes_a_mask_for_each_file(edgeleuk: Callable[..., Outcome], tmp_path: Path) -> None:
    from edgeleuk.virtual.render import VirtualSlide

    field = VirtualSlide(seed=5).field(0, 0)
    cv2.imwrite(str(tmp_path / "field.png"), field.pixels[:, :, ::-1])
    outcome = edgeleuk("segment", "field.png", "--out", "masks", "--json")
    (entry,) = json.loads(outcome.out)["files"]
    mask = cv2.imread(str(tmp_path / "masks" / "field_mask.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == field.pixels.shape[:2]
    assert set(np.unique(mask)) <= {0, 128, 255}
    assert sum(cell["area_px"] for cell in entry["cells"]) >= np.count_nonzero(mask)
    for cell in entry["cells"]:
        x, y, w, h = cell["box"]
        assert 0 < cell["nucleus_area_px"] <= cell["area_px"] <= w * h
        # Cells that the border cuts are listed, and painted only where there is no whole one.
        assert mask[y : y + h, x : x + w].any() or cell["touches_border"]


def test_to_resume_needs_a_session(edgeleuk: Callable[..., Outcome]) -> None:
    outcome = edgeleuk("run", "--camera", "virtual://", "--resume")
    assert outcome.code == 2
    assert "the session to go on with is not given; pass it with --session" in outcome.err
