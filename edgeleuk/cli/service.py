"""`edgeleuk service`: edgeleuk as a service of systemd."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeleuk.cli.groups import Command, command_group
from edgeleuk.cli.options import ConfigOption, ForceOption, JsonOption
from edgeleuk.cli.output import emit, emit_run
from edgeleuk.io.atomic import overwrite

if TYPE_CHECKING:
    from edgeleuk.commands.service_run import Once
    from edgeleuk.errors import EdgeleukError
    from edgeleuk.results import SessionSummary

service_app = command_group("service", "Let edgeleuk run by itself, as a service of systemd.")

RootOption = Annotated[
    Path | None,
    typer.Option("--root", metavar="DIR", help="Write into a system that does not run, such as an image."),
]


@service_app.command("install", cls=Command)
def install(
    config: ConfigOption = None,
    print_only: Annotated[
        bool, typer.Option("--print", help="Show unit, rules and user, and write nothing.")
    ] = False,
    root: RootOption = None,
    force: ForceOption = False,
) -> None:
    """Write a hardened unit and rules for devices, and start the service. Needs root."""
    overwrite(force=force)
    from edgeleuk.commands.service import service_files
    from edgeleuk.io.config import config_file

    typer.echo(service_files(config or config_file(), print_only=print_only, root=root))


@service_app.command("uninstall", cls=Command)
def uninstall(root: RootOption = None) -> None:
    """Stop the service and remove its files; sessions and settings stay. Needs root."""
    from edgeleuk.service.install import Target, require_system
    from edgeleuk.service.install import uninstall as remove

    target = Target() if root is None else Target(root, is_live=False)
    require_system(target)
    typer.echo("\n".join(f"removed   {path}" for path in remove(target)))


@service_app.command("status", cls=Command)
def status(as_json: JsonOption = False) -> None:
    """Say whether the service runs, since when, and what it counted. Exit code 3 where it does not run."""
    from edgeleuk.service.status import service_status, status_text

    found = service_status()
    emit(found, status_text, as_json=as_json)
    if error := found.failure():
        raise error


@service_app.command("logs", cls=Command)
def logs(
    lines: Annotated[int, typer.Option("--lines", help="How many of the last lines.", min=1)] = 100,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what comes.")] = False,
) -> None:
    """Print what the service said, from the journal."""
    from edgeleuk.service.status import show_logs

    show_logs(lines, follow=follow)


@service_app.command("run", cls=Command)
def run(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Do what the unit starts: run by the settings, and go on with the session that was cut off."""
    from dataclasses import replace

    from edgeleuk.cli.run import run_options
    from edgeleuk.commands import run as running
    from edgeleuk.commands.service_run import run_service
    from edgeleuk.io.config import command_settings, use_config

    if config is not None:
        use_config(config)
    settings = command_settings(command="service run")

    def watch(once: Once) -> tuple[SessionSummary, EdgeleukError | None]:
        with run_options(settings) as options:
            page = options.serve
            return running.run(
                settings.camera,
                settings.bundle,
                settings.of_run(),
                replace(
                    options,
                    session=once.session,
                    resume=True,
                    # A picture of the last field: the page of the session shows more.
                    draw=False,
                    stop=once.stop,
                    attendant=once.attendant,
                    serve=None if page is None else replace(page, token=once.token),
                ),
            )

    session = None if settings.session is None else Path(settings.session)
    emit_run(run_service(watch, session=session, session_per=settings.session_per), as_json=as_json)
