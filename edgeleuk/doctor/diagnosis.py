"""``edgeleuk doctor``: examines this machine with the settings that hold, and may write a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edgeleuk.doctor.bug_report import require_zip, write_report
from edgeleuk.doctor.checks import examine
from edgeleuk.doctor.findings import failure, in_group, ok
from edgeleuk.doctor.machine import this_machine
from edgeleuk.errors import UsageError
from edgeleuk.io.config import command_settings, config_file
from edgeleuk.io.console import progress_line
from edgeleuk.io.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from edgeleuk.doctor.findings import Examination, Finding


def diagnose(*, stage: str | None = None, bundle: Path | None = None) -> Examination:
    """Examine this machine.

    Parameters
    ----------
    stage : str, optional
        URL of a stage to ask; without it, that of the settings.
    bundle : Path, optional
        Where a report for somebody who helps goes.

    Raises
    ------
    UsageError
        `bundle` cannot be written, or is no ZIP file.
    """
    if bundle is not None:
        require_zip(bundle)
    settings, read = read_settings(stage)
    machine = this_machine(
        camera=settings.camera, stage=settings.stage, runtime=settings.runtime, session=settings.session
    )
    with progress_line("examining") as report:
        found = examine(machine, before=(in_group("system", read),), report=report)
    if bundle is None:
        return found
    found = msgspec.structs.replace(found, bundle=str(bundle))
    write_report(bundle, found, machine, msgspec.to_builtins(settings))
    return found


def read_settings(stage: str | None) -> tuple[Settings, Finding]:
    """Read the settings; that they cannot be read is a finding, and ends nothing."""
    try:
        settings = command_settings({"stage": stage}, command="doctor")
    except UsageError as error:
        text, _, cure = str(error).partition("; ")
        return Settings(stage=stage), failure("settings", text, cure or "see `edgeleuk config show`")
    file = config_file()
    return settings, ok(
        "settings", "the defaults, there is no edgeleuk.toml" if file is None else f"{file} is read"
    )
