"""``doctor --bundle``: what helps is in it, and what is nobody's business is not."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING

import pytest
from recorded_machines import PI_4
from recording import kernel, says

from edgeleuk.doctor.bug_report import Redaction, require_zip, write_report
from edgeleuk.doctor.checks import examine
from edgeleuk.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

SECRETS = ("s3cret", "hunter2", "tok-123", "ada", "10000000abcdef01", "dc:a6:32:01:02:03", "stand")


def report(tmp_path: Path) -> dict[str, str]:
    machine = PI_4.but(
        programs={
            **kernel("usb 1-1.2: SerialNumber: 10000000abcdef01", "usb 1-1.4: eth dc:a6:32:01:02:03 of ada"),
            "python -m edgeleuk camera probe --seconds 1 --json": says("{}"),
        },
        camera="rtsp://admin:s3cret@10.0.0.5/live?token=tok-123",
    ).lay_out(tmp_path / "root")
    settings = {
        "camera": machine.camera,
        "session": "/home/ada/runs/night.db",
        "mqtt_password": "hunter2",
        "broker": {"api_key": "hunter2", "keep": 30},
        "flat_field": "gstreamer token=tok-123",
    }
    file = tmp_path / "report.zip"
    write_report(file, examine(machine), machine, settings)
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_a_report_holds_what_helps(tmp_path: Path) -> None:
    members = report(tmp_path)
    assert json.loads(members["edgeleuk-doctor.json"])["schema_version"] == 1
    assert "Raspberry Pi 4 Model B Rev 1.4" in members["edgeleuk-doctor.txt"]
    assert json.loads(members["software.json"])["versions"]["numpy"] == "2.2.6"
    assert json.loads(members["settings.json"]) == {
        "camera": "rtsp://***:***@10.0.0.5/live?token=***",
        "session": "/home/USER/runs/night.db",
        "mqtt_password": "***",
        "broker": {"api_key": "***", "keep": 30},
        "flat_field": "gstreamer token=***",
    }
    assert "usb 1-1.2" in members["machine/kernel.txt"]
    assert "0xd08" in members["machine/proc/cpuinfo"]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_report_holds_no_secret_and_no_name(secret: str, tmp_path: Path) -> None:
    for name, text in report(tmp_path).items():
        assert secret not in text.replace("standard", ""), name


def test_a_report_holds_no_picture(tmp_path: Path) -> None:
    assert all(name.endswith((".txt", ".json")) or name.startswith("machine/") for name in report(tmp_path))


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("/home/ada/a.db", "/home/USER/a.db"),
        ("/media/ada/STICK", "/media/USER/STICK"),
        ("PASSWORD=hunter2 x", "PASSWORD=*** x"),
        ('"api-key": "hunter2"', '"api-key": "hunter2"'),
        ("http://u:p@h/s", "http://***:***@h/s"),
        ("the monkey of Adam", "the monkey of Adam"),
    ],
)
def test_names_and_secrets_are_taken_out(text: str, hidden: str) -> None:
    assert Redaction(users=("ada",)).text(text) == hidden


@pytest.mark.parametrize("name", ["report", "report.json", "default.edgeleuk"])
def test_a_report_is_a_zip_file(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a report of doctor is a ZIP file: got .*allowed FILE.zip"):
        require_zip(tmp_path / name)


def test_a_zip_of_another_make_is_not_written_over(tmp_path: Path) -> None:
    file = tmp_path / "holiday.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("beach.txt", "sand")
    with pytest.raises(UsageError, match="edgeleuk did not make it"):
        require_zip(file)
    report(tmp_path)
    require_zip(tmp_path / "report.zip")
