"""The command that sends what a session holds to a broker: `publish`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeleuk.cli.options import JsonOption, MqttOption
from edgeleuk.cli.output import emit


def publish(
    session: Annotated[Path, typer.Argument(metavar="SESSION", help="A file that `run` recorded.")],
    mqtt: MqttOption = None,
    again: Annotated[
        bool, typer.Option("--again", help="Send everything once more; consumers know it by its keys.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Send a session's messages that a broker has not acknowledged yet, by MQTT."""
    from edgeleuk.fleet.address import broker_of_settings
    from edgeleuk.io.config import command_settings

    broker = broker_of_settings(command_settings({"mqtt": mqtt}, command="publish"))
    from edgeleuk.commands import publish as publishing

    emit(
        publishing.publish_session(session, broker, again=again),
        publishing.publication_text,
        as_json=as_json,
    )
