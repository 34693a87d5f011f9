"""The files of the service, as the tools of systemd see them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgeleuk.commands.service import plan_of
from edgeleuk.errors import UsageError
from edgeleuk.io.settings import Settings
from edgeleuk.service.network import LOCAL_NETWORKS, Network, network_of
from edgeleuk.service.unit import ABORT_S, WATCHDOG_S, Plan, files_of, rules_text, shown, unit_text

PYTHON = Path(sys.executable)
PLANS = {
    "no network": Plan(PYTHON),
    "a page for others": Plan(PYTHON, Network(LOCAL_NETWORKS, 8000), stage=False),
    "a camera by name": Plan(PYTHON, Network(("10.0.0.5", "localhost"), by_name=("cam.lab",)), cameras=()),
    "a Jetson's camera": Plan(PYTHON, needs_host=True),
    "sessions elsewhere": Plan(PYTHON, writable=(Path("/mnt/a disk/50 %"),)),
}


def keys(text: str, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", text, re.MULTILINE)


@pytest.fixture(scope="module")
def analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("Debian's package systemd is not installed")
    return found


@pytest.mark.parametrize("name", PLANS)
def test_systemd_finds_nothing_wrong_and_little_exposed(name: str, analyze: str, tmp_path: Path) -> None:
    file = tmp_path / "edgeleuk.service"
    file.write_text(unit_text(PLANS[name]))
    # It ends with 0 on keys that it does not know, and says so.
    done = subprocess.run([analyze, "verify", file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = subprocess.run(
        [analyze, "security", "--offline=true", "--no-pager", file],
        capture_output=True,
        text=True,
        check=True,
    )
    level = re.search(r"exposure level for edgeleuk.service: ([\d.]+)", done.stdout)
    assert level is not None
    assert float(level[1]) < 3.0


def test_systemd_is_heard_where_something_is_wrong(analyze: str, tmp_path: Path) -> None:
    """The test above would see it."""
    file = tmp_path / "edgeleuk.service"
    file.write_text(unit_text(PLANS["no network"]).replace("RestartSec=", "RestartSecs="))
    done = subprocess.run([analyze, "verify", file], capture_output=True, text=True, check=False)
    assert "RestartSecs" in done.stderr


def test_a_silent_camera_is_seen_to_within_a_minute() -> None:
    text = unit_text(PLANS["no network"])
    assert keys(text, "WatchdogSec") == [str(WATCHDOG_S)]
    assert keys(text, "TimeoutAbortSec") == [str(ABORT_S)]
    assert WATCHDOG_S + ABORT_S + int(keys(text, "RestartSec")[0]) < 60
    # And the kernel ends no service for good.
    assert keys(text, "StartLimitIntervalSec") == ["0"]


@pytest.mark.parametrize(
    ("settings", "allowed", "port"),
    [
        ({"camera": "v4l2:///dev/video0"}, (), None),
        ({"camera": "rtsp://user:p@ss@10.0.0.5/live"}, ("10.0.0.5",), None),
        ({"camera": "openflexure://10.0.0.7", "stage": "openflexure://10.0.0.7"}, ("10.0.0.7",), None),
        ({"camera": "http://[fd00::5]:8080/stream"}, ("fd00::5",), None),
        ({"camera": "http://localhost:8080/stream"}, ("localhost",), None),
        ({"stage": "socket://192.168.1.9:23"}, ("192.168.1.9",), None),
        ({"serve": "8000"}, ("localhost",), 8000),
        ({"serve": "0.0.0.0:0"}, LOCAL_NETWORKS, 0),
    ],
)
def test_the_network_is_what_the_settings_name(
    settings: dict[str, str], allowed: tuple[str, ...], port: int | None
) -> None:
    plan = plan_of(Settings(**settings))  # type: ignore[arg-type]
    assert (plan.network.allowed, plan.network.port) == (allowed, port)
    text = unit_text(plan)
    assert keys(text, "IPAddressDeny") == ["any"]
    assert keys(text, "PrivateNetwork") == ([] if allowed else ["yes"])
    assert keys(text, "IPAddressAllow") == ([" ".join(allowed)] if allowed else [])
    assert keys(text, "SocketBindAllow") == ([] if port is None else [f"tcp:{port}" if port else "tcp"])


def test_a_name_is_looked_up_and_may_be_looked_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolvers = tmp_path / "resolv.conf"
    resolvers.write_text("search lab\nnameserver 10.0.0.1\nnameserver fe80::1%eth0\n")
    answers = {"cam.lab": [(2, 1, 6, "", ("10.0.0.5", 0)), (10, 1, 6, "", ("fd00::5", 0, 0, 0))]}
    monkeypatch.setattr("socket.getaddrinfo", lambda host, *_, **__: answers[host])
    found = network_of(Settings(camera="http://cam.lab/stream"), resolvers=resolvers)
    assert found == Network(("10.0.0.5", "fd00::5", "localhost", "10.0.0.1", "fe80::1"), by_name=("cam.lab",))
    assert "# cam.lab was at these addresses" in unit_text(Plan(PYTHON, found))


def test_a_name_that_is_unknown_here() -> None:
    with pytest.raises(UsageError, match="is not known here: got camera"):
        network_of(Settings(camera="http://camera.invalid/stream"))


@pytest.mark.parametrize(
    ("camera", "devices"),
    [
        ("v4l2:///dev/v4l/by-id/NAME", {"char-video4linux"}),
        ("picamera://0", {"char-video4linux", "char-media", "char-dma_heap"}),
        ("rtsp://10.0.0.5/live", set()),
    ],
)
def test_only_the_devices_of_the_camera_are_open(camera: str, devices: set[str]) -> None:
    text = unit_text(plan_of(Settings(camera=camera)))
    assert keys(text, "DevicePolicy") == ["closed"]
    assert {word.split()[0] for word in keys(text, "DeviceAllow")} == devices
    with_stage = unit_text(plan_of(Settings(camera=camera, stage="serial:///dev/ttyUSB0")))
    assert "DeviceAllow=char-ttyUSB rw" in with_stage


def test_a_session_elsewhere_may_be_written() -> None:
    assert keys(unit_text(plan_of(Settings(session="night.db"))), "ReadWritePaths") == []
    assert keys(unit_text(plan_of(Settings(session="/mnt/usb/night.db"))), "ReadWritePaths") == ["/mnt/usb"]
    # A disk of its own is waited for.
    assert keys(unit_text(plan_of(Settings(session="/mnt/usb/night.db"))), "RequiresMountsFor") == [
        "/mnt/usb"
    ]
    quoted = keys(unit_text(PLANS["sessions elsewhere"]), "ReadWritePaths")
    assert quoted == ['"/mnt/a disk/50 %%"']


def test_the_rules_are_rules() -> None:
    """Each is comparisons and assignments, in quotes, with commas between them: udev ignores what is not."""
    part = r'[A-Z][A-Z_]*(?:\{[\w/]+\})?(?:==|!=|=|\+=)"[^"]*"'
    rules = [line for line in rules_text().splitlines() if line and not line.startswith("#")]
    assert len(rules) > 5
    for rule in rules:
        assert re.fullmatch(rf"{part}(?:, {part})*", rule), rule
        assert re.search(r'[^=!]="|\+="', rule), rule


def test_udev_takes_the_rules(tmp_path: Path) -> None:
    udevadm = shutil.which("udevadm")
    version = udevadm and subprocess.run([udevadm, "--version"], capture_output=True, text=True, check=True)
    if not version or int(version.stdout) < 254:
        pytest.skip("udevadm verifies rules from version 254 on")
    file = tmp_path / "70-edgeleuk.rules"
    file.write_text(rules_text())
    done = subprocess.run([udevadm, "verify", file], capture_output=True, text=True, check=False)  # type: ignore[list-item]
    assert done.returncode == 0, done.stdout + done.stderr


def test_all_files_are_shown_with_their_places() -> None:
    text = shown(files_of(PLANS["no network"]))
    assert text.startswith("# /etc/systemd/system/edgeleuk.service\n# Written by edgeleuk.\n[Unit]\n")
    for place in ("udev/rules.d/70-edgeleuk.rules", "sysusers.d/edgeleuk.conf", "tmpfiles.d/edgeleuk.conf"):
        assert f"\n# /etc/{place}\n" in text
