"""Troubles planted in recorded machines: each is named with its cure, and nothing else is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from recorded_machines import MACHINES
from troubles_of_boards import BOARD_FAULTS
from troubles_of_parts import PART_FAULTS

from edgeleuk.doctor.checks import examine
from edgeleuk.errors import CheckFailedError, HardwareError

if TYPE_CHECKING:
    from pathlib import Path

    from recording import Fault

FAULTS = (*BOARD_FAULTS, *PART_FAULTS)


@pytest.mark.parametrize("name", MACHINES)
def test_nothing_is_said_against_a_sound_machine(name: str, tmp_path: Path) -> None:
    found = examine(MACHINES[name].lay_out(tmp_path))
    assert [each for each in found.findings if each.state != "ok"] == []
    assert found.state == "ok"
    assert found.failure() is None
    assert found.ok == len(found.findings) > 20


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_each_trouble_is_named_with_its_cure_and_nothing_else(fault: Fault, tmp_path: Path) -> None:
    machine = fault.machine.but(fault.files, fault.programs, **fault.changes).lay_out(tmp_path)
    found = examine(machine)
    (line,) = [each for each in found.findings if each.state != "ok"]
    assert (line.group, line.name, line.state) == fault.line
    assert fault.text in line.text
    assert line.cure is not None
    assert fault.cure in line.cure
    error = found.failure()
    if line.state == "warning":
        assert error is None
    else:
        assert isinstance(error, HardwareError if line.group in {"camera", "stage"} else CheckFailedError)
        assert error.exit_code == (6 if line.group in {"camera", "stage"} else 3)


def test_there_are_forty_troubles_on_every_machine() -> None:
    assert len(FAULTS) >= 40
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert all(any(fault.machine is machine for fault in FAULTS) for machine in MACHINES.values())
