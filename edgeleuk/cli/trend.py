"""`edgeleuk trend`: quality over weeks, and what drifts since when."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeleuk.cli.options import ControlOption, ForceOption, JsonOption
from edgeleuk.cli.output import emit
from edgeleuk.io.atomic import overwrite


def trend(
    sessions: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FOLDER|SESSION]...", help="What `run` recorded [default: this folder]."),
    ] = None,
    last: Annotated[
        str | None,
        typer.Option("--last", metavar="30d", help="Show the last hours (h), days (d) or weeks (w) alone."),
    ] = None,
    mended: Annotated[
        list[str] | None,
        typer.Option("--mended", metavar="DATE", help="From then on a new baseline, as after a new lamp."),
    ] = None,
    control: ControlOption = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with a chart of each measure.")
    ] = None,
    as_json: JsonOption = False,
    force: ForceOption = False,
) -> None:
    """Follow light, focus, scale, stain and shares over many sessions; exit code 3 while one drifts."""
    overwrite(force=force)
    from edgeleuk.commands import trend as trending
    from edgeleuk.control.store import control_path
    from edgeleuk.control.trend_text import trend_text

    options = trending.TrendOptions(
        last, mended or (), None if control is None else control_path(control), html
    )
    result = trending.trend(sessions or [Path()], options)
    emit(result, trend_text, as_json=as_json)
    if result.drifting:
        raise typer.Exit(3)
