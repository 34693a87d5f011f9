"""`edgeleuk camera`: find cameras and prepare them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeleuk.cli.groups import Command, command_group
from edgeleuk.cli.options import ForceOption, JsonOption
from edgeleuk.cli.output import emit
from edgeleuk.io.atomic import overwrite

camera_app = command_group("camera", "Prepare a camera.")


@camera_app.command("flat-field", cls=Command)
def flat_field(
    *,
    camera: Annotated[
        str | None,
        typer.Argument(
            metavar="URI",
            help="A camera that looks at empty glass [default: edgeleuk.toml's, or the only one].",
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="FILE.png", help="Where the blank goes.")],
    frames: Annotated[int, typer.Option("--frames", help="Pictures that are averaged, at most.")] = 16,
    as_json: JsonOption = False,
    force: ForceOption = False,
) -> None:
    """Store a blank: the average of empty fields, by which `run --flat-field` divides."""
    overwrite(force=force)
    from edgeleuk.commands import flat_field as blanks
    from edgeleuk.io.config import command_settings

    of_command = command_settings({"camera": camera}, command="camera flat-field")
    result = blanks.take_blank(of_command.camera, out, frames)
    emit(result, blanks.blank_text, as_json=as_json)


@camera_app.command("list", cls=Command)
def camera_list(as_json: JsonOption = False) -> None:
    """List the cameras of this machine: steady names, formats, sizes, rates, controls."""
    from edgeleuk.capture import discovery

    found = discovery.list_cameras()
    emit(found, discovery.cameras_text, as_json=as_json)


@camera_app.command("probe", cls=Command)
def camera_probe(
    camera: Annotated[
        str | None,
        typer.Argument(metavar="URI", help="A camera [default: edgeleuk.toml's, or the only one]."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.png", help="Write its last picture here.")
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", help="How long it is watched.")] = 3.0,
    as_json: JsonOption = False,
    force: ForceOption = False,
) -> None:
    """Watch a camera for a few seconds: format, size, real rate, latency, controls as read back."""
    overwrite(force=force)
    from edgeleuk.commands import probe as probing
    from edgeleuk.io.config import command_settings

    result = probing.probe(command_settings({"camera": camera}, command="camera probe").camera, out, seconds)
    emit(result, probing.probe_text, as_json=as_json)
