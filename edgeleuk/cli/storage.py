"""`edgeleuk session`: what is kept of recorded sessions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeleuk.cli.groups import Command, command_group
from edgeleuk.cli.options import ConfigOption, JsonOption, KeepOption, KeepResultsOption
from edgeleuk.cli.output import emit

session_app = command_group("session", "See to the files of recorded sessions.")


@session_app.command("keep", cls=Command)
def session_keep(
    place: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder of sessions, or one session.")],
    keep: KeepOption = None,
    keep_results: KeepResultsOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove the oldest pictures of sessions by a rule, and say so in their chains; results stay."""
    from edgeleuk.commands.keep import keep_sessions, kept_text
    from edgeleuk.io.config import command_settings, use_config

    if config is not None:
        use_config(config)
    settings = command_settings({"keep": keep, "keep_results": keep_results}, command="session keep")
    emit(keep_sessions(place, settings.keep, settings.keep_results), kept_text, as_json=as_json)
