"""The command line: parse, wire, print. What a command does stands in the room it calls."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from typing import Annotated, Any

import typer
import typer.core

from edgeleuk import RESEARCH_USE, __version__
from edgeleuk.cli.batch import classify, segment
from edgeleuk.cli.bundle import bench, inspect, verify
from edgeleuk.cli.camera import camera_app
from edgeleuk.cli.conversion import calibrate, compare, contract, convert, validate
from edgeleuk.cli.mcu import mcu_app
from edgeleuk.cli.run import run
from edgeleuk.cli.session import export, replay, report
from edgeleuk.cli.stage import scan, stage_app, virtual_microscope
from edgeleuk.cli.training import cross_validate, evaluate, train
from edgeleuk.errors import EdgeleukError
from edgeleuk.io.console import escaped_output, printable, say
from edgeleuk.io.signals import interrupted_by_signals, nothing_more_to_say


class _Discreet(typer.core.TyperGroup):
    """A wrong command line may hold an address with a password, which no error shows."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            # Of which class it is depends on Typer's version.
            if hasattr(error, "format_message") and hasattr(error, "message"):
                from edgeleuk.io.uris import public_text

                error.message = public_text(str(error.message))
            raise


app = typer.Typer(
    cls=_Discreet,
    name="edgeleuk",
    help=f"Put a trained leukemic-blast classifier on a microscope. {RESEARCH_USE}",
    no_args_is_help=True,
    add_completion=False,
    # Plain help: drawing it with rich would load rich for every start.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

app.add_typer(camera_app)
app.add_typer(stage_app)
app.add_typer(mcu_app)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"edgeleuk {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


for command in (
    *(train, cross_validate, evaluate, convert, contract, calibrate, validate, compare),
    *(inspect, verify, run, classify, segment, replay, export, report, bench, scan, virtual_microscope),
):
    app.command()(command)


def main() -> None:
    """Run the command line and exit with the code that the design promises for what happened."""
    # Libraries that decorate standard error with their own start-up notices are asked not to.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with escaped_output(), interrupted_by_signals():
            try:
                app(args=_arguments(sys.argv[1:]))
            finally:
                # A full disk must not first be noticed when nobody can say so any more.
                sys.stdout.flush()
    except EdgeleukError as error:
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
