"""How checks are run, what is printed of them, and what a real machine says."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import fields
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from recorded_machines import CONTAINER, JETSON, PI_4, PI_5
from recording import USB_CAMERA, cameras, probe, sent, software, stage_info

from edgeleuk.capture.discovery import CameraList
from edgeleuk.commands.probe import ProbeResult
from edgeleuk.doctor import camera, stage
from edgeleuk.doctor.checks import CHECKS, Check, examine
from edgeleuk.doctor.diagnosis import read_settings
from edgeleuk.doctor.findings import Finding, examination, examination_text, failure, in_group, ok, warning
from edgeleuk.doctor.machine import Machine, this_machine
from edgeleuk.doctor.probe import main
from edgeleuk.doctor.system import LEAST_GLIBC, PYTHONS
from edgeleuk.errors import CheckFailedError, HardwareError
from edgeleuk.io.programs import Said
from edgeleuk_firmware_bridge.commands.results import StageInfo

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[4]


def nothing_runs(words: Sequence[str], timeout_s: float) -> Said | None:
    return None


def test_a_check_that_raises_is_a_finding_and_the_others_are_read(tmp_path: Path) -> None:
    def broken(machine: Machine) -> list[Finding]:
        raise KeyError("MemTotal")

    checks = (Check("system", "broken", broken), Check("system", "sound", lambda _: [ok("sound", "yes")]))
    found = examine(Machine(nothing_runs, root=tmp_path), checks)
    assert [(each.name, each.state) for each in found.findings] == [("broken", "warning"), ("sound", "ok")]
    assert found.findings[0].text == "the check itself failed: KeyError: 'MemTotal'"
    assert found.findings[0].cure
    assert found.findings[0].group == "system"


def test_a_check_that_hangs_is_a_finding_and_keeps_nobody(tmp_path: Path) -> None:
    end = threading.Event()

    def hangs(machine: Machine) -> list[Finding]:
        end.wait()
        return []

    checks = (Check("camera", "list", hangs, 0.05), Check("system", "sound", lambda _: [ok("sound", "yes")]))
    try:
        found = examine(Machine(nothing_runs, root=tmp_path), checks)
    finally:
        end.set()
    assert [(each.group, each.name, each.state) for each in found.findings] == [
        ("camera", "list", "failure"),
        ("system", "sound", "ok"),
    ]
    assert "no answer" in found.findings[0].text


def test_a_machine_that_tells_nothing_ends_no_check(tmp_path: Path) -> None:
    found = examine(Machine(nothing_runs, root=tmp_path))
    assert not [each for each in found.findings if "the check itself failed" in each.text]
    assert {each.group for each in found.findings} == {check.group for check in CHECKS}


@pytest.mark.parametrize("text", ["", "\0", "nonsense", "-1", "0x", "\xff" * 40, "9" * 400])
def test_odd_files_and_answers_end_no_check(text: str, tmp_path: Path) -> None:
    """Every file and every program of a machine says the same nonsense."""
    odd = PI_4.but(
        {name: text for name, content in PI_4.files.items() if not str(content).startswith("-> ")},
        {name: Said(0, text, text) for name in PI_4.programs},
    )
    found = examine(odd.lay_out(tmp_path))
    assert not [each for each in found.findings if "the check itself failed" in each.text]


def test_a_program_is_run_once_for_all_checks(tmp_path: Path) -> None:
    asked: list[str] = []

    def run(words: Sequence[str], timeout_s: float) -> Said | None:
        asked.append(" ".join(words))
        return PI_4.programs.get(asked[-1])

    recorded = PI_4.lay_out(tmp_path)
    examine(Machine(run, root=tmp_path, stage=recorded.stage, folder=recorded.folder, python="python"))
    assert len(asked) == len(set(asked)) > 20


def test_no_serial_port_is_opened_where_no_stage_is_configured(tmp_path: Path) -> None:
    (found,) = stage.board(PI_4.but(stage=None).lay_out(tmp_path))
    assert found.state == "ok"
    assert "no port was opened" in found.text


def test_no_address_of_the_settings_is_handed_to_a_program(tmp_path: Path) -> None:
    uri = "rtsp://admin:s3cret@10.0.0.5/live"
    asked: list[str] = []

    def run(words: Sequence[str], timeout_s: float) -> Said | None:
        asked.append(" ".join(words))
        return CONTAINER.programs.get(asked[-1])

    (found,) = camera.found(Machine(run, root=tmp_path, camera=uri, stage=uri, python="python"))
    assert found.name == "configured"
    assert not [words for words in asked if "s3cret" in words]
    assert "s3cret" not in found.text


def test_text_has_a_line_for_each_check_with_its_word_and_its_cure() -> None:
    findings = (
        in_group("system", ok("memory", "8.0 GB, 5.1 GB free")),
        in_group("disk", warning("room", "2.0 GB free at / (ext4)", "remove old sessions")),
        in_group("disk", failure("speed", "nothing can be written", "choose another folder")),
    )
    assert examination_text(examination(findings)).splitlines() == [
        "system",
        "  + ok       memory  8.0 GB, 5.1 GB free",
        "",
        "disk",
        "  ! warning  room    2.0 GB free at / (ext4)",
        "                     cure: remove old sessions",
        "  x failure  speed   nothing can be written",
        "                     cure: choose another folder",
        "",
        "1 ok, 1 warning, 1 failure",
    ]


@pytest.mark.parametrize(
    ("groups", "kind", "got"),
    [
        (("disk",), CheckFailedError, "got disk it"),
        (("camera",), HardwareError, "got camera it"),
        (("stage", "camera"), HardwareError, "got stage it, camera it"),
        (("camera", "disk"), CheckFailedError, "got disk it and 1 of hardware"),
    ],
)
def test_software_that_failed_comes_before_hardware(
    groups: tuple[str, ...], kind: type[CheckFailedError | HardwareError], got: str
) -> None:
    findings = tuple(in_group(group, failure("it", "is broken", "repair it")) for group in groups)
    error = examination(findings).failure()
    assert type(error) is kind
    assert got in str(error)


def test_a_probe_that_fails_says_so_as_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    main(["write", str(tmp_path / "nowhere")])
    found = json.loads(capsys.readouterr().out)
    assert found["error"].startswith("FileNotFoundError: ")


def test_writing_is_measured_and_leaves_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    main(["write", str(tmp_path)])
    found = json.loads(capsys.readouterr().out)
    assert found["mb_per_s"] > 0
    assert found["commit_ms"] > 0
    assert list(tmp_path.iterdir()) == []


def test_what_this_python_has_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["software"])
    found = json.loads(capsys.readouterr().out)
    (recorded,) = software().values()
    assert set(found) == set(json.loads(recorded.out))
    assert found["bits"] == 64
    assert "numpy" in found["versions"]
    assert any(each.startswith("numpy") for each in found["requires"][""])
    assert "dev" not in found["requires"]
    assert found["requires"]["stage"] == ["pyserial>=3.5"]


def test_settings_that_cannot_be_read_are_a_failure_and_end_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "edgeleuk.toml").write_text("threads = 99\n")
    settings, line = read_settings("socket://HOST:7011")
    assert settings.stage == "socket://HOST:7011"
    assert (line.name, line.state) == ("settings", "failure")
    assert "threads from 1 to 64, got 99" in line.text
    assert line.cure
    (tmp_path / "edgeleuk.toml").write_text("stage = 'serial:///dev/ttyUSB0'\n")
    settings, line = read_settings(None)
    assert (settings.stage, line.state) == ("serial:///dev/ttyUSB0", "ok")


def test_programs_see_the_settings_and_a_stage_that_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "edgeleuk.toml").write_text("")
    machine = this_machine(camera=None, stage="socket://HOST:7011", runtime="auto", session="runs/night.db")
    assert machine.environ["EDGELEUK_STAGE"] == "socket://HOST:7011"
    assert machine.environ["EDGELEUK_CONFIG"] == "edgeleuk.toml"
    assert str(machine.folder) == "runs"
    shown = "import os; print(os.environ['EDGELEUK_STAGE'])"
    assert machine.output(machine.python, "-c", shown, timeout_s=60.0) == "socket://HOST:7011"


def test_the_wheels_of_the_device_need_no_newer_glibc_than_doctor_asks_for() -> None:
    needed = {}
    for name in ("ai-edge-litert", "av", "msgspec", "numpy", "onnxruntime", "simplejpeg"):
        tags = metadata.distribution(name).read_text("WHEEL") or ""
        found = [(int(one), int(other)) for one, other in re.findall(r"manylinux_(\d+)_(\d+)_", tags)]
        # A wheel with several tags runs on the oldest.
        needed[name] = min(found, default=(0, 0))
    assert max(needed.values()) <= LEAST_GLIBC, needed


def test_doctor_knows_the_pythons_that_the_project_is_made_for() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    assert tuple(re.findall(r"Programming Language :: Python :: (3\.\d+)", text)) == PYTHONS


def test_recordings_speak_as_the_commands_do() -> None:
    """What doctor reads of other commands is what they print."""
    (listed,) = cameras(USB_CAMERA).values()
    assert msgspec.json.decode(listed.out, type=CameraList).cameras[0].node == "/dev/video0"
    for recorded, printed in ((sent(), ProbeResult.__struct_fields__), (stage_info(), _fields(StageInfo))):
        (said,) = recorded.values()
        assert set(json.loads(said.out)) <= set(printed)


def test_a_container_on_a_pi_does_not_look_for_its_ribbon_cable(tmp_path: Path) -> None:
    inside = PI_5.but({".dockerenv": ""}, probe("picamera", {"installed": False}))
    assert camera.ribbon(inside.lay_out(tmp_path)) == []


def _fields(kind: type[StageInfo]) -> list[str]:
    return [each.name for each in fields(kind)]


def test_no_stage_and_no_camera_of_a_jetson_is_asked_twice(tmp_path: Path) -> None:
    found = examine(JETSON.lay_out(tmp_path))
    assert [each.name for each in found.findings if each.group == "stage"] == ["ports", "board"]
