"""Puts the service's files where systemd and udev look for them, and takes them away again."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeleuk.errors import EdgeleukError, MissingDependencyError, UsageError
from edgeleuk.io.atomic import bears, replace_file, require_replaceable, write_errors_of
from edgeleuk.io.console import say
from edgeleuk.io.programs import run_program
from edgeleuk.service.unit import CONFIG, HEAD, NAME, PLACES, UNIT, files_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeleuk.service.unit import Plan

RUNNING = Path("/run/systemd/system")
_WANTED_BY = Path(f"/etc/systemd/system/multi-user.target.wants/{UNIT}")
# What the unit hides from the service.
_HIDDEN = (Path("/home"), Path("/root"), Path("/run/user"))
_PROGRAM_S = 60.0


@dataclass(frozen=True)
class Target:
    """The system that the service is installed into.

    Attributes
    ----------
    root : Path
        Its root folder.
    is_live : bool
        Whether it is the one that runs: else files are written, and nothing is started.
    """

    root: Path = Path("/")
    is_live: bool = True

    def place(self, path: Path) -> Path:
        """Return where a file of the system lies."""
        return self.root / path.relative_to("/")


def require_system(target: Target, running: Path = RUNNING) -> None:
    """See that a service can be installed here.

    Raises
    ------
    MissingDependencyError
        systemd does not run here.
    UsageError
        Who asks is not root.
    """
    if target.is_live and not running.is_dir():
        raise MissingDependencyError(
            "a service needs systemd, which does not run here",
            cure="run `edgeleuk run --resume` by what starts programs here, or write the files into a system"
            " that does not run with --root DIR",
        )
    if target.is_live and os.geteuid() != 0:
        raise UsageError(
            "a service is installed by root alone", cure="run it with sudo, or see its files with --print"
        )


def require_within_reach(what: str, path: Path) -> None:
    """See that the service may read a file or a folder.

    Raises
    ------
    UsageError
        It is named by a part of its path, is not there, or may not be read by all.
    """
    if not path.is_absolute():
        raise UsageError(f"{what} is no whole path", got=path, cure="write it from / on, in the settings")
    real = path.resolve()
    hidden = [folder for folder in _HIDDEN if path.is_relative_to(folder) or real.is_relative_to(folder)]
    if hidden:
        raise UsageError(
            f"{what} lies where the service may not look",
            got=path,
            allowed="any place but /home and /root, such as /opt/edgeleuk or /etc/edgeleuk",
            cure="move it there",
        )
    for part in (real, *real.parents):
        try:
            mode = part.stat().st_mode
        except OSError as error:
            raise UsageError(f"{what} cannot be read", got=f"{part} ({error.strerror})") from error
        needed = stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH
        if not mode & needed:
            raise UsageError(
                f"{what} may not be read by the service's user",
                got=part,
                cure=f"chmod o+{'x' if stat.S_ISDIR(mode) else 'r'} {part}",
            )


def install(plan: Plan, settings: str, target: Target) -> list[Path]:
    """Write the files, and start the service where the system runs.

    Parameters
    ----------
    plan : Plan
    settings : str
        The text of the settings' file.
    target : Target

    Returns
    -------
    list of Path
        What was written, as the system knows it.

    Raises
    ------
    UsageError
        A file cannot be written, or somebody else made it.
    EdgeleukError
        A program of the system failed; it says which, and what it said.
    """
    files = files_of(plan)
    for path in files:
        require_replaceable(target.place(path), bears(HEAD.encode()), "--root")
    for path, text in files.items():
        _write(target.place(path), text)
    _write_settings(target.place(CONFIG), settings)
    link = target.place(_WANTED_BY)
    if target.is_live:
        _start()
    else:
        with write_errors_of(link):
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(Path("..") / UNIT)
    return [CONFIG, *files]


def uninstall(target: Target) -> list[Path]:
    """Stop the service, and take its files away; sessions, settings and its user stay.

    Raises
    ------
    UsageError
        It is not installed, or a file cannot be removed.
    """
    there = [path for path in (*PLACES, _WANTED_BY) if _is_there(target.place(path))]
    if not there:
        raise UsageError("the service is not installed here", cure="nothing is to be removed")
    if target.is_live:
        _call("systemctl", "disable", "--now", UNIT)
    for path in there:
        with write_errors_of(path):
            target.place(path).unlink(missing_ok=True)
    if target.is_live:
        _call("systemctl", "daemon-reload")
        _call("systemctl", "reset-failed", UNIT, may_fail=True)
        _call("udevadm", "control", "--reload", may_fail=True)
    return there


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _write(path: Path, text: str) -> None:
    with write_errors_of(path, "mount its folder for writing, or see the files with --print"):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, text.encode())
        path.chmod(0o644)


def _write_settings(path: Path, text: str) -> None:
    """Write the settings for root and the service alone, and keep those of before beside them."""
    with write_errors_of(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file() and path.read_text(encoding="utf-8", errors="replace") != text:
            before = path.with_suffix(".toml.before")
            replace_file(before, path.read_bytes())
            before.chmod(0o600)
            say(f"  the settings of before are kept as {before}")
        if not path.is_file():
            path.touch(0o640)
        replace_file(path, text.encode())
        path.chmod(0o640)


def _start() -> None:
    _call("systemd-sysusers", f"/etc/sysusers.d/{NAME}.conf")
    _call("systemd-tmpfiles", "--create", f"/etc/tmpfiles.d/{NAME}.conf")
    # Without udev, as in a container, devices are what they are.
    _call("udevadm", "control", "--reload", may_fail=True)
    _call("udevadm", "trigger", "--action=change", may_fail=True)
    _call("systemctl", "daemon-reload")
    _call("systemctl", "enable", UNIT)
    # Returns at once: the first frame may take its time.
    _call("systemctl", "restart", "--no-block", UNIT)


def _call(*words: str, may_fail: bool = False) -> None:
    said = run_program(words, _PROGRAM_S)
    if may_fail or (said is not None and said.code == 0):
        return
    if said is None:
        raise MissingDependencyError(f"{words[0]} is not there", cure="sudo apt install systemd")
    told = "it took too long" if said.code is None else _last_line(said.error or said.out)
    raise EdgeleukError(f"`{' '.join(words)}` failed", got=told, cure="see `journalctl -xe`")


def _last_line(text: str) -> str:
    lines: Sequence[str] = text.strip().splitlines()
    return lines[-1] if lines else "it said nothing"
