"""Every command that the README and the documentation show is run here, in the order they stand."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from foreign import SIDE, dense
from openflexure_server import OpenFlexureServer

from edgeleuk.bundle.golden import golden_crops_of
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.inference.preprocessing import resized
from edgeleuk.virtual.cells import single_cell
from edgeleuk.virtual.render import VirtualSlide
from edgeleuk_convert.dataset.cnmc import load_cells, read_crop

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"
)  # Keras, of NumPy
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(page: Path) -> list[str]:
    blocks = re.findall(r"^```\w*\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("edgeleuk ")]


def settings_shown(page: str, name: str = "") -> str:
    """Return a page's block of settings: that which names its file first, where there are several."""
    text = (ROOT / "docs" / page).read_text()
    blocks: list[str] = re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (block,) = [block for block in blocks if name in block.splitlines()[0]]
    return block


@pytest.fixture(scope="module")
def folder(few_cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the pages speak of."""
    folder = tmp_path_factory.mktemp("docs")
    cv2.imwrite(str(folder / "field.jpg"), VirtualSlide(seed=2).field(0, 0).pixels[:, :, ::-1])
    cv2.imwrite(str(folder / "cell.png"), golden_crops_of(read_bundle("default"))[0].pixels[:, :, ::-1])
    for name in ("training.toml", "contract.toml", "limits.toml"):
        (folder / name).write_text(settings_shown("conversion.md", name))
    (folder / "faults.toml").write_text(settings_shown("camera.md", "faults.toml"))
    taught(few_cells).save(folder / "theirs.keras")
    # What the network of one epoch loses is not the matter here.
    (folder / "any.toml").write_text(
        "[limits]\nweighted_f1_drop = 1\nsensitivity_drop = 1\nflips = 1\nprobability_change = 1\n"
    )
    (folder / "held-out.txt").write_text("1\n14\nH6\nH12\n")
    rows = []
    for kind, label in (("Benign", "normal"), ("Early", "blast"), ("Pre", "blast")):
        (folder / "pictures" / kind).mkdir(parents=True)
        for seed in range(3):
            file = folder / "pictures" / kind / f"{kind} {seed}.tif"
            cv2.imwrite(str(file), single_cell(label, seed + len(rows)).pixels[:, :, ::-1])
            rows.append(f"{file.name},{kind[0]}{seed}")
    (folder / "theirs.json").write_text(json.dumps(annotated("Benign/Benign 0.tif")))
    (folder / "subjects.csv").write_text("\n".join(["file,subject", *rows]))
    (folder / "glass").mkdir()
    cv2.imwrite(str(folder / "glass" / "1.png"), np.full((960, 1280, 3), (185, 200, 215), np.uint8))
    (folder / "fields").mkdir()
    cv2.imwrite(str(folder / "fields" / "1.png"), VirtualSlide(seed=3).field(0, 0).pixels[:, :, ::-1])
    return folder


def annotated(picture: str) -> dict[str, Any]:
    """Return annotations of somebody's, as COCO has them, of the cell in the middle of a picture."""
    turns = np.arange(12) * np.pi / 6
    outline = (225 + 90 * np.stack([np.cos(turns), np.sin(turns)], axis=1)).ravel().tolist()
    return {
        "images": [{"id": 1, "file_name": picture, "width": 450, "height": 450}],
        "categories": [{"id": 1, "name": "lymphocyte"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [outline]}],
    }


def taught(data: Path) -> Any:
    """Return a network of somebody's that knows the cells, resized pictures of which it was shown."""
    cells = load_cells(data).labelled
    pictures = [resized(read_crop(cell).pixels, (SIDE, SIDE), "bilinear") for cell in cells]
    truth = np.array([cell.label == "blast" for cell in cells], np.float32)
    model = dense()
    model.compile("adam", "binary_crossentropy")
    model.fit(np.stack(pictures).astype(np.float32), truth, epochs=15, batch_size=16, verbose=0)
    return model


def runnable(line: str, data: Path, session: str) -> list[str]:
    """Put real things where a page has words in capitals, and keep the long ones short."""
    words = shlex.split(line)[1:]
    stand_ins = {
        "DIR": str(data),
        "PICTURES": "pictures",
        "URI": "virtual://?seed=1",
        "N": "3",
        "SESSION": "session.db",
        # Nobody listens there: a run goes on, and what waits is told.
        "mqtts://stand3@broker.lab/lab/stand3": "mqtt://127.0.0.1:1/lab/stand3",
    }
    if "--serve" in words:
        # Any port that is free.
        port = words.index("--serve") + 1
        words[port] = re.sub(r"\d+$", "0", words[port])
    if words[0] == "camera":
        stand_ins["URI"] = "dir://glass"
    words = [stand_ins.get(word, word) for word in words]
    if words[0] == "cross-validate":
        words += ["--folds", "2", "--seeds", "1"]
    if words[0] in ("train", "cross-validate"):
        # The whole path of a ResNet is tested elsewhere; this one takes two thirds of the time.
        flags = {"--architecture": "baseline"}
        words = [flags.get(before, word) for before, word in zip(["", *words], words, strict=False)]
        words += ["--epochs", "1"]
    if words[0] in ("convert", "calibrate") and "--calibration-record" not in words:
        words += ["--images", "40"]
    if words[0] == "convert":
        words += ["--limits", "any.toml"]
    if words[0] == "bench":
        words += ["--seconds", "1", "--threads", "1", "--camera", "virtual://?width=480&height=360"]
    if words[0] == "compare":
        # Of the few cells none is new to both.
        words[1] = words[2]
    if words[0] == "run":
        flags = {"--bundle": "default", "--session": session, "--frames": "3"}
        words = [flags.get(before, word) for before, word in zip(["", *words], words, strict=False)]
    return words


def test_the_pages_show_commands() -> None:
    assert sum(len(commands(page)) for page in PAGES) >= 10


# Fifty commands, some of which train and convert.
@pytest.mark.timeout(1800)
def test_every_command_shown_runs(few_cells: Path, folder: Path) -> None:
    # These pages go by an order of their own; the last two are run where their sessions and bundles are.
    of_pages = [
        page
        for page in PAGES
        if page.name not in ("stage.md", "slide.md", "control.md", "updates.md", "plugins.md")
    ]
    shown = dict.fromkeys(line for page in of_pages for line in commands(page))
    # What makes a file comes before what reads it, whichever page it stands on.
    labels = ("labels set", "export", "labels import", "labels export", "labels merge")
    order = ("cross-validate", "train", "calibrate", "convert", "camera", "run", *labels)
    stages: list[list[list[str]]] = [[] for _ in (*order, "the rest")]
    for line in shown:
        command = " ".join(line.split()[1 : 3 if " labels " in line else 2])
        stage = stages[order.index(command) if command in order else -1]
        session = f"session{len(stage) or ''}.db"
        stage.append(runnable(line, few_cells, session))

    def run(words: list[str]) -> None:
        with subprocess.Popen(
            [sys.executable, "-m", "edgeleuk", *words],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # What `bench` stores for `run` is not to stay with who runs the tests.
            env=os.environ | {"XDG_CACHE_HOME": str(folder / "cache")},
        ) as program:
            said = ""
            if words[0] == "review" and "--serve" in words:
                # It serves until somebody ends it.
                said = program.stderr.readline()
                program.send_signal(signal.SIGINT)
            _, told = program.communicate()
        # An hour's training passes validation; one epoch's need not.
        # What doctor finds is the matter of the machine that this runs on.
        allowed = {"validate": (0, 3), "doctor": (0, 3, 6), "publish": (6,)}.get(words[0], (0,))
        if "tensorrt" in words:
            # Nor is there a GPU.
            allowed = (2, 5)
        assert program.returncode in allowed, f"{shlex.join(words)}\n{said}{told}"

    for stage in stages:
        # Each of them spends seconds on importing; none reads what another of its stage writes.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(run, stage))


def test_every_command_shown_for_openflexures_server_runs(tmp_path: Path) -> None:
    # Those of the example plug-ins are run where these are installed: test_plugins.py.
    shown = [line for line in commands(ROOT / "docs" / "plugins.md") if "openflexure://" in line]
    assert len(shown) == 2
    (tmp_path / "stage.toml").write_text(
        "[x]\num_per_step = 0.1\n[y]\num_per_step = 0.1\n[z]\num_per_step = 0.1\n"
    )
    with OpenFlexureServer() as server:
        there = {"openflexure://HOST": server.uri, "1x1": "0.08x0.06"}
        for line in shown:
            words = [there.get(word, word) for word in shlex.split(line)[1:]]
            done = subprocess.run(
                [sys.executable, "-m", "edgeleuk", *words],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{line}\n{done.stderr}"


def test_every_command_of_the_stage_runs_on_the_stand_that_is_shown(tmp_path: Path) -> None:
    served, *shown = commands(ROOT / "docs" / "stage.md")
    words = [":0" if word.startswith(":") else word for word in shlex.split(served)[1:]]
    edgeleuk = [sys.executable, "-m", "edgeleuk"]
    with subprocess.Popen([*edgeleuk, *words, "--seed", "2"], stderr=subprocess.PIPE, text=True) as stand:
        assert stand.stderr is not None
        found = re.search(r"camera (\S+)/stream, stage (\S+),", stand.stderr.readline())
        assert found is not None
        camera, stage = f"{found[1]}/stream", found[2]
        there = {
            "http://127.0.0.1:8080/stream": camera,
            "socket://127.0.0.1:7011": stage,
            "URI": camera,
            "URL": stage,
            "5x5": "0.2x0.2",
        }
        try:
            for page, lines in (("stage", shown), ("slide", commands(ROOT / "docs" / "slide.md"))):
                folder = tmp_path / page
                folder.mkdir()
                if page == "slide":
                    shutil.copy(tmp_path / "stage" / "stage.toml", folder)
                for line in lines:
                    words = [there.get(word, word) for word in shlex.split(line)[1:]]
                    if "--slide" in words:
                        # The fields are for the command that writes it again.
                        words += ["--keep-fields", "--stage-config", "stage.toml"]
                    done = subprocess.run(
                        [*edgeleuk, *words], cwd=folder, capture_output=True, text=True, check=False
                    )
                    assert done.returncode == 0, f"{line}\n{done.stderr}"
        finally:
            stand.terminate()


def test_settings_shown_are_settings(tmp_path: Path) -> None:
    from edgeleuk.io.settings import RunSettings, Settings, load_settings
    from edgeleuk.virtual.scenario import CameraFaultKind, load_scenario
    from edgeleuk_convert.metrics.acceptance import AcceptanceLimits, load_limits
    from edgeleuk_convert.training.settings import load_training_settings
    from edgeleuk_firmware_bridge.stage.protocols import StageSettings

    file = tmp_path / "edgeleuk.toml"
    file.write_text(settings_shown("camera.md", "runtime"))
    assert load_settings(RunSettings, file=file, environ={}).px_per_um == 13.2
    file.write_text(settings_shown("camera.md", "faults.toml"))
    assert [fault.kind for fault in load_scenario(file).fault] == [
        CameraFaultKind.FREEZE,
        CameraFaultKind.DEFOCUS,
    ]
    file.write_text(settings_shown("fleet.md", "mqtt"))
    assert load_settings(Settings, file=file, environ={}).mqtt == "mqtts://stand3@broker.lab/lab/stand3"
    file.write_text(settings_shown("stage.md", "stage.toml"))
    assert load_settings(StageSettings, file=file, environ={}).z.most_um == 500
    file.write_text(settings_shown("conversion.md", "training.toml"))
    assert load_training_settings(file, {}).augmentation.jpeg == 0.2
    file.write_text(settings_shown("conversion.md", "limits.toml"))
    assert load_limits(file) == AcceptanceLimits()


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
