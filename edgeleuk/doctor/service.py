"""The check of the service: installed, enabled, running, and how it ended last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeleuk.doctor.findings import failure, ok, warning
from edgeleuk.errors import MissingDependencyError
from edgeleuk.service.status import service_status
from edgeleuk.service.unit import STATE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeleuk.doctor.findings import Finding
    from edgeleuk.doctor.machine import Machine
    from edgeleuk.io.programs import Said
    from edgeleuk.service.status import ServiceStatus

_LOGS = "edgeleuk service logs"


def service(machine: Machine) -> list[Finding]:
    """See how the service does, where there is one."""

    def run(words: Sequence[str], timeout_s: float) -> Said | None:
        return machine.said(*words, timeout_s=timeout_s)

    try:
        status = service_status(machine.root / STATE.relative_to("/"), run)
    except MissingDependencyError:
        return [ok("service", "systemd does not run here, so there is none")]
    if not status.installed:
        return [ok("service", "not installed")]
    return [_of_installed(status)]


def _of_installed(status: ServiceStatus) -> Finding:
    text = f"installed, {status.state}" + (f" ({status.step})" if status.step else "")
    last = status.result if status.result not in ("", "success") else None
    text += f", its last end: {last}" if last else ""
    if status.restarts:
        text += f"; systemd started it anew {status.restarts} times"
    if status.failures:
        text += f"; {status.failures} runs in a row failed"
    if status.state == "failed":
        return failure("service", text, f"see `{_LOGS}`, then `sudo systemctl restart edgeleuk`")
    if not status.enabled:
        return warning(
            "service", f"{text}; it does not start with the machine", "sudo systemctl enable edgeleuk"
        )
    if status.state not in ("active", "activating"):
        return warning("service", text, "sudo systemctl start edgeleuk")
    if last or status.restarts or status.failures:
        return warning("service", text, f"see `{_LOGS}` for why")
    return ok("service", f"{text}, and starts with the machine")
