"""``edgeleuk train`` and what follows, as a user meets it: settings, interruptions, leaks, random splits."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import cv2
import msgspec
import pytest

from edgeleuk.bundle.reading import read_bundle
from edgeleuk_convert.training.forest import forest_path
from edgeleuk_convert.training.record import bundle_record, read_record
from edgeleuk_convert.training.settings import load_training_settings, settings_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EDGELEUK = (sys.executable, "-m", "edgeleuk")
SUBJECTS = ("1", "2", "3", "4", "5", "11", "H7", "H11", "H14", "H40", "H46", "H9")
CELLS_EACH = 6
# Small enough for a test; every table of the file is used.
SETTINGS = """# as in the documentation
epochs = 9
batch = 16
folds = 3
learning_rate = 0.001

[input]
height = 32
width = 32
channels = ["luminance", "mask"]
normalise = true
px_per_um = 1.85
crop_px_per_um = 18.5

[augmentation]
jpeg = 0.0
"""
# H2 and H7 share no identical file, and yet this cell.
TWINS = ("UID_H2_2_1_hem.webp", "UID_H7_1_1_hem.webp")


def run(*words: object, code: int = 0, small_disk: bool = False) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    done = subprocess.run(
        [*EDGELEUK, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit if small_disk else None,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def as_json(*words: object) -> Any:
    return json.loads(run(*words, "--json").stdout)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def data(edgeleuk_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cells of twelve subjects, some pictures larger than the others; and H2, of whom one is H7's too."""
    here = tmp_path_factory.mktemp("cells")
    cnmc = edgeleuk_data / "cnmc"
    for subject in SUBJECTS:
        found = sorted(cnmc.glob(f"fold_*/*/UID_{subject}_*.webp"))[:CELLS_EACH]
        assert found, f"no cells of subject {subject} in {edgeleuk_data}"
        for number, path in enumerate(found):
            target = here / path.relative_to(cnmc)
            target.parent.mkdir(parents=True, exist_ok=True)
            if number or subject == "H7":
                target.symlink_to(path)
            else:
                pixels = cv2.copyMakeBorder(cv2.imread(str(path)), 75, 75, 75, 75, cv2.BORDER_CONSTANT)
                cv2.imwrite(str(target.with_suffix(".bmp")), pixels)
    for twin in TWINS:
        (path,) = cnmc.glob(f"fold_*/hem/{twin}")
        target = here / path.relative_to(cnmc)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            target.symlink_to(path)
    return here


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("config") / "training.toml"
    file.write_text(SETTINGS)
    return file


@pytest.fixture(scope="module")
def whole(data: Path, config: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A network that was trained without interruption, and what was said of it."""
    out = tmp_path_factory.mktemp("whole") / "resnet.keras"
    return out, as_json("train", "--data", data, "--config", config, "--seed", 3, "--out", out)


def test_the_file_and_the_flags_decide_and_are_written_beside_the_network(
    whole: tuple[Path, Any], config: Path
) -> None:
    out, said = whole
    written = out.with_suffix(".training.toml")
    assert said["settings"] == str(written)
    assert said["stamp"] is None
    settings = load_training_settings(written, {})
    assert settings == load_training_settings(config, {"seed": 3})
    assert (settings.epochs, settings.seed, settings.contract.shape) == (9, 3, (32, 32, 2))
    assert settings_of(read_record(out)) == settings


def train_until(
    words: tuple[object, ...], ready: Callable[[], bool], kill: signal.Signals
) -> tuple[int, str]:
    """Start the command, send it a signal as soon as it is where it is wanted, and wait for its end."""
    with subprocess.Popen([*EDGELEUK, *map(str, words)], stderr=subprocess.PIPE, text=True) as process:
        while not ready():
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            time.sleep(0.005)
        process.send_signal(kill)
        _, said = process.communicate()
    return process.returncode, said


def test_an_interrupted_and_then_killed_training_goes_on_to_the_same_network(
    whole: tuple[Path, Any], data: Path, config: Path, tmp_path: Path
) -> None:
    out = tmp_path / "resnet.keras"
    words = ("train", "--data", data, "--config", config, "--seed", 3, "--out", out)
    inner, final = (tmp_path / f"{name}.checkpoint" / "state.npz" for name in ("resnet.inner", "resnet"))
    code, said = train_until(words, inner.exists, signal.SIGINT)
    assert code == 130
    assert "Traceback" not in said
    last = said.strip().splitlines()[-1]
    assert last.startswith("error: interrupted in epoch ")
    assert last.endswith("give the same command again to go on from resnet.inner.checkpoint")
    assert names(tmp_path) == ["resnet.inner.checkpoint"]

    refused = run(*words, "--epochs", 8, code=2)
    assert "belongs to a training with other settings or data" in refused.stderr

    code, _ = train_until(words, final.exists, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert not out.exists()
    again = as_json(*words)
    assert names(tmp_path) == names(whole[0].parent)
    assert again["held_out"]["auroc"] == pytest.approx(whole[1]["held_out"]["auroc"], abs=0.02)
    for key in ("held_out_subjects", "training_subjects", "parameters"):
        assert again[key] == whole[1][key]


def test_a_disk_that_fills_at_the_first_checkpoint(data: Path, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "resnet.keras"
    done = run("train", "--data", data, "--config", config, "--out", out, code=2, small_disk=True)
    assert done.stderr.splitlines()[-1] == (
        "error: state.npz cannot be written: got File too large; free some space or give another --out"
    )
    assert done.stdout == ""
    assert names(tmp_path) == []


def test_a_damaged_checkpoint_says_what_to_delete(data: Path, config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "resnet.inner.checkpoint"
    folder.mkdir()
    (folder / "state.npz").write_bytes(b"half a file")
    done = run("train", "--data", data, "--config", config, "--out", tmp_path / "resnet.keras", code=7)
    assert "is damaged" in done.stderr
    assert "delete the folder to begin again" in done.stderr
    assert names(tmp_path) == ["resnet.inner.checkpoint"]


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """H2 is held out, H7, who shares a cell with H2, is not."""
    file = tmp_path_factory.mktemp("lists") / "held-out.txt"
    file.write_text("# twins\nH2\nH14\n1\n2\n")
    return file


def test_a_leaking_split_is_refused_by_file(data: Path, config: Path, held_out: Path, tmp_path: Path) -> None:
    out = tmp_path / "resnet.keras"
    done = run("train", "--data", data, "--config", config, "--held-out", held_out, "--out", out, code=4)
    assert done.stdout == ""
    assert "the same cells stand in training and in test" in done.stderr
    assert "by near-duplicate" in done.stderr
    assert all(twin in done.stderr for twin in TWINS)
    assert "--allow-leakage" in done.stderr
    assert names(tmp_path) == []


def test_a_list_that_leaks_nothing_is_trained_on(data: Path, config: Path, tmp_path: Path) -> None:
    file = tmp_path / "held-out.txt"
    file.write_text("h14\n1\n2\nH11\n")
    said = as_json(
        "train", "--data", data, "--config", config, "--epochs", 1, "--held-out", file,
        "--out", tmp_path / "resnet.keras",
    )  # fmt: skip
    assert said["held_out_subjects"] == ["1", "2", "H11", "H14"]
    assert said["stamp"] is None
    assert said["held_out"]["subjects"] == 4


@pytest.fixture(scope="module")
def leaking(
    data: Path, config: Path, held_out: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """A network that was allowed to leak, and what was printed of it."""
    out = tmp_path_factory.mktemp("leaking") / "resnet.keras"
    done = run(
        "train", "--data", data, "--config", config, "--held-out", held_out, "--allow-leakage", "--out", out
    )
    return out, done.stdout


def test_what_was_allowed_to_leak_is_stamped_everywhere(
    leaking: tuple[Path, str], data: Path, tmp_path: Path
) -> None:
    out, printed = leaking
    record = read_record(out)
    stamp = record.stamp
    assert stamp is not None
    assert stamp.startswith("LEAKAGE ALLOWED: ")
    assert all(twin in stamp for twin in TWINS)
    assert printed.startswith(stamp)
    # All of the named subjects are judged, the one that leaks among them.
    assert "of 4 subjects in" in printed
    assert settings_of(record).held_out == ("H2", "H14", "1", "2")

    later = stamp.replace("LEAKAGE ALLOWED:", "LEAKAGE ALLOWED IN TRAINING:")
    assert as_json("evaluate", out, "--data", data)["stamp"] == later
    assert run("evaluate", out, "--data", data).stdout.startswith(later)
    folder = tmp_path / "report"
    assert as_json("evaluate", out, "--data", data, "--report", folder)["stamp"] == later
    assert json.loads((folder / "report.json").read_text())["stamp"] == later
    both = as_json("evaluate", out, "--data", data, "--allow-leakage")["stamp"]
    assert both.startswith("LEAKAGE ALLOWED: ")
    assert later in both

    bundle = out.with_suffix(".edgeleuk")
    # So short a training may lose what it likes.
    gate = out.with_name("gate.toml")
    gate.write_text(
        "[limits]\nweighted_f1_drop = 1\nsensitivity_drop = 1\nflips = 1\nprobability_change = 1\n"
    )
    packed = as_json(
        "convert", out, "--int8", "--calibration", data, "--images", 20, "--limits", gate, "--out", bundle
    )
    assert packed["stamp"] == later
    opened = read_bundle(str(bundle))
    assert bundle_record(opened).stamp == stamp
    card = opened.members["card.md"].decode()
    assert f"**{later}**" in card
    assert "--held-out FILE --allow-leakage" in card
    assert "`learning_rate = 0.001`" in card


def test_a_random_split_tells_the_gap_and_leaves_no_network(
    whole: tuple[Path, Any], data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "report"
    said = as_json("evaluate", whole[0], "--data", data, "--report", folder, "--random-split")
    assert names(folder) == ["report.html", "report.json"]
    gap = said["split_gaps"][-1]
    assert gap["title"] == f"{whole[0]}, trained again"
    assert gap["grouped_cells"] == said["cells"] == whole[1]["held_out"]["cells"]
    assert gap["random_cells"] == pytest.approx(gap["grouped_cells"], abs=1)
    assert gap["metrics"]["auroc"]["grouped"] == said["auroc"]
    page = (folder / "report.html").read_text()
    assert "trained again: a random split makes weighted F1 look" in page
    assert said["stamp"] is None


def test_a_random_split_needs_the_training_s_images(
    whole: tuple[Path, Any], data: Path, tmp_path: Path
) -> None:
    record = read_record(whole[0])
    few = tmp_path / "few"
    for path in data.glob("fold_*/*/*"):
        if path.name.split("_")[1] in (*record.held_out_subjects, *record.training_subjects[:2]):
            target = few / path.relative_to(data)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    done = run("evaluate", whole[0], "--data", few, "--report", tmp_path / "report", "--random-split", code=4)
    assert "trains anew, on the images that the network was trained on: got 1" in done.stderr
    assert names(tmp_path / "report") == []


def test_a_record_of_another_version_cannot_be_trained_again(
    whole: tuple[Path, Any], data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "resnet.keras"
    shutil.copyfile(whole[0], out)
    shutil.copyfile(forest_path(whole[0]), forest_path(out))
    record = read_record(whole[0])
    changed = msgspec.structs.replace(record, settings={**record.settings, "momentum": 0.9})
    out.with_suffix(".training.json").write_bytes(msgspec.json.encode(changed))
    done = run("evaluate", out, "--data", data, "--report", tmp_path / "r", "--random-split", code=7)
    assert "got momentum" in done.stderr
