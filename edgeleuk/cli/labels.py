"""The commands about what people call cells: `labels list`, `set`, `next`, `import`, `export` and others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeleuk.cli.groups import Command, command_group
from edgeleuk.cli.options import BundleOption, ForceOption, JsonOption, MegapixelsOption, RuntimeOption
from edgeleuk.cli.output import emit
from edgeleuk.errors import UsageError
from edgeleuk.io.atomic import overwrite

labels_app = command_group("labels", "Say what cells are: for `teach`, and to compare people.")

FilesArgument = Annotated[
    list[Path], typer.Argument(metavar="FILES...", help="Files of labels, or sessions that were reviewed.")
]
OutOption = Annotated[Path, typer.Option("--out", metavar="FILE.labels", help="The file to write.")]
ByOption = Annotated[
    str | None, typer.Option("--by", metavar="NAME", help="Who says so, where no table tells.")
]
AtOption = Annotated[
    str | None, typer.Option("--at", metavar="TIME", help="When it was said, with its zone [default: now].")
]
LabelClassesOption = Annotated[
    str | None,
    typer.Option(
        "--classes",
        metavar="NAME=label,...",
        help="What your classes are called; pictures of others are left out.",
    ),
]
JudgedByOption = Annotated[
    str | None,
    typer.Option("--bundle", metavar="FILE", help="Refuse a session that another bundle judged."),
]


@labels_app.command("list", cls=Command)
def list_(files: FilesArgument, as_json: JsonOption = False) -> None:
    """Count cells by label, slide, subject and person."""
    from edgeleuk.labels.listing import list_labels, list_text

    emit(list_labels(files), list_text, as_json=as_json)


@labels_app.command("set", cls=Command)
def set_(
    session: Annotated[Path, typer.Argument(metavar="SESSION", help="A file that `run` recorded.")],
    cell: Annotated[
        int | None, typer.Option("--cell", metavar="N", help="Number of the cell in the session.")
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", metavar="KIND", help="What it is: `monocyte`, `blast`, ...")
    ] = None,
    table: Annotated[
        Path | None, typer.Option("--from", metavar="FILE.csv", help="Many at once: columns cell,label.")
    ] = None,
    by: ByOption = None,
    slide: Annotated[
        str | None, typer.Option("--slide", metavar="NAME", help="Its slide [default: the session's name].")
    ] = None,
    subject: Annotated[
        str | None, typer.Option("--subject", metavar="NAME", help="Whose slide it is [default: unknown].")
    ] = None,
    classes: LabelClassesOption = None,
    at: AtOption = None,
    bundle: JudgedByOption = None,
    as_json: JsonOption = False,
) -> None:
    """Record what a person calls cells of a session, in NAME.labels beside it; nothing is overwritten."""
    from edgeleuk.commands import labels
    from edgeleuk.labels.naming import parse_label_classes

    of = labels.author(by, at, parse_label_classes(classes))
    if table is not None and cell is None and label is None:
        words = labels.words_of_table(table, of.classes)
    elif table is None and cell is not None and label is not None:
        words = [(cell, label, None)]
    else:
        raise UsageError(
            "it is not said which cells are what", allowed="--cell N --label KIND, or --from FILE"
        )
    result = labels.set_labels(session, words, of, labels.origin(slide, subject), bundle=bundle)
    emit(result, labels.written_text, as_json=as_json)


@labels_app.command("next", cls=Command)
def next_(
    sessions: Annotated[
        list[Path], typer.Argument(metavar="SESSIONS...", help="Files that `run` recorded, a slide each.")
    ],
    bundle: BundleOption = None,
    labels: Annotated[
        list[Path] | None,
        typer.Option("--labels", metavar="FILE.labels", help="Cells that are labelled already; as often."),
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", metavar="N", help="At most so many cells [default: 50].")
    ] = None,
    runtime: RuntimeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell which cells to label next: those whose labels would teach the bundle most."""
    from edgeleuk.commands import next_cells

    result = next_cells.next_cells(
        sessions,
        bundle or "default",
        labels=labels or (),
        count=next_cells.COUNT if count is None else count,
        runtime=runtime,
    )
    emit(result, next_cells.queue_text, as_json=as_json)


@labels_app.command("import", cls=Command)
def import_(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="A folder of pictures of one cell each, annotations, or a table for --cells.",
        ),
    ],
    out: OutOption,
    by: ByOption = None,
    coco: Annotated[
        bool, typer.Option("--coco", help="SOURCE is a COCO file, or a folder with one.")
    ] = False,
    yolo: Annotated[bool, typer.Option("--yolo", help="SOURCE is a folder with YOLO's data.yaml.")] = False,
    geojson: Annotated[
        bool, typer.Option("--geojson", help="SOURCE is QuPath's GeoJSON, or a folder of them.")
    ] = False,
    label_studio: Annotated[
        bool, typer.Option("--label-studio", help="SOURCE is a JSON export of Label Studio.")
    ] = False,
    pictures: Annotated[
        Path | None,
        typer.Option("--pictures", metavar="DIR", help="Where the annotated pictures are [default: beside]."),
    ] = None,
    slide_from: Annotated[
        str | None,
        typer.Option(
            "--slide-from",
            metavar="folder|name|NAME",
            help="What tells the slide: a folder (default), the files' names, or it is all one.",
        ),
    ] = None,
    names: Annotated[
        str | None,
        typer.Option("--names", metavar="PATTERN", help="How files are called: '{label}_{slide}-*'."),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            "--table", metavar="FILE.csv", help="Of each file: columns file and label, slide or subject."
        ),
    ] = None,
    classes: LabelClassesOption = None,
    px_per_um: Annotated[
        float | None,
        typer.Option("--px-per-um", help="Scale of the pictures; without it, estimated from the red cells."),
    ] = None,
    cells: Annotated[
        Path | None,
        typer.Option("--cells", metavar="FILE.labels", help="The cells that the table FILE.csv is about."),
    ] = None,
    at: AtOption = None,
    most_megapixels: MegapixelsOption = None,
    as_json: JsonOption = False,
    force: ForceOption = False,
) -> None:
    """Make a file of labels from folders of pictures, annotations, or a table that was corrected."""
    overwrite(force=force)
    from edgeleuk.commands import exchange, labels
    from edgeleuk.io.config import command_settings
    from edgeleuk.io.pictures.limit import allow_megapixels
    from edgeleuk.labels.naming import Naming, parse_label_classes

    of = labels.author(by, at, parse_label_classes(classes))
    asked = {"coco": coco, "yolo": yolo, "geojson": geojson, "label-studio": label_studio}
    if cells is not None:
        result = labels.import_table(source, cells, out, of)
    elif (kind := exchange.format_of(source, asked)) == "labels":
        result = exchange.import_labels(source, out)
    else:
        settings = command_settings({"most_megapixels": most_megapixels}, command="labels import").of_run()
        allow_megapixels(settings.most_megapixels)
        naming = Naming(of.classes, slide_from, names, table)
        if kind is not None:
            result = exchange.import_annotations(
                kind, source, out, naming, of, pictures=pictures, px_per_um=px_per_um
            )
        else:
            result = labels.import_pictures(source, out, naming, of, px_per_um=px_per_um)
    emit(result, labels.imported_text, as_json=as_json)


@labels_app.command("export", cls=Command)
def export_(
    source: Annotated[
        Path,
        typer.Argument(metavar="SOURCE", help="A session whose cells were labelled, or a file of labels."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.labels", help="One file, with the cells' pixels.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="A table: one row for each word of a person.")
    ] = None,
    bundle: JudgedByOption = None,
    as_json: JsonOption = False,
    force: ForceOption = False,
) -> None:
    """Write the labelled cells of a session to one file, or labels as a table."""
    overwrite(force=force)
    from edgeleuk.commands import labels

    emit(labels.export_labels(source, out, csv, bundle), labels.written_text, as_json=as_json)


@labels_app.command("merge", cls=Command)
def merge(
    files: FilesArgument, out: OutOption, as_json: JsonOption = False, force: ForceOption = False
) -> None:
    """Join files of labels: each cell once, each word of each person once."""
    overwrite(force=force)
    from edgeleuk.commands import labels

    emit(labels.merge(files, out), labels.written_text, as_json=as_json)


@labels_app.command("check", cls=Command)
def check(files: FilesArgument, as_json: JsonOption = False) -> None:
    """Look for duplicates, leaks between slides, contradictions, and classes with too few cells."""
    from edgeleuk.io.console import progress_bar
    from edgeleuk.labels.checking import check_labels, check_text

    with progress_bar("comparing") as report:
        found, error = check_labels(files, report)
    emit(found, check_text, as_json=as_json)
    if error is not None:
        raise error
