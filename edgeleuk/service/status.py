"""How the service does: what systemd says of it, and which session it records."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from edgeleuk.errors import CheckFailedError, EdgeleukError, MissingDependencyError
from edgeleuk.io.console import printable
from edgeleuk.io.programs import run_program
from edgeleuk.results.structs import Printed
from edgeleuk.service.memory import FILE, Memory
from edgeleuk.service.unit import STATE, UNIT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edgeleuk.io.programs import Said

    Run = Callable[[Sequence[str], float], Said | None]

_PROGRAM_S = 20.0
# What is asked of systemd, and what it is called here.
_ASKED = {
    "LoadState": "load",
    "ActiveState": "state",
    "SubState": "step",
    "Result": "result",
    "UnitFileState": "enabled",
    "StatusText": "text",
    "ActiveEnterTimestamp": "since",
}
_CURES = {
    "failed": "see `edgeleuk service logs`, then `edgeleuk doctor`",
    "activating": "wait for its first frame, or see `edgeleuk service logs`",
    "inactive": "sudo systemctl start edgeleuk",
}


class ServiceStatus(Printed, frozen=True, kw_only=True):
    """What ``edgeleuk service status --json`` prints.

    Attributes
    ----------
    installed : bool
    enabled : bool
        It starts with the machine.
    state : str
        ``active``, ``activating`` (it starts, or waits for the next try), ``inactive`` or ``failed``.
    step : str
        systemd's own word, such as ``running`` or ``auto-restart``.
    result : str
        How it ended last: ``success``, ``watchdog``, ``exit-code``, ``signal`` or ``timeout``.
    restarts : int
        How often systemd has started it anew by itself.
    since : str or None
        When it became active.
    text : str
        What it says of itself.
    session : str or None
        The file it records into; None where that may not be read, or the settings name it.
    failures : int or None
        Runs that failed in a row; None where that may not be read.
    """

    schema_version: int = 1
    installed: bool
    enabled: bool = False
    state: str
    step: str
    result: str
    restarts: int
    since: str | None = None
    text: str = ""
    session: str | None = None
    failures: int | None = None

    def failure(self) -> EdgeleukError | None:
        """Return the error that the command ends with; None where the service runs."""
        if self.state == "active":
            return None
        if not self.installed:
            return CheckFailedError(
                "the service is not installed here", cure="sudo edgeleuk service install --config FILE"
            )
        return CheckFailedError(
            "the service does not run", got=f"{self.state} ({self.step})", cure=_CURES.get(self.state)
        )


def service_status(folder: Path = STATE, run: Run = run_program) -> ServiceStatus:
    """Ask systemd.

    Parameters
    ----------
    folder : Path
        Where the service keeps its memory.
    run : callable
        Runs a program, as `run_program` does.

    Raises
    ------
    MissingDependencyError
        systemd is not here, or does not run.
    """
    said = run(("systemctl", "show", UNIT, "-p", ",".join((*_ASKED, "NRestarts"))), _PROGRAM_S)
    if said is None or said.code != 0:
        raise MissingDependencyError(
            "systemd does not run here, so there is no service",
            got=None if said is None else said.error.strip() or None,
            cure="see `edgeleuk run --help`",
        )
    facts = dict(line.split("=", 1) for line in said.out.splitlines() if "=" in line)
    memory = None
    with suppress(OSError, msgspec.MsgspecError):
        memory = msgspec.json.decode((folder / FILE).read_bytes(), type=Memory)
    named = None if memory is None or memory.session is None else str(folder / memory.session)
    restarts = facts.get("NRestarts", "0")
    return ServiceStatus(
        installed=facts.get("LoadState") == "loaded",
        enabled=facts.get("UnitFileState") == "enabled",
        state=facts.get("ActiveState", "inactive"),
        step=facts.get("SubState", ""),
        result=facts.get("Result", ""),
        restarts=int(restarts) if restarts.isdigit() else 0,
        since=facts.get("ActiveEnterTimestamp") or None,
        text=facts.get("StatusText", ""),
        session=named,
        failures=None if memory is None else memory.failures,
    )


def status_text(status: ServiceStatus) -> str:
    """Say the same for people."""
    lines = [f"service   {status.state} ({status.step})" + (f" since {status.since}" if status.since else "")]
    if status.text:
        lines.append(f"says      {printable(status.text)}")
    if status.installed and not status.enabled:
        lines.append("enabled   no: it does not start with the machine")
    if status.restarts or status.result not in ("", "success"):
        lines.append(f"restarts  {status.restarts}, the last end: {status.result}")
    if status.failures:
        lines.append(f"failures  {status.failures} in a row")
    if status.session is not None:
        lines.append(f"session   {printable(status.session)}")
    return "\n".join(lines)


def show_logs(lines: int, *, follow: bool) -> None:
    """Print what the service said, by journalctl.

    Raises
    ------
    MissingDependencyError
        There is no journalctl.
    EdgeleukError
        It failed, and said why.
    """
    words = ["journalctl", "--unit", UNIT, "--lines", str(lines), "--output", "short-iso"]
    words += ["--follow"] if follow else ["--no-pager"]
    try:
        code = subprocess.run(words, check=False).returncode  # noqa: S603 - as written above
    except FileNotFoundError:
        raise MissingDependencyError(
            "journalctl is not there, so there is no log", cure="sudo apt install systemd"
        ) from None
    if code != 0:
        raise EdgeleukError("journalctl failed", got=f"exit code {code}", cure="run it with sudo")
