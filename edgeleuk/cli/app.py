"""The command line: parse, wire, print. What a command does stands in the room it calls."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer
import typer.core

from edgeleuk.cli.batch import classify, segment
from edgeleuk.cli.bundle import bench, inspect, verify
from edgeleuk.cli.camera import camera_app
from edgeleuk.cli.config import config_app
from edgeleuk.cli.control import control_app
from edgeleuk.cli.conversion import calibrate, compare, contract, convert, validate
from edgeleuk.cli.doctor import doctor
from edgeleuk.cli.groups import Command, command_group
from edgeleuk.cli.labels import labels_app
from edgeleuk.cli.mcu import mcu_app
from edgeleuk.cli.options import ConfigOption
from edgeleuk.cli.publish import publish
from edgeleuk.cli.review import review
from edgeleuk.cli.run import run
from edgeleuk.cli.service import service_app
from edgeleuk.cli.session import export, replay, report
from edgeleuk.cli.stage import scan, slide, stage_app, virtual_microscope
from edgeleuk.cli.storage import session_app
from edgeleuk.cli.teaching import teach
from edgeleuk.cli.training import cross_validate, evaluate, train
from edgeleuk.cli.trend import trend
from edgeleuk.cli.updates import bundle_app
from edgeleuk.cli.voice import choose, global_options
from edgeleuk.errors import EdgeleukError
from edgeleuk.io.config import use_config
from edgeleuk.io.console import escaped_output, is_verbose, printable, say
from edgeleuk.io.signals import interrupted_by_signals, nothing_more_to_say
from edgeleuk.version import RESEARCH_USE, __version__

app = command_group(
    "edgeleuk", f"Put a trained leukemic-blast classifier on a microscope. {RESEARCH_USE}", completion=True
)
app.add_typer(camera_app)
app.add_typer(stage_app)
app.add_typer(mcu_app)
app.add_typer(config_app)
app.add_typer(control_app)
app.add_typer(labels_app)
app.add_typer(session_app)
app.add_typer(bundle_app)
app.add_typer(service_app)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"edgeleuk {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Show what libraries say, and the causes of an error."),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Show results, warnings and errors; no progress, no notes.")
    ] = False,
    log_file: Annotated[
        Path | None,
        typer.Option("--log-file", metavar="FILE", help="Write notes and errors there too, with their time."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    choose(verbose=verbose, quiet=quiet, log_file=log_file)
    use_config(config)


for command in (
    *(train, cross_validate, evaluate, convert, contract, calibrate, validate, compare, teach),
    *(
        inspect,
        verify,
        run,
        classify,
        segment,
        replay,
        review,
        export,
        report,
        publish,
        trend,
        bench,
        doctor,
        scan,
        slide,
        virtual_microscope,
    ),
):
    app.command(cls=Command)(command)


def main() -> None:
    """Run the command line and exit with the code that the design promises for what happened."""
    # Libraries that decorate standard error with their own start-up notices are asked not to.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with global_options():
        try:
            _run()
        finally:
            use_config(None)


def _run() -> None:
    try:
        with escaped_output(), interrupted_by_signals():
            try:
                app(args=_arguments(sys.argv[1:]))
            finally:
                # A full disk must not first be noticed when nobody can say so any more.
                sys.stdout.flush()
    except EdgeleukError as error:
        if is_verbose():
            traceback.print_exc()
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): nothing is left to say.
        nothing_more_to_say()
        sys.exit(0)
    except Exception as error:  # noqa: BLE001
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            nothing_more_to_say()
            _fail("the disk is full, or standard output takes no more", 2)
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            _fail(f"a file's name is too long: got {len(os.fsencode(error.filename or ''))} bytes", 2)
        traceback.print_exc()
        _fail("internal error: this is a bug in edgeleuk, please report the lines above", 1)


def _arguments(words: list[str]) -> list[str]:
    """Give ``--camera`` without a value an empty one, which means the only camera found."""
    given: list[str] = []
    for word, after in zip(words, [*words, "--"][1:], strict=True):
        given.append(word)
        if word == "--camera" and after.startswith("--"):
            given.append("")
    return given


def _fail(sentence: str, code: int) -> None:
    say(f"error: {printable(sentence)}")
    sys.exit(code)
