"""``edgeleuk doctor`` on the machine that the tests run on."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def doctor(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgeleuk", "doctor", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("doctor")
    settings = 'camera = "rtsp://admin:s3cret@127.0.0.1:9/live"\nstage = "socket://127.0.0.1:9"\n'
    (folder / "edgeleuk.toml").write_text(settings)
    return folder


def test_a_machine_is_examined_and_what_does_not_answer_is_named(folder: Path) -> None:
    done = doctor(folder, "--json", "--bundle", "report.zip")
    found = json.loads(done.stdout)
    by_name = {(each["group"], each["name"]): each for each in found["findings"]}
    assert by_name["camera", "configured"]["state"] == "failure"
    assert by_name["stage", "board"]["state"] == "failure"
    # The software that runs these tests runs.
    for name in ("opencv", "litert", "xnnpack"):
        assert by_name["software", name]["state"] == "ok", by_name["software", name]
    assert by_name["disk", "speed"]["text"].startswith(("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"))
    soft = [
        each
        for each in found["findings"]
        if each["state"] == "failure" and each["group"] not in {"camera", "stage"}
    ]
    assert done.returncode == (3 if soft else 6)
    assert found["failures"] == sum(each["state"] == "failure" for each in found["findings"])
    assert "checks failed" in done.stderr
    assert "Traceback" not in done.stderr
    with zipfile.ZipFile(folder / "report.zip") as archive:
        members = {name: archive.read(name).decode() for name in archive.namelist()}
    assert "s3cret" not in "".join(members.values()) + done.stdout + done.stderr
    assert json.loads(members["edgeleuk-doctor.json"])["state"] == "failure"


def test_a_camera_and_a_stage_that_answer_are_named(tmp_path: Path) -> None:
    served = [sys.executable, "-m", "edgeleuk", "virtual-microscope", "--http", ":0", "--stage", ":0"]
    with subprocess.Popen(served, stderr=subprocess.PIPE, text=True) as stand:
        assert stand.stderr is not None
        there = re.search(r"camera (\S+)/stream, stage (\S+),", stand.stderr.readline())
        assert there is not None
        (tmp_path / "edgeleuk.toml").write_text(f'camera = "{there[1]}/stream"\n')
        done = doctor(tmp_path, "--stage", there[2])
        stand.terminate()
    for line in (
        r"\+ ok +configured +the camera of the settings sends \d+x\d+ .*at \d+ a second",
        r"\+ ok +board +\S.* answers",
        r"\+ ok +litert +it judges the golden cells as it should",
    ):
        assert re.search(line, done.stdout), done.stdout


def test_a_report_of_another_name_is_refused_at_once(tmp_path: Path) -> None:
    done = doctor(tmp_path, "--bundle", "default")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "error: a report of doctor is a ZIP file: got default, allowed FILE.zip" in done.stderr
