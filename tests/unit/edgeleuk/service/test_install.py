"""Installing into a system, and one clear sentence where that cannot be."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edgeleuk.commands import service
from edgeleuk.errors import EdgeleukError, MissingDependencyError, UsageError
from edgeleuk.io.settings import Settings, load_settings
from edgeleuk.service.install import Target, install, require_system, require_within_reach, uninstall
from edgeleuk.service.status import ServiceStatus, service_status, status_text
from edgeleuk.service.unit import Plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from outcome import Outcome

PLAN = Plan(Path("/opt/edgeleuk/bin/python"))
UNIT = Path("etc/systemd/system/edgeleuk.service")
CONFIG = Path("etc/edgeleuk/edgeleuk.toml")
LINK = Path("etc/systemd/system/multi-user.target.wants/edgeleuk.service")


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}


def test_installed_again_and_taken_away(tmp_path: Path) -> None:
    target = Target(tmp_path, is_live=False)
    written = install(PLAN, "threads = 1\n", target)
    assert files(tmp_path) == {str(path.relative_to("/")) for path in written} | {str(LINK)}
    assert (tmp_path / LINK).resolve() == tmp_path / UNIT
    assert stat.S_IMODE((tmp_path / CONFIG).stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / UNIT).stat().st_mode) == 0o644
    before = {path: (tmp_path / path).read_bytes() for path in files(tmp_path)}
    install(PLAN, "threads = 1\n", target)
    assert {path: (tmp_path / path).read_bytes() for path in files(tmp_path)} == before
    install(PLAN, "threads = 2\n", target)
    assert (tmp_path / CONFIG).read_text() == "threads = 2\n"
    assert (tmp_path / "etc/edgeleuk/edgeleuk.toml.before").read_text() == "threads = 1\n"
    uninstall(target)
    assert files(tmp_path) == {str(CONFIG), "etc/edgeleuk/edgeleuk.toml.before"}
    with pytest.raises(UsageError, match="the service is not installed here"):
        uninstall(target)


def test_what_somebody_else_wrote_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / UNIT).parent.mkdir(parents=True)
    (tmp_path / UNIT).write_text("[Service]\nExecStart=/usr/bin/mine\n")
    with pytest.raises(UsageError, match="edgeleuk did not make it"):
        install(PLAN, "", Target(tmp_path, is_live=False))
    assert files(tmp_path) == {str(UNIT)}


def test_a_system_that_is_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> int:
        raise OSError(30, "Read-only file system")

    (tmp_path / UNIT).parent.mkdir(parents=True)
    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(
        UsageError, match=r"edgeleuk.service cannot be written: got Read-only file system; mount"
    ):
        install(PLAN, "", Target(tmp_path, is_live=False))


def test_no_systemd(tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match="needs systemd, which does not run here") as told:
        require_system(Target(), tmp_path / "none")
    assert told.value.exit_code == 5


def test_no_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UsageError, match="by root alone; run it with sudo") as told:
        require_system(Target(), tmp_path)
    assert told.value.exit_code == 2
    # Who may write into a folder may prepare an image in it.
    require_system(Target(tmp_path, is_live=False), tmp_path / "none")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("lab.edgeleuk", "the bundle is no whole path"),
        ("/home/pi/lab.edgeleuk", "lies where the service may not look"),
        ("/etc/edgeleuk/none.edgeleuk", "cannot be read: got .*No such file"),
    ],
)
def test_a_file_out_of_reach(path: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        require_within_reach("the bundle", Path(path))


def test_a_file_that_others_may_not_read(tmp_path: Path) -> None:
    # What pytest makes is for its user alone.
    for folder in (tmp_path, *tmp_path.parents):
        if not folder.stat().st_mode & stat.S_IXOTH:
            with pytest.raises(UsageError, match=r"may not be read by the service's user.*chmod o\+x"):
                require_within_reach("the bundle", tmp_path)
            folder.chmod(folder.stat().st_mode | stat.S_IXOTH)
    file = tmp_path / "lab.edgeleuk"
    file.touch(0o600)
    with pytest.raises(UsageError, match=rf"chmod o\+r {file}"):
        require_within_reach("the bundle", file)
    file.chmod(0o644)
    require_within_reach("the bundle", file)


def test_print_shows_and_writes_nothing(edgeleuk: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "edgeleuk.toml").write_text('camera = "v4l2:///dev/video0"\nserve = "8000"\n')
    done = edgeleuk("service", "install", "--print")
    assert done.code == 0, done.err
    assert f"ExecStart={sys.executable} -I -m edgeleuk service run" in done.out
    assert "SocketBindAllow=tcp:8000" in done.out
    assert files(tmp_path) == {"edgeleuk.toml"}


def test_an_image_gets_the_settings_with_whole_paths(
    edgeleuk: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "require_within_reach", lambda *_: None)
    (tmp_path / "edgeleuk.toml").write_text('bundle = "lab.edgeleuk"\ncamera = "picamera://0"\n')
    done = edgeleuk("service", "install", "--root", "image", "--config", "edgeleuk.toml")
    assert done.code == 0, done.err
    found = load_settings(Settings, file=tmp_path / "image" / CONFIG, environ={})
    assert (found.bundle, found.camera) == (str(tmp_path / "lab.edgeleuk"), "picamera://0")
    assert "enabled   it starts with that system" in done.out
    # Installed once more without a file, it keeps them.
    (tmp_path / "edgeleuk.toml").unlink()
    assert edgeleuk("service", "install", "--root", "image").code == 0
    assert load_settings(Settings, file=tmp_path / "image" / CONFIG, environ={}) == found
    assert edgeleuk("service", "uninstall", "--root", "image").code == 0
    assert files(tmp_path / "image") == {str(CONFIG)}


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        ('camera = "http://camera.invalid/"\n', 2, "a host of the settings is not known here"),
        ('session_per = "hour"\n', 2, "bad setting"),
        ('serve = "here"\n', 2, "where to serve the page cannot be read"),
        ('tls_cert = "a.pem"\n', 2, "a certificate is of use with --serve alone"),
    ],
)
def test_bad_settings(
    edgeleuk: Callable[..., Outcome], tmp_path: Path, settings: str, code: int, said: str
) -> None:
    (tmp_path / "edgeleuk.toml").write_text(settings)
    done = edgeleuk("service", "install", "--print")
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith("error: ")
    assert said in done.err
    assert len(done.err.splitlines()) == 1


PROGRAM = """#!/bin/sh
echo "$(basename "$0") $*" >> {log}
{does}
"""


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Put programs of the system in place that only write down what they are told."""

    def make(**does: str) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir()
        for name in ("systemctl", "systemd-sysusers", "systemd-tmpfiles", "udevadm", "journalctl"):
            program = folder / name
            script = PROGRAM.format(log=tmp_path / "log", does=does.get(name.replace("-", "_"), ":"))
            program.write_text(script)
            program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        return tmp_path / "log"

    return make


def test_a_running_system_makes_the_user_first_and_starts_the_service_last(
    system: Callable[..., Path], tmp_path: Path
) -> None:
    log = system()
    install(PLAN, "", Target(tmp_path / "root"))
    called = log.read_text().splitlines()
    assert called[0] == "systemd-sysusers /etc/sysusers.d/edgeleuk.conf"
    assert called[-3:] == [
        "systemctl daemon-reload",
        "systemctl enable edgeleuk.service",
        "systemctl restart --no-block edgeleuk.service",
    ]
    uninstall(Target(tmp_path / "root"))
    assert "systemctl disable --now edgeleuk.service" in log.read_text()


def test_a_program_of_the_system_that_fails_is_named(system: Callable[..., Path], tmp_path: Path) -> None:
    system(systemctl="echo 'Access denied' >&2; exit 4")
    with pytest.raises(EdgeleukError, match="`systemctl daemon-reload` failed: got Access denied"):
        install(PLAN, "", Target(tmp_path / "root"))


SHOWN = """LoadState=loaded
ActiveState={state}
SubState={step}
Result={result}
StatusText=12 fields, 3 rejected, 7 cells counted
ActiveEnterTimestamp=Mon 2026-11-30 22:15:00 UTC
NRestarts=2
"""


@pytest.mark.parametrize(
    ("state", "step", "result", "code"),
    [
        ("active", "running", "success", 0),
        ("failed", "failed", "exit-code", 3),
        ("activating", "auto-restart", "watchdog", 3),
    ],
)
def test_status(
    system: Callable[..., Path],
    edgeleuk: Callable[..., Outcome],
    state: str,
    step: str,
    result: str,
    code: int,
) -> None:
    system(systemctl=f"cat <<'END'\n{SHOWN.format(state=state, step=step, result=result)}END")
    done = edgeleuk("service", "status", "--json")
    assert done.code == code
    found = json.loads(done.out)
    assert (found["installed"], found["state"], found["restarts"]) == (True, state, 2)
    assert found["text"] == "12 fields, 3 rejected, 7 cells counted"
    text = edgeleuk("service", "status").out
    assert text.startswith(f"service   {state} ({step}) since Mon 2026-11-30")
    assert f"the last end: {result}" in text


def test_status_names_session_and_failures(system: Callable[..., Path], tmp_path: Path) -> None:
    system(systemctl=f"cat <<'END'\n{SHOWN.format(state='active', step='running', result='success')}END")
    (tmp_path / "service.json").write_text('{"session": "a.db", "failures": 2, "token": "t"}')
    found = service_status(tmp_path)
    assert found.session == str(tmp_path / "a.db")
    assert "failures  2 in a row" in status_text(found)
    assert "token" not in status_text(found)


def test_status_of_what_is_not_installed(
    system: Callable[..., Path], edgeleuk: Callable[..., Outcome]
) -> None:
    system(systemctl="echo LoadState=not-found; echo ActiveState=inactive; echo SubState=dead")
    done = edgeleuk("service", "status")
    assert done.code == 3
    assert "the service is not installed here; sudo edgeleuk service install" in done.err


def test_status_and_logs_without_systemd(
    edgeleuk: Callable[..., Outcome],
    system: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    system(systemctl="echo 'System has not been booted with systemd' >&2; exit 1")
    done = edgeleuk("service", "status")
    assert (done.code, "got System has not been booted" in done.err) == (5, True)
    monkeypatch.setenv("PATH", str(tmp_path))
    done = edgeleuk("service", "logs")
    assert (done.code, done.err) == (
        5,
        "error: journalctl is not there, so there is no log; sudo apt install systemd\n",
    )


def test_logs_are_the_journals(system: Callable[..., Path], edgeleuk: Callable[..., Outcome]) -> None:
    log = system(journalctl="echo a line")
    done = edgeleuk("service", "logs", "--lines", 7, "--follow")
    assert (done.code, done.out) == (0, "a line\n")
    assert "--unit edgeleuk.service --lines 7 --output short-iso --follow" in log.read_text()


def test_the_status_of_a_service_that_runs_is_no_failure() -> None:
    running = ServiceStatus(installed=True, state="active", step="running", result="success", restarts=0)
    assert running.failure() is None
