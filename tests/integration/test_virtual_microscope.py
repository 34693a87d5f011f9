"""The whole product over real transports: a camera on HTTP, a board on a socket, commands beside them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from edgeleuk.session import read_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EDGELEUK = [sys.executable, "-m", "edgeleuk"]
STEP = ("--um-per-step", "0.1")


@pytest.fixture(params=["grbl"])
def microscope(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    words = ("--http", ":0", "--stage", ":0", "--protocol", request.param, "--width", "640", "--fps", "20")
    process = subprocess.Popen(
        [*EDGELEUK, "virtual-microscope", *words, *STEP, "--seed", "4"], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    found = re.search(r"SIMULATED camera (\S+), stage (\S+),", line)
    assert found is not None, line
    yield found[1], found[2]
    process.kill()
    process.communicate()


def run(*words: str, folder: Path) -> dict[str, object]:
    done = subprocess.run(
        [*EDGELEUK, *words, "--json"], cwd=folder, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr
    facts: dict[str, object] = json.loads(done.stdout)
    return facts


def test_a_microscope_is_calibrated_a_slide_scanned_and_watched(
    microscope: tuple[str, str], tmp_path: Path
) -> None:
    camera, stage = microscope
    where = ("--stage", stage, "--camera", camera)
    mapping = run("stage", "map", *where, *STEP, "--lamp", "0.5", "--out", "stage.toml", folder=tmp_path)
    assert mapping["px_per_um"] == pytest.approx(13.0, rel=0.01)
    assert mapping["angle_degrees"] == pytest.approx(0.0, abs=0.5)
    assert mapping["backlash_um"] == pytest.approx([3.0, 3.0], abs=0.3)
    # From now on the step, the play and the lamp are the file's: without it the pictures would be black.
    where = (*where, "--stage-config", "stage.toml")
    words = ("scan", "--area", "0.08x0.06", *where, "--session", "s.db", "--picture", "slide.png")
    # A laboratory without control sessions yet: a scan that needs them does not begin, another says so.
    control = ("--control", "control.json")
    refused = subprocess.run(
        [*EDGELEUK, *words, *control, "--control-required"], cwd=tmp_path, capture_output=True, text=True,
        check=False, timeout=240,
    )  # fmt: skip
    assert (refused.returncode, "0 of 5 control sessions" in refused.stderr) == (3, True), refused.stderr
    assert not (tmp_path / "s.db").exists()
    summary = run(*words, *control, folder=tmp_path)
    assert summary["control"]["state"] == "no limits yet"  # type: ignore[index]
    assert summary["frames"]["processed"] == 4  # type: ignore[index]
    assert (tmp_path / "slide.png").stat().st_size > 100_000
    with read_session(tmp_path / "s.db") as reader:
        assert reader.verify().broken is None
    assert run("stage", "move", "--z", "-6", "--stage", stage, *STEP, folder=tmp_path)["steps"]["z"] == -60  # type: ignore[index]
    summary = run("run", *where, "--autofocus", "--frames", "8", "--session", "r.db", folder=tmp_path)
    assert summary["frames"]["processed"] == 8  # type: ignore[index]
    assert summary["frames"]["rejected"] == 0  # type: ignore[index]
    with read_session(tmp_path / "r.db") as reader:
        texts = [row["text"] for row in reader.rows("events") if row["kind"] == "focus"]
    assert len(texts) == 1
    assert re.match(r"found at [45]\.\d um, from 1\d pictures", texts[0])


@pytest.mark.parametrize("microscope", ["sangaboard"], indirect=True)
def test_a_focus_is_found_although_nobody_told_the_length_of_a_step(
    microscope: tuple[str, str], tmp_path: Path
) -> None:
    camera, stage = microscope
    where = ("--stage", stage, "--camera", camera)
    words = ("run", *where, "--lamp", "0.5", "--autofocus", "--frames", "3", "--session", "r.db")
    summary = run(*words, folder=tmp_path)
    assert summary["frames"]["processed"] == 3  # type: ignore[index]
    assert summary["frames"]["rejected"] == 0  # type: ignore[index]
    with read_session(tmp_path / "r.db") as reader:
        (text,) = [row["text"] for row in reader.rows("events") if row["kind"] == "focus"]
    assert str(text).endswith("9 times as far: pass --um-per-step")
