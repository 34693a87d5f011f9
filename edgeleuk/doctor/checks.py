"""The checks, and how they are run: side by side, each for a bounded time, none able to end the others."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from edgeleuk.doctor import camera, clock, power, service, software, stage, storage, system
from edgeleuk.doctor.findings import examination, failure, in_group, warning

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeleuk.doctor.findings import Examination, Finding
    from edgeleuk.doctor.machine import Machine
    from edgeleuk.io.console import Progress


class Check(NamedTuple):
    """One check: its group and name, what it does, and for how long at most."""

    group: str
    name: str
    examine: Callable[[Machine], list[Finding]]
    limit_s: float = 20.0


CHECKS: tuple[Check, ...] = (
    Check("system", "board", system.board),
    Check("system", "system", system.operating_system, 30.0),
    Check("system", "memory", system.memory),
    Check("system", "swap", system.swap),
    Check("system", "service", service.service, 30.0),
    Check("software", "packages", software.packages, 30.0),
    Check("software", "extras", software.extras, 30.0),
    Check("software", "opencv", software.opencv, 80.0),
    Check("software", "litert", software.litert, 150.0),
    Check("software", "onnxruntime", software.onnxruntime, 150.0),
    Check("software", "provider", software.provider, 150.0),
    Check("software", "int8", software.dot_product),
    Check("camera", "permission", camera.permission),
    Check("camera", "list", camera.found, 120.0),
    Check("camera", "ribbon", camera.ribbon, 40.0),
    Check("camera", "usb", camera.bus),
    Check("stage", "ports", stage.ports),
    Check("stage", "board", stage.board, 60.0),
    Check("disk", "room", storage.room),
    Check("disk", "file system", storage.file_system),
    Check("disk", "speed", storage.speed, 50.0),
    Check("disk", "wear", storage.wear),
    Check("disk", "errors", storage.disk_errors),
    Check("power", "temperature", power.temperature),
    Check("power", "supply", power.supply),
    Check("power", "throttling", power.throttling),
    Check("power", "battery", power.battery),
    Check("time", "clock", clock.clock),
    Check("time", "own clock", clock.own_clock),
    Check("time", "time zone", clock.time_zone),
    Check("time", "language", clock.language),
)


def examine(
    machine: Machine,
    checks: Sequence[Check] = CHECKS,
    *,
    before: Sequence[Finding] = (),
    report: Progress | None = None,
) -> Examination:
    """Run all checks.

    Parameters
    ----------
    machine : Machine
    checks : sequence of Check, optional
    before : sequence of Finding
        Of what was read already, as the settings.
    report : callable, optional
        Told how many of how many checks are done.

    Returns
    -------
    Examination
        In the order of the checks. One that raises, or takes longer than its limit, is a finding as well.
    """
    running = [_Running(check, machine) for check in checks]
    findings = list(before)
    for number, each in enumerate(running, start=1):
        findings += each.findings()
        if report is not None:
            report(number, len(running))
    return examination(tuple(findings))


class _Running:
    """A check in a thread of its own: a daemon, as what hangs in a driver can be ended by nobody."""

    def __init__(self, check: Check, machine: Machine) -> None:
        self._check = check
        self._found: list[Finding] = []
        self._until_s = time.monotonic() + check.limit_s
        self._thread = threading.Thread(target=self._run, args=(machine,), name=check.name, daemon=True)
        self._thread.start()

    def findings(self) -> list[Finding]:
        """Wait for what it finds, until its time is over."""
        self._thread.join(max(self._until_s - time.monotonic(), 0))
        if self._thread.is_alive():
            text = f"no answer within {self._check.limit_s:.0f} s"
            late = failure(self._check.name, text, "restart the machine, and run `edgeleuk doctor` again")
            return [in_group(self._check.group, late)]
        return self._found

    def _run(self, machine: Machine) -> None:
        try:
            found = self._check.examine(machine)
        except Exception as error:  # noqa: BLE001 - a check that fails must not keep the others from being read
            text = f"the check itself failed: {type(error).__name__}: {error}"
            found = [
                warning(
                    self._check.name, text, "please report it, with `edgeleuk doctor --bundle report.zip`"
                )
            ]
        self._found = [in_group(self._check.group, each) for each in found]
