"""`edgeleuk config`: what holds, and who said so."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeleuk.cli.groups import Command, command_group
from edgeleuk.cli.options import ConfigOption, JsonOption
from edgeleuk.cli.output import emit
from edgeleuk.errors import UsageError

config_app = command_group("config", "Show the settings that hold.")


@config_app.command("show", cls=Command)
def show(
    flag: Annotated[
        list[str] | None,
        typer.Option("--flag", metavar="NAME=VALUE", help="As if `run` were given this; several times."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print every setting, its value, and where it comes from: flag, environment, file or default."""
    from edgeleuk.commands.config import explained_settings, explained_text
    from edgeleuk.io.config import use_config

    if config is not None:
        use_config(config)
    emit(explained_settings(_flags(flag or [])), explained_text, as_json=as_json)


def _flags(words: list[str]) -> dict[str, object]:
    """Read NAME=VALUE pairs as the values that the flags would have."""
    from typing import get_type_hints

    import msgspec

    from edgeleuk.io.nearest import did_you_mean
    from edgeleuk.io.settings import Settings

    kinds = get_type_hints(Settings)
    flags: dict[str, object] = {}
    for word in words:
        typed, equals, value = word.partition("=")
        name = typed.lstrip("-").replace("-", "_")
        if not equals or name not in kinds:
            raise UsageError(
                "unknown flag", got=word, allowed="NAME=VALUE of a setting", cure=did_you_mean(name, kinds)
            )
        try:
            flags[name] = msgspec.convert(value, kinds[name], strict=False)
        except msgspec.ValidationError as error:
            raise UsageError(
                f"bad setting: {error} - at `{typed}`", cure="see `edgeleuk config show`"
            ) from error
    return flags
