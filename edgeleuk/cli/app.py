"""The command line: parse, wire, print. What a command does stands in the room it calls."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from edgeleuk.cli.mcu import mcu_app
from edgeleuk.cli.options import (
    AbstainOption,
    BundleOption,
    ClassesOption,
    DataOption,
    DataScaleOption,
    FastestOption,
    ForceOption,
    ImagesOption,
    JsonOption,
    LampOption,
    LimitsOption,
    MegapixelsOption,
    OutputOption,
    PrecisionOption,
    QualityCheckOption,
    RuntimeOption,
    ScaleOption,
    ScanBacklashOption,
    SeedOption,
    SizeOption,
    StageConfigOption,
    StrategyOption,
    SubjectsOption,
    ThreadsOption,
    UmPerStepOption,
    UntilCellsOption,
    UntilPointsOption,
)
from edgeleuk.cli.stage import opened_stage, scan, scan_backlash, stage_app, virtual_microscope
from edgeleuk.errors import EdgeleukError, UsageError
from edgeleuk.io.atomic import overwrite
from edgeleuk.io.console import escaped_output, printable, say
from edgeleuk.io.signals import interrupted_by_signals, nothing_more_to_say
from edgeleuk.version import RESEARCH_USE, __version__


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

camera_app = typer.Typer(name="camera", help="Prepare a camera.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(camera_app)
app.add_typer(stage_app)
app.add_typer(mcu_app)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"edgeleuk {__version__}")
        raise typer.Exit


def _list_architectures(value: bool) -> None:
    if value:
        from edgeleuk_convert.networks.architectures import list_text

        typer.echo(list_text())
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
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
    from edgeleuk.io.console import print_json
    from edgeleuk_convert.commands import train as commands

    result = commands.train(
        data,
        out,
        config=config,
        flags={"architecture": architecture, "epochs": epochs, "seed": seed, "folds": folds, "fold": fold},
        held_out=held_out,
        answers=answers,
        allow_leakage=allow_leakage,
    )
    print_json(result) if as_json else typer.echo(commands.training_text(result))


@app.command("cross-validate")
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
    from edgeleuk.io.console import print_json
    from edgeleuk_convert.commands import train as commands

    result = commands.cross_validate(data, out, architecture, folds=folds, seeds=seeds, epochs=epochs)
    print_json(result) if as_json else typer.echo(commands.comparison_text(result))


@app.command()
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
    from edgeleuk.io.console import print_json
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
    print_json(result) if as_json else typer.echo(commands.evaluation_text(result))


@app.command()
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
    int8: Annotated[bool, typer.Option("--int8", help="Full-integer networks, TFLite and ONNX.")] = False,
    images: ImagesOption = None,
    seed: SeedOption = None,
    strategy: StrategyOption = None,
    calibration_card: Annotated[
        Path | None,
        typer.Option(
            "--calibration-card", metavar="FILE", help="A calibration.json whose images are taken again."
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
    gate: LimitsOption = None,
    classes: ClassesOption = None,
    subjects: SubjectsOption = None,
    px_per_um: DataScaleOption = None,
    folds: Annotated[
        int | None,
        typer.Option(
            "--folds", help="Without .training.json: parts of the groups, one of which judges [default: 3]."
        ),
    ] = None,
    as_json: JsonOption = False,
    force: ForceOption = False,
) -> None:
    """Quantize a network to int8 TFLite and ONNX, hold it against float, and pack it into a bundle."""
    overwrite(force=force)
    from edgeleuk.io.console import print_json
    from edgeleuk_convert.commands import convert as conversion_commands
    from edgeleuk_convert.commands.options import ConvertOptions

    if not int8:
        raise UsageError("the precision to convert to is not given", allowed="--int8")
    options = ConvertOptions(
        images=images,
        seed=seed,
        strategy=strategy,
        calibration_record=calibration_card,
        contract=contract,
        size=size,
        output=output,
        onnx_calibration=onnx_calibration,
        tensorrt=tensorrt,
        also=also or (),
        repair=repair,
        limits_file=gate,
        classes=classes,
        subjects=subjects,
        px_per_um=px_per_um,
        folds=folds,
    )
    result = conversion_commands.convert(model, calibration, out, options)
    print_json(result.to_json()) if as_json else typer.echo(conversion_commands.conversion_text(result))
    if result.verdict == "fail":
        raise typer.Exit(3)


@app.command()
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
    from edgeleuk.io.console import print_json
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
    print_json(result) if as_json else typer.echo(contract_commands.contract_text(result))


@app.command()
def calibrate(
    model: Annotated[Path, typer.Argument(metavar="MODEL.keras", help="With its .training.json beside it.")],
    data: DataOption,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where the card, the checks and the plot go.")
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
    from edgeleuk.io.console import print_json
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
    print_json(result) if as_json else typer.echo(conversion_commands.calibration_text(result))


@app.command()
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
    gate: LimitsOption = None,
    classes: ClassesOption = None,
    subjects: SubjectsOption = None,
    px_per_um: DataScaleOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare a bundle's int8 networks with its float network on subjects none of them has seen."""
    from edgeleuk.io.console import print_json
    from edgeleuk_convert.commands import evaluate as validation_commands
    from edgeleuk_convert.commands.read_cells import DataOptions

    result = validation_commands.validate(
        bundle,
        data,
        layers=layers,
        out=out,
        report=report,
        limits_file=gate,
        options=DataOptions.parse(classes, subjects, px_per_um),
    )
    print_json(result) if as_json else typer.echo(validation_commands.validation_text(result))
    if result["verdict"] == "fail":
        raise typer.Exit(3)


@app.command()
def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="The bundle in use, or `default`.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The bundle that is to replace it.")],
    data: DataOption,
    gate: LimitsOption = None,
    classes: ClassesOption = None,
    subjects: SubjectsOption = None,
    px_per_um: DataScaleOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether one bundle may replace another, on subjects that neither has seen."""
    from edgeleuk.io.console import print_json
    from edgeleuk_convert.commands import evaluate as validation_commands
    from edgeleuk_convert.commands.read_cells import DataOptions

    result = validation_commands.compare(
        a, b, data, limits_file=gate, options=DataOptions.parse(classes, subjects, px_per_um)
    )
    print_json(result) if as_json else typer.echo(validation_commands.comparison_text(result))
    if result["verdict"] == "fail":
        raise typer.Exit(3)


@app.command()
def inspect(
    bundle: Annotated[
        str, typer.Argument(metavar="BUNDLE", help="A .edgeleuk file, or `default`.")
    ] = "default",
    as_json: JsonOption = False,
) -> None:
    """Print what a bundle holds and says of itself."""
    from edgeleuk.bundle.reading import read_bundle
    from edgeleuk.commands.bundle import bundle_facts, facts_text
    from edgeleuk.io.console import print_json

    opened = read_bundle(bundle)
    print_json(bundle_facts(opened)) if as_json else typer.echo(facts_text(opened))


@app.command()
def verify(
    file: Annotated[
        str, typer.Argument(metavar="BUNDLE|SESSION", help="A .edgeleuk file, `default`, or a session.")
    ] = "default",
    as_json: JsonOption = False,
) -> None:
    """Check a bundle's hashes and its golden vectors on every runtime, or a session's hash chain."""
    from edgeleuk.io.console import print_json
    from edgeleuk.session import verify as verifying

    if verifying.is_database(Path(file)):
        found = verifying.verify_session(Path(file))
        print_json(found) if as_json else typer.echo(verifying.verification_text(found))
        if found.broken is not None:
            raise typer.Exit(7)
        return
    from edgeleuk.bundle.reading import read_bundle
    from edgeleuk.classifier.self_test import replay as replay_golden
    from edgeleuk.commands.bundle import replay_facts, replay_text

    opened = read_bundle(file)
    results = replay_golden(opened)
    print_json(replay_facts(opened, results)) if as_json else typer.echo(replay_text(opened, results))
    if any(result.status == "moved" for result in results):
        raise typer.Exit(3)


@app.command()
def run(
    camera: Annotated[
        str | None,
        typer.Option(
            "--camera",
            metavar="URI",
            help="v4l2:///dev/v4l/by-id/..., picamera://0, http://HOST/STREAM, rtsp://...,"
            " gstreamer:PIPELINE, dir://FOLDER, file://VIDEO, or virtual:// [default: the only one found].",
        ),
    ] = None,
    bundle: BundleOption = "default",
    session: Annotated[
        Path | None, typer.Option("--session", metavar="FILE", help="Record [default: session-TIME.db].")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the session, if it is there: nothing counts twice.")
    ] = False,
    frames: Annotated[
        int | None, typer.Option("--frames", help="Stop after so many processed frames.")
    ] = None,
    px_per_um: ScaleOption = None,
    runtime: FastestOption = None,
    precision: PrecisionOption = None,
    threads: ThreadsOption = None,
    abstain: AbstainOption = None,
    gate: QualityCheckOption = None,
    most_megapixels: MegapixelsOption = None,
    flat_field: Annotated[
        str | None,
        typer.Option("--flat-field", metavar="FILE", help="A blank, by which every frame is divided."),
    ] = None,
    exposure_ms: Annotated[
        float | None, typer.Option("--exposure-ms", help="Exposure [default: the camera's choice, locked].")
    ] = None,
    gain: Annotated[
        float | None, typer.Option("--gain", help="Gain [default: the camera's choice, locked].")
    ] = None,
    white_balance: Annotated[
        str | None,
        typer.Option(
            "--white-balance",
            metavar="K|RED,BLUE",
            help="Kelvin, or a Pi's gains [default: the camera's choice, locked].",
        ),
    ] = None,
    lock: Annotated[
        bool | None,
        typer.Option("--lock/--no-lock", help="Lock a camera's automatic modes after 2 s [default: lock]."),
    ] = None,
    every_frame: Annotated[
        bool | None,
        typer.Option(
            "--every-frame/--newest-frame",
            help="Let a camera's frames wait for their turn, 32 of them [default: newest].",
        ),
    ] = None,
    until_points: UntilPointsOption = None,
    until_cells: UntilCellsOption = None,
    stage: Annotated[
        str | None,
        typer.Option("--stage", metavar="URL", help="With --autofocus: what moves the focus."),
    ] = None,
    autofocus: Annotated[
        bool, typer.Option("--autofocus", help="Find the focus, and find it again when it is lost.")
    ] = False,
    um_per_step: UmPerStepOption = None,
    backlash_um: ScanBacklashOption = None,
    stage_config: StageConfigOption = None,
    lamp: LampOption = None,
    config: Annotated[
        Path | None, typer.Option("--config", envvar="EDGELEUK_CONFIG", help="TOML file of settings.")
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option("--picture", metavar="PNG", help="Last annotated field [default: beside the session]."),
    ] = None,
    as_json: JsonOption = False,
    force: ForceOption = False,
) -> None:
    """Watch a camera: find the white cells, classify each, count each once, record everything."""
    overwrite(force=force)
    from edgeleuk.commands import run as running
    from edgeleuk.io.console import print_json
    from edgeleuk.io.settings import RunSettings, load_settings

    settings = load_settings(
        RunSettings,
        file=config,
        flags={
            "px_per_um": px_per_um,
            "runtime": runtime,
            "precision": precision,
            "threads": threads,
            "abstain": abstain,
            "gate": gate,
            "most_megapixels": most_megapixels,
            "flat_field": flat_field,
            "exposure_ms": exposure_ms,
            "gain": gain,
            "white_balance": white_balance,
            "lock": lock,
            "every_frame": every_frame,
            "until_points": until_points,
            "until_cells": until_cells,
        },
    )
    if (stage is not None) != autofocus:
        raise UsageError("a stage and --autofocus belong together", cure="pass both, or neither")
    with ExitStack() as stack:
        focus = None
        step_known = stage_config is not None or um_per_step is not None
        if stage is not None:
            play_um = scan_backlash(stage_config, backlash_um)
            focus = stack.enter_context(
                opened_stage(stage, None, stage_config, um_per_step, play_um, lamp=lamp)
            )
        summary, error = running.run(
            camera,
            bundle,
            settings,
            running.RunOptions(
                session,
                frames,
                picture,
                show=not as_json,
                resume=resume,
                focus=focus,
                # GRBL counts millimetres of its own.
                step_known=step_known or focus is None or focus.capabilities.protocol == "grbl",
            ),
        )
    print_json(summary.to_json()) if as_json else typer.echo(running.summary_text(summary))
    if error is not None:
        raise error


@app.command()
def classify(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILES_OR_DIRS...", help="Cells on black, or whole fields; or folders of them."
        ),
    ],
    bundle: BundleOption = "default",
    px_per_um: ScaleOption = None,
    runtime: FastestOption = None,
    precision: PrecisionOption = None,
    threads: ThreadsOption = None,
    abstain: AbstainOption = None,
    gate: QualityCheckOption = None,
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
    as_json: JsonOption = False,
) -> None:
    """Classify the white cells of image files, or of whole folders: single cells on black, or fields."""
    from edgeleuk.io.console import print_json
    from edgeleuk.io.settings import RunSettings, load_settings

    settings = load_settings(
        RunSettings,
        flags={
            "px_per_um": px_per_um,
            "runtime": runtime,
            "precision": precision,
            "threads": threads,
            "abstain": abstain,
            "gate": gate,
            "most_megapixels": most_megapixels,
        },
    )
    if out is not None or jobs is not None or scheduler is not None or any(path.is_dir() for path in paths):
        from edgeleuk.batch import archive

        result, error = archive.classify_archive(
            paths, bundle, settings, jobs=jobs, out=out, scheduler=scheduler
        )
        print_json(result) if as_json else typer.echo(archive.archive_text(result))
        if error is not None:
            raise error
        return
    from edgeleuk.batch import images as image_files

    classified = image_files.classify_files(paths, bundle, settings)
    print_json(classified) if as_json else typer.echo(image_files.classification_text(classified))


@app.command()
def segment(
    files: Annotated[list[Path], typer.Argument(metavar="FILES...", help="Fields, or pictures of one cell.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the masks go.")],
    px_per_um: ScaleOption = None,
    gate: QualityCheckOption = None,
    most_megapixels: MegapixelsOption = None,
    as_json: JsonOption = False,
    force: ForceOption = False,
) -> None:
    """Find the white cells of image files and write their masks."""
    overwrite(force=force)
    from edgeleuk.batch import images as image_files
    from edgeleuk.io.console import print_json
    from edgeleuk.io.settings import RunSettings, load_settings

    settings = load_settings(
        RunSettings,
        flags={"px_per_um": px_per_um, "gate": gate, "most_megapixels": most_megapixels},
        command="segment",
    )
    result = image_files.segment_files(files, out, settings)
    print_json(result) if as_json else typer.echo(image_files.segmentation_text(result))


@app.command()
def replay(
    session: Annotated[Path, typer.Argument(metavar="SESSION", help="A file that `run` recorded.")],
    cell: Annotated[int, typer.Option("--cell", metavar="N", help="Number of the cell in the session.")],
    bundle: BundleOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Judge one recorded cell again: the same bundle gives the same probability, bit for bit."""
    from edgeleuk.commands import replay as replaying
    from edgeleuk.io.console import print_json

    result = replaying.replay_cell(session, cell, bundle)
    print_json(result) if as_json else typer.echo(replaying.replay_text(result))
    if not result.equal:
        raise typer.Exit(3)


@app.command()
def export(
    session: Annotated[Path, typer.Argument(metavar="SESSION", help="A file that `run` recorded.")],
    csv: Annotated[bool, typer.Option("--csv", help="One row for each cell, as CSV.")] = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="One JSON object a line for each cell.")] = False,
    fhir: Annotated[
        bool, typer.Option("--fhir", help="The counts as a FHIR R4 Bundle, without a patient.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", help="A file instead of standard output.")] = None,
    force: ForceOption = False,
) -> None:
    """Write the cells of a session, or its counts, for other programs."""
    overwrite(force=force)
    from edgeleuk.session.export import export_csv, export_jsonl
    from edgeleuk.session.fhir import export_fhir

    if csv + jsonl + fhir != 1:
        raise UsageError("one format has to be asked for", allowed="--csv, --jsonl or --fhir")
    if fhir:
        export_fhir(session, out)
    else:
        (export_csv if csv else export_jsonl)(session, out)


@app.command()
def report(
    session: Annotated[Path, typer.Argument(metavar="SESSION", help="A file that `run` recorded.")],
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with a picture of each cell.")
    ] = None,
    as_json: JsonOption = False,
    force: ForceOption = False,
) -> None:
    """Sum up a session: counts with intervals, frames by reason, events, gaps."""
    overwrite(force=force)
    from edgeleuk.io.console import print_json
    from edgeleuk.session.html_report import write_page
    from edgeleuk.session.report import report_text, session_report

    facts = session_report(session)
    if html is not None:
        write_page(session, html)
    print_json(facts) if as_json else typer.echo(report_text(facts))
    if facts.chain and facts.chain.broken:
        raise typer.Exit(7)


@app.command()
def bench(
    bundle: BundleOption = "default",
    runtime: Annotated[
        str | None, typer.Option("--runtime", help="Only `litert` or `onnxruntime` [default: all there are].")
    ] = None,
    precision: Annotated[
        str | None, typer.Option("--precision", help="Only `int8` or `float32` [default: all there are].")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option("--threads", metavar="N", help="1, 2, 4 and so on to N [default: the cores]."),
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", help="About so long in all.")] = 20.0,
    camera: Annotated[
        str | None,
        typer.Option("--camera", metavar="URI", help="Time the stages on it [default: a virtual slide]."),
    ] = None,
    ops: Annotated[bool, typer.Option("--ops", help="Time the operations of the ONNX networks.")] = False,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE.png", help="Draw the latencies and the stages.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.json", help="Store the result, for --compare.")
    ] = None,
    compare: Annotated[
        Path | None, typer.Option("--compare", metavar="OLD.json", help="Compare with a stored result.")
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            "--limit",
            metavar="NAME=VALUE",
            help="Exit with 3 where it is not kept: p95_ms=20; several times.",
        ),
    ] = None,
    as_json: JsonOption = False,
    force: ForceOption = False,
) -> None:
    """Measure what this device really does: networks, stages of the pipeline, starts, memory."""
    overwrite(force=force)
    from edgeleuk.bench import command
    from edgeleuk.io.console import print_json

    request = command.Request(
        runtime=runtime,
        precision=precision,
        threads=threads,
        seconds=seconds,
        camera=camera,
        operators=ops,
        limits=tuple(limit or ()),
        compare=compare,
        plot=plot,
        out=out,
    )
    result, error = command.bench(bundle, request)
    print_json(result) if as_json else typer.echo(command.result_text(result))
    if error is not None:
        raise error


@camera_app.command("flat-field")
def flat_field(
    camera: Annotated[str, typer.Argument(metavar="URI", help="A camera that looks at empty glass.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE.png", help="Where the blank goes.")],
    frames: Annotated[int, typer.Option("--frames", help="Pictures that are averaged, at most.")] = 16,
    as_json: JsonOption = False,
    force: ForceOption = False,
) -> None:
    """Store a blank: the average of empty fields, by which `run --flat-field` divides."""
    overwrite(force=force)
    from edgeleuk.commands import flat_field as blanks
    from edgeleuk.io.console import print_json

    result = blanks.take_blank(camera, out, frames)
    print_json(result) if as_json else typer.echo(
        f"blank     {result['blank']}: {result['width']}x{result['height']}, mean of {result['frames']}"
        f" pictures, darkest at {result['darkest_relative_to_mean']} of the mean"
    )


@camera_app.command("list")
def camera_list(as_json: JsonOption = False) -> None:
    """List the cameras of this machine: steady names, formats, sizes, rates, controls."""
    from edgeleuk.capture import discovery
    from edgeleuk.io.console import print_json

    found = discovery.list_cameras()
    print_json(found) if as_json else typer.echo(discovery.cameras_text(found))


@camera_app.command("probe")
def camera_probe(
    camera: Annotated[
        str | None, typer.Argument(metavar="URI", help="A camera [default: the only one found].")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.png", help="Write its last picture here.")
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", help="How long it is watched.")] = 3.0,
    as_json: JsonOption = False,
    force: ForceOption = False,
) -> None:
    """Watch a camera for a few seconds: format, size, real rate, latency, controls as read back."""
    overwrite(force=force)
    from edgeleuk.commands import probe as probing
    from edgeleuk.io.console import print_json

    result = probing.probe(camera, out, seconds)
    print_json(result) if as_json else typer.echo(probing.probe_text(result))


app.command()(scan)
app.command("virtual-microscope")(virtual_microscope)


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
