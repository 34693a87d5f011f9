"""The command that reviews the cells of a session: `review`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeleuk.cli.options import JsonOption
from edgeleuk.cli.output import emit


def review(
    session: Annotated[Path, typer.Argument(metavar="SESSION", help="A file that `run` recorded.")],
    as_json: JsonOption = False,
) -> None:
    """Say what people called the cells of a session, and what the counts are then; --serve opens the page."""
    from edgeleuk.commands.review import review_facts
    from edgeleuk.review.state import state_text

    emit(review_facts(session), state_text, as_json=as_json)
