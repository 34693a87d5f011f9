"""How a command prints its result: as text for people, or as one JSON object."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeleuk.errors import EdgeleukError
    from edgeleuk.results import SessionSummary

T = TypeVar("T")


def emit(result: T, text: Callable[[T], str], *, as_json: bool) -> None:
    """Print a result on standard output.

    Parameters
    ----------
    result : object
        Printed as JSON by its own ``to_json()``; a dataclass, which has none, field by field.
    text : callable
        Says the same for people.
    as_json : bool
    """
    if not as_json:
        typer.echo(text(result))
        return
    from edgeleuk.io.console import print_json

    to_json = getattr(result, "to_json", None)
    print_json(result if to_json is None else to_json())


def emit_run(outcome: tuple[SessionSummary, EdgeleukError | None], *, as_json: bool) -> None:
    """Print what a run came to, then raise what ended it before its time.

    Raises
    ------
    EdgeleukError
        What ended the run.
    """
    from edgeleuk.commands.summary import summary_text

    summary, error = outcome
    emit(summary, summary_text, as_json=as_json)
    if error is not None:
        raise error
