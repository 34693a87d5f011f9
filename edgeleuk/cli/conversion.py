"""The commands that take a network to a bundle, and hold bundles against each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeleuk.cli.options import (
    ClassesOption,
    DataOption,
    DataScaleOption,
    ForceOption,
    ImagesOption,
    JsonOption,
    LimitsOption,
    OutputOption,
    SeedOption,
    SizeOption,
    StrategyOption,
    SubjectsOption,
)
from edgeleuk.cli.output import emit
from edgeleuk.io.atomic import overwrite


def convert(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="A .keras or .h5 file (Keras 2 or 3) or a SavedModel, with .training.json beside it.",
        ),
    ],
    calibration: Annotated[
        Path,
        typer.Option(
            "--calibration",
            "--data",
            metavar="DIR",
            help="Folder of labelled images, to calibrate with and to judge by.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE.edgeleuk", help="Where the bundle goes.")],
    int8: Annotated[
        bool, typer.Option("--int8", help="Full-integer networks, TFLite and ONNX; what is done in any case.")
    ] = True,
    images: ImagesOption = None,
    seed: SeedOption = None,
    strategy: StrategyOption = None,
    calibration_record: Annotated[
        Path | None,
        typer.Option(
            "--calibration-record", metavar="FILE", help="A calibration.json whose images are taken again."
        ),
    ] = None,
    contract: Annotated[
        Path | None,
        typer.Option(
            "--contract",
            metavar="FILE.toml",
            help="What a missing .training.json would say: input, output [default: found out by the labels].",
        ),
    ] = None,
    size: SizeOption = None,
    output: OutputOption = None,
    onnx_calibration: Annotated[
        str, typer.Option("--onnx-calibration", help="Ranges by `minmax`, `entropy` or `percentile`.")
    ] = "minmax",
    tensorrt: Annotated[
        bool, typer.Option("--tensorrt", help="Add a symmetric int8 ONNX network for TensorRT.")
    ] = False,
    also: Annotated[
        list[str] | None,
        typer.Option(
            "--also",
            metavar="KIND",
            help="Write float16, dynamic, int16x8 or uint8-io TFLite beside the bundle; several times.",
        ),
    ] = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair", help="Mend int8 networks that fail: ranges, channels, biases, float layers."
        ),
    ] = False,
    limits: LimitsOption = None,
    classes: ClassesOption = None,
    subjects: SubjectsOption = None,
    px_per_um: DataScaleOption = None,
    folds: Annotated[
        int | None,
        typer.Option(
            "--folds", help="Without .training.json: parts of the groups, one of which judges [default: 3]."
        ),
    ] = None,
    answers: Annotated[
        Path | None,
        typer.Option(
            "--answers", metavar="DIR", help="Of a network trained with --all-subjects: its folds judge it."
        ),
    ] = None,
    as_json: JsonOption = False,
    force: ForceOption = False,
) -> None:
    """Quantize a network to int8 TFLite and ONNX, hold it against float, and pack it into a bundle."""
    overwrite(force=force)
    from edgeleuk_convert.commands import convert as conversion_commands
    from edgeleuk_convert.commands.options import ConvertOptions

    del int8  # there is no other precision
    options = ConvertOptions(
        images=images,
        seed=seed,
        strategy=strategy,
        calibration_record=calibration_record,
        contract=contract,
        size=size,
        output=output,
        onnx_calibration=onnx_calibration,
        tensorrt=tensorrt,
        also=also or (),
        repair=repair,
        limits_file=limits,
        classes=classes,
        subjects=subjects,
        px_per_um=px_per_um,
        folds=folds,
        answers=answers,
    )
    result = conversion_commands.convert(model, calibration, out, options)
    emit(result, conversion_commands.conversion_text, as_json=as_json)
    if result.verdict == "fail":
        raise typer.Exit(3)


def contract(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A .keras or .h5 file (Keras 2 or 3) or a SavedModel.")
    ],
    data: DataOption,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.toml", help="Where `convert --contract` reads it.")
    ] = None,
    seed: SeedOption = None,
    size: SizeOption = None,
    output: OutputOption = None,
    classes: ClassesOption = None,
    subjects: SubjectsOption = None,
    px_per_um: DataScaleOption = None,
    as_json: JsonOption = False,
    force: ForceOption = False,
) -> None:
    """Find out by labelled images how a network is fed, and which of its classes is which."""
    overwrite(force=force)
    from edgeleuk_convert.commands import contract as contract_commands
    from edgeleuk_convert.commands.read_cells import DataOptions

    result = contract_commands.contract(
        model,
        data,
        out=out,
        seed=seed,
        size=size,
        output=output,
        options=DataOptions.parse(classes, subjects, px_per_um),
    )
    emit(result, contract_commands.contract_text, as_json=as_json)


def calibrate(
    model: Annotated[Path, typer.Argument(metavar="MODEL.keras", help="With its .training.json beside it.")],
    data: DataOption,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where the record, the checks and the plot go.")
    ],
    images: ImagesOption = None,
    seed: SeedOption = None,
    strategy: StrategyOption = None,
    curve: Annotated[
        bool,
        typer.Option("--curve", help="Convert with 25 to 500 images: how many are enough; resumable."),
    ] = False,
    classes: ClassesOption = None,
    subjects: SubjectsOption = None,
    px_per_um: DataScaleOption = None,
    as_json: JsonOption = False,
) -> None:
    """Choose calibration images, and check on held-out cells the ranges that they teach."""
    from edgeleuk_convert.commands import convert as conversion_commands
    from edgeleuk_convert.commands.read_cells import DataOptions

    result = conversion_commands.calibrate(
        model,
        data,
        out,
        images=images,
        seed=seed,
        strategy=strategy,
        curve=curve,
        options=DataOptions.parse(classes, subjects, px_per_um),
    )
    emit(result, conversion_commands.calibration_text, as_json=as_json)


def validate(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="A .edgeleuk file, or `default`.")],
    data: DataOption,
    layers: Annotated[
        bool, typer.Option("--layers", help="Rank the layers by the noise that int8 adds in each.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where --layers draws layers.png; else into --report."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="DIR", help="Write validation.html, with every flipped cell."),
    ] = None,
    limits: LimitsOption = None,
    classes: ClassesOption = None,
    subjects: SubjectsOption = None,
    px_per_um: DataScaleOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare a bundle's int8 networks with its float network on subjects none of them has seen."""
    from edgeleuk_convert.commands import evaluate as validation_commands
    from edgeleuk_convert.commands.read_cells import DataOptions

    result = validation_commands.validate(
        bundle,
        data,
        layers=layers,
        out=out,
        report=report,
        limits_file=limits,
        options=DataOptions.parse(classes, subjects, px_per_um),
    )
    emit(result, validation_commands.validation_text, as_json=as_json)
    if result.verdict == "fail":
        raise typer.Exit(3)


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="The bundle in use, or `default`.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The bundle that is to replace it.")],
    data: DataOption,
    limits: LimitsOption = None,
    classes: ClassesOption = None,
    subjects: SubjectsOption = None,
    px_per_um: DataScaleOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether one bundle may replace another, on subjects that neither has seen."""
    from edgeleuk_convert.commands import evaluate as validation_commands
    from edgeleuk_convert.commands.read_cells import DataOptions

    result = validation_commands.compare(
        a, b, data, limits_file=limits, options=DataOptions.parse(classes, subjects, px_per_um)
    )
    emit(result, validation_commands.comparison_text, as_json=as_json)
    if result.verdict == "fail":
        raise typer.Exit(3)
