"""The commands that read what `run` recorded: `replay`, `export`, `report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeleuk.cli.options import BundleOption, ControlOption, ForceOption, JsonOption
from edgeleuk.cli.output import emit
from edgeleuk.errors import UsageError
from edgeleuk.io.atomic import overwrite


def replay(
    session: Annotated[Path, typer.Argument(metavar="SESSION", help="A file that `run` recorded.")],
    cell: Annotated[
        int | None, typer.Option("--cell", metavar="N", help="One cell by its number; without it all.")
    ] = None,
    bundle: BundleOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge recorded cells again: the same bundle gives the same probabilities, bit for bit."""
    from edgeleuk.commands import replay as replaying
    from edgeleuk.io.config import command_settings

    name = command_settings({"bundle": bundle}, command="replay").bundle
    if cell is None:
        whole = replaying.replay_session(session, name)
        emit(whole, replaying.replayed_text, as_json=as_json)
        differs = bool(whole.different)
    else:
        one = replaying.replay_cell(session, cell, name)
        emit(one, replaying.replay_text, as_json=as_json)
        differs = not one.equal
    if differs:
        raise typer.Exit(3)


def export(
    session: Annotated[Path, typer.Argument(metavar="SESSION", help="A file that `run` recorded.")],
    csv: Annotated[bool, typer.Option("--csv", help="One row for each cell, as CSV.")] = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="One JSON object a line for each cell.")] = False,
    fhir: Annotated[
        bool, typer.Option("--fhir", help="The counts as a FHIR R4 Bundle, without a patient.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", help="A file instead of standard output.")] = None,
    coco: Annotated[
        Path | None, typer.Option("--coco", metavar="DIR", help="Pictures and outlines as COCO has them.")
    ] = None,
    yolo: Annotated[
        Path | None, typer.Option("--yolo", metavar="DIR", help="The same for YOLO, with data.yaml.")
    ] = None,
    geojson: Annotated[
        Path | None, typer.Option("--geojson", metavar="DIR", help="The same for QuPath, nuclei with it.")
    ] = None,
    label_studio: Annotated[
        Path | None, typer.Option("--label-studio", metavar="DIR", help="The same for Label Studio.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", metavar="DIR", help="What people said, for `teach`.")
    ] = None,
    as_json: JsonOption = False,
    force: ForceOption = False,
) -> None:
    """Write the cells of a session, or its counts, for other programs."""
    overwrite(force=force)
    folders = {
        "coco": coco, "yolo": yolo, "geojson": geojson, "label-studio": label_studio, "labels": labels
    }  # fmt: skip
    folders_asked = sum(folder is not None for folder in folders.values())
    if csv + jsonl + fhir + folders_asked != 1:
        raise UsageError(
            "one format has to be asked for",
            allowed="--csv, --jsonl, --fhir, or with DIR --coco, --yolo, --geojson, --label-studio, --labels",
        )
    if folders_asked:
        from edgeleuk.commands.exchange import export_cells, exported_text

        if out is not None:
            raise UsageError(
                "--out belongs to --csv, --jsonl and --fhir", cure="name the folder behind the format"
            )
        emit(export_cells(session, folders), exported_text, as_json=as_json)
        return
    from edgeleuk.session.export import export_csv, export_jsonl
    from edgeleuk.session.fhir import export_fhir

    if fhir:
        export_fhir(session, out)
    else:
        (export_csv if csv else export_jsonl)(session, out)


def report(
    session: Annotated[
        Path | None, typer.Argument(metavar="[SESSION]", help="A file that `run` recorded.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page that can be filed.")
    ] = None,
    pdf: Annotated[
        Path | None, typer.Option("--pdf", metavar="FILE", help="Print the page on A4, by Chromium.")
    ] = None,
    bundle: Annotated[
        str | None,
        typer.Option("--bundle", metavar="FILE", help="The session's bundle [default: the shipped one]."),
    ] = None,
    control: ControlOption = None,
    pictures: Annotated[
        int | None,
        typer.Option("--pictures", metavar="N", help="Of each kind of cell on the page, 0 for none [40]."),
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option("--compare", metavar="A B", help="Two sessions of one slide, side by side."),
    ] = None,
    as_json: JsonOption = False,
    force: ForceOption = False,
) -> None:
    """Sum up a session, or hold two of one slide side by side: counts with intervals, frames, events."""
    overwrite(force=force)
    if (session is None) == (compare is None):
        raise UsageError("one session, or --compare with two, has to be named", cure="pass SESSION")
    if session is not None:
        _report_one(session, html, pdf, (bundle, control, pictures), as_json=as_json)
    elif compare is not None:
        if bundle is not None or control is not None or pictures is not None:
            raise UsageError("--bundle, --control and --pictures are of one session's page")
        _report_two(compare, html, pdf, as_json=as_json)


def _report_one(
    session: Path,
    html: Path | None,
    pdf: Path | None,
    beside: tuple[str | None, str | None, int | None],
    *,
    as_json: bool,
) -> None:
    from edgeleuk.session.report import report_text, session_report

    if html is None and pdf is None:
        facts = session_report(session)
    else:
        from edgeleuk.commands.report import page_options, write_pages

        facts = write_pages(session, html, pdf, page_options(*beside))
    emit(facts, report_text, as_json=as_json)
    if facts.chain and facts.chain.broken:
        raise typer.Exit(7)


def _report_two(sessions: tuple[Path, Path], html: Path | None, pdf: Path | None, *, as_json: bool) -> None:
    from edgeleuk.commands.compare_sessions import write_comparison
    from edgeleuk.reports.comparison import comparison_text

    emit(write_comparison(sessions, html, pdf), comparison_text, as_json=as_json)
