"""The commands that judge image files: `classify`, `segment`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeleuk.cli.options import (
    AbstainOption,
    BundleOption,
    FastestOption,
    ForceOption,
    JsonOption,
    MegapixelsOption,
    PrecisionOption,
    QualityCheckOption,
    ScaleOption,
    ThreadsOption,
)
from edgeleuk.cli.output import emit
from edgeleuk.errors import UsageError
from edgeleuk.io.atomic import overwrite


def classify(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILES_OR_DIRS...", help="Cells on black, or whole fields; or folders of them."
        ),
    ],
    bundle: BundleOption = None,
    px_per_um: ScaleOption = None,
    runtime: FastestOption = None,
    precision: PrecisionOption = None,
    threads: ThreadsOption = None,
    abstain: AbstainOption = None,
    quality_check: QualityCheckOption = None,
    most_megapixels: MegapixelsOption = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", help="Worker processes for a folder [default: one a core].")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE.jsonl", help="One line for each picture; resumed if it exists."),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option("--scheduler", metavar="tcp://HOST:PORT", help="Let a Dask cluster do the work."),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            "--save",
            metavar="FILE.png|DIR",
            help="The pictures, with what was found drawn on; one process does it.",
        ),
    ] = None,
    as_json: JsonOption = False,
    force: ForceOption = False,
) -> None:
    """Classify the white cells of image files, or of whole folders: single cells on black, or fields."""
    overwrite(force=force)
    from edgeleuk.io.config import command_settings

    of_command = command_settings(
        {
            "bundle": bundle,
            "px_per_um": px_per_um,
            "runtime": runtime,
            "precision": precision,
            "threads": threads,
            "abstain": abstain,
            "quality_check": quality_check,
            "most_megapixels": most_megapixels,
        },
        command="classify",
    )
    bundle, settings = of_command.bundle, of_command.of_run()
    if out is not None or jobs is not None or scheduler is not None or any(path.is_dir() for path in paths):
        if save is not None and (out is not None or scheduler is not None or jobs not in (None, 1)):
            raise UsageError(
                "--save draws in one process",
                got="--out, --scheduler or several --jobs",
                cure="draw by a second command without them",
            )
        from edgeleuk.batch import archive

        result, error = archive.classify_archive(
            paths, bundle, settings, jobs=jobs, out=out, scheduler=scheduler, save=save
        )
        emit(result, archive.archive_text, as_json=as_json)
        if error is not None:
            raise error
        return
    from edgeleuk.batch import images as image_files
    from edgeleuk.batch.save import AnnotatedPictures

    draw = None if save is None else AnnotatedPictures(save, paths).draw
    classified = image_files.classify_files(paths, bundle, settings, on_picture=draw)
    emit(classified, image_files.classification_text, as_json=as_json)


def segment(
    files: Annotated[list[Path], typer.Argument(metavar="FILES...", help="Fields, or pictures of one cell.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the masks go.")],
    px_per_um: ScaleOption = None,
    quality_check: QualityCheckOption = None,
    most_megapixels: MegapixelsOption = None,
    as_json: JsonOption = False,
    force: ForceOption = False,
) -> None:
    """Find the white cells of image files and write their masks."""
    overwrite(force=force)
    from edgeleuk.batch import images as image_files
    from edgeleuk.io.config import command_settings

    settings = command_settings(
        {"px_per_um": px_per_um, "quality_check": quality_check, "most_megapixels": most_megapixels},
        command="segment",
    ).of_run()
    result = image_files.segment_files(files, out, settings)
    emit(result, image_files.segmentation_text, as_json=as_json)
