"""Checks of serial ports and of the motor board; a port is opened only where a stage is configured."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edgeleuk.doctor.camera import group_cure, may_open
from edgeleuk.doctor.findings import failure, ok, warning

if TYPE_CHECKING:
    from edgeleuk.doctor.findings import Finding
    from edgeleuk.doctor.machine import Machine

# A board that is reset when its port is opened takes some seconds, and is asked twice.
BOARD_S = 40.0
_SERIAL = "serial://"
_BRLTTY = re.compile(r"claimed by (\w+) while 'brltty'")


def ports(machine: Machine) -> list[Finding]:
    """See whether this user may open the serial ports."""
    nodes = [
        machine.shown(path) for kind in ("ttyUSB", "ttyACM") for path in machine.files("dev", f"{kind}[0-9]*")
    ]
    configured = (machine.stage or "").removeprefix(_SERIAL)
    if configured.startswith("/dev/tty") and configured not in nodes and _is_there(machine, configured):
        # A port of the board itself, as /dev/ttyAMA0 of a Pi.
        nodes.append(configured)
    taken = [line for line in machine.kernel_log() or () if _BRLTTY.search(line)]
    if taken and not any("ttyUSB" in node for node in nodes):
        text = "the program for braille displays (brltty) has taken the board's serial port away"
        return [failure("ports", text, "sudo apt remove brltty, then plug the board in again")]
    closed = [node for node in nodes if not may_open(machine, node)]
    if closed:
        state = warning if machine.stage is None else failure
        return [state("ports", f"{closed[0]} may not be opened by this user", group_cure(machine, closed[0]))]
    if (
        any("ttyACM" in node for node in nodes)
        and machine.output("systemctl", "is-active", "ModemManager") == "active"
    ):
        text = "ModemManager asks every new serial port whether it is a modem, which disturbs a motor board"
        return [warning("ports", text, "sudo systemctl disable --now ModemManager")]
    if not nodes:
        return [ok("ports", "no board is plugged in on USB")]
    steady = [machine.shown(path) for path in machine.files("dev/serial/by-id", "*")]
    return [ok("ports", f"{', '.join(nodes)}" + (f"; {steady[0]} is a name that stays" if steady else ""))]


def board(machine: Machine) -> list[Finding]:
    """Ask the motor board what it is."""
    if machine.stage is None:
        return [ok("board", "none is configured, so no port was opened: pass --stage URL to ask one")]
    configured = machine.stage.removeprefix(_SERIAL)
    if machine.stage.startswith(_SERIAL) and not _is_there(machine, configured):
        text = f"{configured} is not there"
        return [failure("board", text, "plug the board in; `ls /dev/serial/by-id` shows names that stay")]
    facts, error, said = machine.own("stage", "info", timeout_s=BOARD_S)
    if said is not None and said.code is None:
        return [
            failure("board", f"it says nothing within {BOARD_S:.0f} s", "see to its supply and its cable")
        ]
    if not facts:
        text, _, cure = error.partition("; ")
        return [failure("board", text, cure or "see to its supply and its cable")]
    name = f"{facts['board']} {facts['firmware']}".strip()
    if facts["locked"]:
        return [
            warning(
                "board",
                f"{name} answers, but is locked: {facts['locked']['meaning']}",
                facts["locked"]["cure"],
            )
        ]
    return [ok("board", f"{name} answers")]


def _is_there(machine: Machine, node: str) -> bool:
    return (machine.root / node.lstrip("/")).exists()
