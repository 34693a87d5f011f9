"""The command that teaches a bundle a laboratory's own labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeleuk.cli.options import JsonOption, SeedOption
from edgeleuk.cli.output import emit


def teach(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="A .edgeleuk file, or `default`.")],
    labels: Annotated[
        list[Path],
        typer.Option(
            "--labels", metavar="FILE", help="A file of labels, or a session; several times for several."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE.edgeleuk", help="The taught bundle.")],
    laboratory: Annotated[
        str | None, typer.Option("--laboratory", metavar="NAME", help="Whose cells they are.")
    ] = None,
    sessions: Annotated[
        list[Path] | None,
        typer.Option(
            "--next",
            metavar="SESSION",
            help="Tell which cells of this session to label next; several times for several slides.",
        ),
    ] = None,
    runtime: Annotated[
        str | None, typer.Option("--runtime", help="Runtime that measures the cells, such as `litert`.")
    ] = None,
    seed: SeedOption = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Make it also where it is not shown to be better; the bundle says so."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Teach a bundle by labelled cells, on this device, and hold it against what it was."""
    from edgeleuk.labels.label_set import read_labels
    from edgeleuk_convert.commands import teach as teach_commands

    if sessions:
        from edgeleuk.session.reader import read_session

        # Nothing is measured for minutes before a session is missed.
        for session in sessions:
            read_session(session).close()
    result = teach_commands.teach(
        bundle,
        read_labels(labels),
        out,
        teach_commands.TeachOptions(laboratory=laboratory, runtime=runtime, seed=seed or 0, force=force),
    )
    lines: list[str] = []
    if sessions:
        from edgeleuk.commands.next_cells import next_cells, queue_lines

        # A device refuses what was rejected, so that its parent is asked what it doubts.
        asked = bundle if result.verdict == "fail" else str(out)
        queue = next_cells(sessions, asked, labels=labels, runtime=runtime)
        result, lines = teach_commands.with_queue(result, queue), queue_lines(queue)
    emit(result, lambda done: teach_commands.teach_text(done, lines), as_json=as_json)
    if result.verdict == "fail":
        raise typer.Exit(3)
