"""Packages that bring cameras and stages: installed, listed, run, held to the contract; and broken ones."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
# What the devices of each example need; there are wheels for x86-64 alone, of pymmcore from Python 3.11.
NEEDS = {"plugin-camera": ("genicam", "harvesters"), "plugin-micromanager": ("pymmcore", "mm_test_adapters")}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install both examples into a folder, as pip does it."""
    folder = tmp_path_factory.mktemp("site")
    for example in NEEDS:
        subprocess.run(
            [
                sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation",
                "--no-index", "--target", str(folder), str(EXAMPLES / example),
            ],
            check=True, capture_output=True, timeout=240,
        )  # fmt: skip
    return folder


def run(folder: Path, *words: str, module: str = "edgeleuk") -> subprocess.CompletedProcess[str]:
    """Run a command that sees the packages of a folder besides."""
    path = os.pathsep.join([str(folder), *(each for each in sys.path if each)])
    return subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=folder, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False,
        timeout=240,
    )  # fmt: skip


def package(folder: Path, name: str, points: str, code: str = "", version: str = "1.0") -> None:
    """Put an installed package into a folder: a module, and what pip writes of it."""
    module = name.replace("-", "_")
    (folder / f"{module}.py").write_text(code)
    info = folder / f"{module}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(points)


def needed(example: str) -> None:
    missing = [name for name in NEEDS[example] if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(
            f"{', '.join(missing)} is not installed: its wheels are for x86-64, Python 3.11 and newer"
        )


@pytest.mark.parametrize("example", NEEDS)
def test_an_example_passes_the_contract_suite(site: Path, example: str) -> None:
    needed(example)
    words = ("-q", "-p", "no:cacheprovider", "-W", "error", str(EXAMPLES / example / "tests"))
    done = run(site, *words, "-c", os.devnull, "--rootdir", str(site), module="pytest")
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout


def test_a_device_is_tested_without_a_file_of_tests(site: Path) -> None:
    needed("plugin-camera")
    words = (
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "edgeleuk.testing",
        "--pyargs",
        "edgeleuk.testing.test_device",
    )
    done = run(site, *words, "-c", os.devnull, "--camera-uri", genicam(), module="pytest")
    assert done.returncode == 0, done.stdout
    assert "5 passed" in done.stdout, "the camera's"


def test_an_installed_camera_is_listed_and_run(site: Path) -> None:
    needed("plugin-camera")
    listed = json.loads(run(site, "camera", "list", "--json").stdout)
    assert listed["plugins"] == [
        {"scheme": "genicam", "package": "edgeleuk-genicam 0.1.0"},
        {"scheme": "micromanager", "package": "edgeleuk-micromanager 0.1.0"},
    ]
    done = run(site, "camera", "probe", genicam(), "--seconds", "0.5", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["width"], told["height"], told["simulated"]) == (400, 400, True)
    # What may be a secret is shown nowhere, whatever a plug-in shows.
    assert told["camera"] == "genicam://VikyTL_DEV_red?cti=***"


def test_an_installed_stage_is_moved(site: Path) -> None:
    needed("plugin-micromanager")
    from mm_test_adapters import device_adapter_path

    adapters = device_adapter_path()
    url = f"micromanager://{adapters}/MMConfig_demo.cfg?adapters={adapters}"
    done = run(site, "stage", "info", "--stage", url, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["protocol"] == "micromanager"
    done = run(site, "stage", "move", "--stage", url, "--x", "120", "--z", "3", "--json")
    assert json.loads(done.stdout)["position_um"] == pytest.approx({"x": 120, "y": 0, "z": 3}, abs=0.11)
    known = run(site, "stage", "move", "--stage", url, "--x", "1", "--um-per-step", "0.5")
    assert known.returncode == 2, known.stderr
    assert "knows the length of its steps in x: got um_per_step 0.5, allowed 0.1" in known.stderr


def genicam() -> str:
    import genicam

    return f"genicam://VikyTL_DEV_red?cti={Path(genicam.__file__).with_name('viky.cti')}"


CAMERA = """
import time
from edgeleuk.plugins import Frame, moment
import numpy as np

class Source:
    live = False
    def __init__(self, uri):
        self.uri = uri
    def frames(self):
        for number in range(3):
            yield Frame(np.full((120, 160, 3), 180, np.uint8), number, *moment(), self.uri)
        {after}
    def close(self):
        pass
"""
# The virtual slide's pictures, by a camera of another's.
GOOD = """
from edgeleuk.capture import open_source

class Source:
    live = False
    simulated = True
    def __init__(self, uri):
        self.uri = uri
        self.slide = open_source("virtual://?seed=1&frames=3")
    def frames(self):
        return self.slide.frames()
    def close(self):
        self.slide.close()
"""


def test_a_broken_one_is_named_and_the_rest_runs(tmp_path: Path) -> None:
    package(tmp_path, "good-camera", "[edgeleuk.cameras]\ngood = good_camera:Source\n", GOOD)
    package(
        tmp_path,
        "bad-camera",
        "[edgeleuk.cameras]\nbad = bad_camera:Source\n",
        "import a_library_that_is_not_there",
    )
    done = run(tmp_path, "camera", "probe", "bad://1")
    assert done.returncode == 5, done.stderr
    assert (
        "the plug-in for bad:// of bad-camera 1.0 cannot be imported: got ModuleNotFoundError: No module "
        "named 'a_library_that_is_not_there'; install what it misses, or uninstall bad-camera"
    ) in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    # Nobody imports it who does not ask for it.
    listed = run(tmp_path, "camera", "list")
    assert listed.returncode == 0, listed.stderr
    assert "bad://   by the plug-in bad-camera 1.0" in listed.stdout
    done = run(tmp_path, "run", "--camera", "good://1", "--session", "s.db", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["frames"]["processed"], told["camera"], told["simulated"]) == (3, "good://1", True)
    assert told["cells"]["detected"] > 0


@pytest.mark.parametrize(
    ("code", "code_of_exit", "says"),
    [
        ("Source = 3", 5, "names nothing that opens a device: got bad_camera:Source"),
        ("raise SystemError('no licence')", 5, "cannot be imported: got SystemError: no licence"),
        ("def Source(uri): raise RuntimeError('dongle')", 6, "opening bad://1: got RuntimeError: dongle"),
        ("def Source(uri): return 7", 6, "something that is no camera: got int without live, frames, close"),
        (CAMERA.format(after="raise KeyError('x')"), 6, "failed while reading bad://1: got KeyError: 'x'"),
        (CAMERA.format(after="yield 4"), 6, "yields what is no picture: got int, allowed Frame"),
        (
            "from edgeleuk.plugins import MissingDependencyError\n"
            "def Source(uri): raise MissingDependencyError('the driver is missing', cure='install it')",
            5, "the driver is missing; install it",
        ),
    ],
)  # fmt: skip
def test_what_a_camera_does_wrong_is_its_packages(
    tmp_path: Path, code: str, code_of_exit: int, says: str
) -> None:
    package(tmp_path, "bad-camera", "[edgeleuk.cameras]\nbad = bad_camera:Source\n", code)
    done = run(tmp_path, "camera", "flat-field", "bad://1", "--out", "blank.png", "--frames", "9")
    assert (done.returncode, says in " ".join(done.stderr.split())) == (code_of_exit, True), done.stderr
    assert "Traceback" not in done.stderr


STAGE = """
from edgeleuk.plugins import Capabilities, Steps
class Stage:
    um_per_step = None
    capabilities = Capabilities("bad", "1", can_home={home})
    def __init__(self, url): self.at = Steps(0, 0, 0)
    def steps(self): return self.at
    def moving(self): return False
    def go_to(self, target): {go}
    def stop(self): pass
    def close(self): pass
"""


@pytest.mark.parametrize(
    ("code", "code_of_exit", "says"),
    [
        ("import a_library_that_is_not_there", 5, "bad:// of bad-stage 1.0 cannot be imported"),
        (
            "def Stage(url): raise OSError('gone')",
            6,
            "the plug-in of bad-stage 1.0 failed: got OSError: gone",
        ),
        (
            "class Stage:\n  def __init__(self, url): pass\n  def close(self): pass",
            6,
            "no stage: got Stage without cap",
        ),
        (STAGE.format(home=True, go="return 0.0"), 6, "without what Homing has"),
        (
            STAGE.format(home=False, go="raise ValueError('stuck')"),
            6,
            "bad-stage 1.0 failed: got ValueError: stuck",
        ),
        (STAGE.format(home=False, go="return 0.0"), 6, "stands still short of its target"),
        (STAGE.format(home=False, go="self.at = target"), 0, ""),
    ],
)
def test_what_a_stage_does_wrong_is_its_packages(
    tmp_path: Path, code: str, code_of_exit: int, says: str
) -> None:
    package(tmp_path, "bad-stage", "[edgeleuk.stages]\nbad = bad_stage:Stage\n", code)
    done = run(tmp_path, "stage", "move", "--stage", "bad://1", "--x", "5")
    assert (done.returncode, says in " ".join(done.stderr.split())) == (code_of_exit, True), done.stderr
    assert "Traceback" not in done.stderr


def test_one_scheme_has_one_package_and_what_is_built_in_stays(tmp_path: Path) -> None:
    for name in ("one", "other"):
        points = f"[edgeleuk.cameras]\nsame = {name}:Source\ndir = {name}:Source\n"
        package(tmp_path, name, points, "raise SystemExit('it was imported')")
    (tmp_path / "pictures").mkdir()
    both = run(tmp_path, "camera", "probe", "same://1")
    assert both.returncode == 5
    assert "2 packages add same://: got one 1.0, other 1.0, allowed one; uninstall the others" in both.stderr
    built_in = run(tmp_path, "camera", "probe", f"dir://{tmp_path}/pictures")
    assert built_in.returncode == 4, built_in.stderr
    listed = run(tmp_path, "camera", "list").stdout
    assert "dir:// is built in, so what one 1.0 and other 1.0 adds for it is not used" in listed


def test_stages_keep_what_is_built_in_too(tmp_path: Path) -> None:
    points = "[edgeleuk.stages]\nsocket = one:Stage\nopenflexure = one:Stage\n"
    package(tmp_path, "one", points, "raise SystemExit('it was imported')")
    for url in ("socket://127.0.0.1:1", "openflexure://127.0.0.1:1"):
        done = run(tmp_path, "stage", "info", "--stage", url)
        assert done.returncode == 6, done.stderr
        assert "imported" not in done.stderr
