"""`edgeleuk control`: the laboratory's control slide over time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeleuk.cli.groups import Command, command_group
from edgeleuk.cli.options import ConfigOption, ControlOption, ForceOption, JsonOption
from edgeleuk.cli.output import emit
from edgeleuk.io.atomic import overwrite

control_app = command_group("control", "Hold a control slide's sessions against the laboratory's limits.")

SlideOption = Annotated[
    str | None,
    typer.Option("--slide", metavar="NAME", help="The control slide, or its lot [default: every one]."),
]
PlotOption = Annotated[
    Path | None, typer.Option("--plot", metavar="FILE.png", help="Draw a Levey-Jennings chart.")
]


@control_app.command("add", cls=Command)
def control_add(
    sessions: Annotated[
        list[Path], typer.Argument(metavar="SESSION...", help="Of the control slide, recorded by `run`.")
    ],
    slide: Annotated[
        str | None,
        typer.Option("--slide", metavar="NAME", help="The control slide, or its lot [default: control]."),
    ] = None,
    control: ControlOption = None,
    plot: PlotOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    force: ForceOption = False,
) -> None:
    """Keep a control slide's session, and hold it against those before it; exit code 3 refuses it."""
    overwrite(force=force)
    from edgeleuk.commands import control as controlling
    from edgeleuk.control.verdicts import verdicts_text

    result = controlling.add_control(sessions, _file(control, config), slide, plot)
    emit(result, verdicts_text, as_json=as_json)
    if result.refused:
        raise typer.Exit(3)


@control_app.command("check", cls=Command)
def control_check(
    session: Annotated[
        Path | None,
        typer.Argument(
            metavar="[SESSION]", help="Hold this one against the kept ones [default: the newest]."
        ),
    ] = None,
    slide: SlideOption = None,
    control: ControlOption = None,
    plot: PlotOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    force: ForceOption = False,
) -> None:
    """Say whether the newest control session, or one that is not kept, is in control; else exit code 3."""
    overwrite(force=force)
    from edgeleuk.commands import control as controlling
    from edgeleuk.control.verdicts import verdicts_text

    result = controlling.check_control(session, _file(control, config), slide, plot)
    emit(result, verdicts_text, as_json=as_json)
    if result.refused:
        raise typer.Exit(3)


@control_app.command("list", cls=Command)
def control_list(
    slide: SlideOption = None,
    control: ControlOption = None,
    plot: PlotOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    force: ForceOption = False,
) -> None:
    """List the kept control sessions, each with its verdict."""
    overwrite(force=force)
    from edgeleuk.commands import control as controlling
    from edgeleuk.control.verdicts import list_text

    found = controlling.list_control(_file(control, config), slide, plot)
    emit(found, list_text, as_json=as_json)


@control_app.command("remove", cls=Command)
def control_remove(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Of the session's file, or the beginning of its hash.")
    ],
    control: ControlOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a control session out of the file; the session itself stays."""
    from edgeleuk.commands import control as controlling
    from edgeleuk.control.verdicts import removal_text

    removal = controlling.remove_control(name, _file(control, config))
    emit(removal, removal_text, as_json=as_json)


def _file(control: str | None, config: Path | None) -> Path:
    """Return the laboratory's file: as given, else of the settings, else the user's own."""
    from edgeleuk.control.store import control_path
    from edgeleuk.io.config import command_settings, use_config

    if config is not None:
        use_config(config)
    return control_path(command_settings({"control": control}, command="control add").control)
