"""The commands that make networks and judge them: `train`, `cross-validate`, `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeleuk.cli.options import (
    ClassesOption,
    DataOption,
    DataScaleOption,
    ForceOption,
    JsonOption,
    PrecisionOption,
    RuntimeOption,
    SubjectsOption,
)
from edgeleuk.cli.output import emit
from edgeleuk.io.atomic import overwrite


def _list_architectures(value: bool) -> None:
    if value:
        from edgeleuk_convert.networks.architectures import list_text

        typer.echo(list_text())
        raise typer.Exit


def train(
    data: DataOption,
    out: Annotated[Path, typer.Option("--out", metavar="FILE.keras", help="Where the network goes.")],
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="training.toml with every setting; flags win."),
    ] = None,
    architecture: Annotated[
        str | None, typer.Option("--architecture", help="Which network [default: resnet].")
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            "--teacher", metavar="NAME", help="Whose features a student learns [default: its own teacher]."
        ),
    ] = None,
    unlabelled: Annotated[
        list[Path] | None,
        typer.Option(
            "--unlabelled",
            metavar="FILE.labels",
            help="Further cells for a student to look at; their labels are not used.",
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", help="Passes over the training cells [default: 20].")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Fixes the start and the order, not the folds [default: 0].")
    ] = None,
    folds: Annotated[
        int | None, typer.Option("--folds", help="Parts that the groups are split into [default: 5].")
    ] = None,
    fold: Annotated[
        int | None, typer.Option("--fold", help="The part that is held out, counted from 0 [default: 0].")
    ] = None,
    held_out: Annotated[
        Path | None,
        typer.Option("--held-out", metavar="FILE", help="Subjects to hold out instead, one a line."),
    ] = None,
    answers: Annotated[
        Path | None,
        typer.Option(
            "--answers", metavar="DIR", help="What cross-validate left: calibrate by it, and train once."
        ),
    ] = None,
    all_subjects: Annotated[
        bool,
        typer.Option("--all-subjects", help="Hold nobody out: --answers tell what the network is worth."),
    ] = False,
    allow_leakage: Annotated[
        bool,
        typer.Option("--allow-leakage", help="Train though test cells leak, and say so in every output."),
    ] = False,
    _: Annotated[
        bool, typer.Option("--list", callback=_list_architectures, is_eager=True, help="List the networks.")
    ] = False,
    as_json: JsonOption = False,
    force: ForceOption = False,
) -> None:
    """Train a network on C-NMC cells, split by group."""
    overwrite(force=force)
    from edgeleuk.labels.label_set import read_labels
    from edgeleuk_convert.commands import train as commands

    result = commands.train(
        data,
        out,
        commands.Cohort(
            held_out,
            all_subjects,
            # Whatever people call them: nobody asks.
            read_labels(unlabelled, allow_contradictions=True) if unlabelled else None,
            allow_leakage,
        ),
        config=config,
        flags={
            "architecture": architecture,
            "teacher": teacher,
            "epochs": epochs,
            "seed": seed,
            "folds": folds,
            "fold": fold,
        },
        answers=answers,
    )
    emit(result, commands.training_text, as_json=as_json)


def cross_validate(
    data: DataOption,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where networks, answers and tables go; resumable.")
    ],
    architecture: Annotated[
        list[str],
        typer.Option("--architecture", metavar="NAME", help="A network to compare; give it several times."),
    ],
    folds: Annotated[int, typer.Option("--folds", help="Parts that the groups are split into.")] = 3,
    seeds: Annotated[int, typer.Option("--seeds", help="Trainings of each network on each fold.")] = 2,
    epochs: Annotated[
        int | None, typer.Option("--epochs", help="Instead of what each network's recipe says.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train networks on every fold of the subjects in turn, and compare them with plain baselines."""
    from edgeleuk_convert.commands import train as commands

    result = commands.cross_validate(data, out, architecture, folds=folds, seeds=seeds, epochs=epochs)
    emit(result, commands.comparison_text, as_json=as_json)


def evaluate(
    model: Annotated[
        str, typer.Argument(metavar="MODEL_OR_BUNDLE", help="A .keras file, a bundle, or `default`.")
    ],
    data: DataOption,
    runtime: RuntimeOption = None,
    precision: PrecisionOption = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report", metavar="DIR", help="Write report.html and report.json, with the baselines."
        ),
    ] = None,
    allow_leakage: Annotated[
        bool, typer.Option("--allow-leakage", help="Judge on seen cells too, and say so in every output.")
    ] = False,
    random_split: Annotated[
        bool,
        typer.Option(
            "--random-split", help="Train anew on a random split of images; the report tells the gap."
        ),
    ] = False,
    classes: ClassesOption = None,
    subjects: SubjectsOption = None,
    px_per_um: DataScaleOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a network on the cells of subjects that it has never seen."""
    from edgeleuk_convert.commands import train as commands
    from edgeleuk_convert.commands.read_cells import DataOptions

    result = commands.evaluate(
        model,
        data,
        runtime=runtime or "litert",
        precision=precision or "int8",
        report=report,
        allow_leakage=allow_leakage,
        random_split=random_split,
        options=DataOptions.parse(classes, subjects, px_per_um),
    )
    emit(result, commands.evaluation_text, as_json=as_json)
