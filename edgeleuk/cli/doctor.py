"""`edgeleuk doctor`: what is wrong with this machine, and what helps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeleuk.cli.options import ForceOption, JsonOption, StageOption
from edgeleuk.cli.output import emit
from edgeleuk.io.atomic import overwrite


def doctor(
    *,
    stage: StageOption = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle",
            metavar="FILE.zip",
            help="Write a report for somebody who helps, without passwords, names and pictures.",
        ),
    ] = None,
    as_json: JsonOption = False,
    force: ForceOption = False,
) -> None:
    """Examine this machine: system, software, cameras, stage, disk, power, time; a cure for each trouble.

    Exit code 3 when a check failed, 6 when only a camera or the stage did.
    """
    overwrite(force=force)
    from edgeleuk.doctor.diagnosis import diagnose
    from edgeleuk.doctor.findings import examination_text

    found = diagnose(stage=stage, bundle=bundle)
    emit(found, examination_text, as_json=as_json)
    if error := found.failure():
        raise error
