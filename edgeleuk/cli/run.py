"""`edgeleuk run`: watch a camera."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeleuk.cli.options import (
    AbstainOption,
    BundleOption,
    ConfigOption,
    ControlOption,
    ControlRequiredOption,
    DurabilityOption,
    FastestOption,
    ForceOption,
    JsonOption,
    KeepOption,
    KeepResultsOption,
    LampOption,
    MegapixelsOption,
    MqttOption,
    PicturesOption,
    PrecisionOption,
    QualityCheckOption,
    ScaleOption,
    ScanBacklashOption,
    ServeOption,
    SplitOption,
    StageConfigOption,
    ThreadsOption,
    TlsCertOption,
    TlsKeyOption,
    UmPerStepOption,
    UntilCellsOption,
    UntilOfOption,
    UntilPointsOption,
)
from edgeleuk.cli.output import emit_run
from edgeleuk.cli.stage import opened_stage, scan_backlash
from edgeleuk.errors import UsageError
from edgeleuk.io.atomic import overwrite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeleuk.commands.run import RunOptions
    from edgeleuk.io.settings import Settings


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
    bundle: BundleOption = None,
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
    quality_check: QualityCheckOption = None,
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
    until_of: UntilOfOption = None,
    until_cells: UntilCellsOption = None,
    split: SplitOption = None,
    keep: KeepOption = None,
    keep_results: KeepResultsOption = None,
    pictures: PicturesOption = None,
    durability: DurabilityOption = None,
    stage: Annotated[
        str | None,
        typer.Option("--stage", metavar="URL", help="With --autofocus or --serve: what moves the focus."),
    ] = None,
    autofocus: Annotated[
        bool, typer.Option("--autofocus", help="Find the focus, and find it again when it is lost.")
    ] = False,
    um_per_step: UmPerStepOption = None,
    backlash_um: ScanBacklashOption = None,
    stage_config: StageConfigOption = None,
    lamp: LampOption = None,
    control: ControlOption = None,
    control_required: ControlRequiredOption = None,
    config: ConfigOption = None,
    picture: Annotated[
        Path | None,
        typer.Option("--picture", metavar="PNG", help="Last annotated field [default: beside the session]."),
    ] = None,
    save_video: Annotated[
        Path | None,
        typer.Option("--save-video", metavar="FILE.mp4", help="Every judged field, annotated."),
    ] = None,
    serve: ServeOption = None,
    mqtt: MqttOption = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    as_json: JsonOption = False,
    force: ForceOption = False,
) -> None:
    """Watch a camera: find the white cells, classify each, count each once, record everything."""
    overwrite(force=force)
    from edgeleuk.commands import run as running
    from edgeleuk.io.config import command_settings, use_config

    flags = {
        "camera": camera,
        "bundle": bundle,
        "session": session and str(session),
        "px_per_um": px_per_um,
        "runtime": runtime,
        "precision": precision,
        "threads": threads,
        "abstain": abstain,
        "quality_check": quality_check,
        "most_megapixels": most_megapixels,
        "flat_field": flat_field,
        "exposure_ms": exposure_ms,
        "gain": gain,
        "white_balance": white_balance,
        "lock": lock,
        "every_frame": every_frame,
        "until_points": until_points,
        "until_of": until_of,
        "until_cells": until_cells,
        "split": split,
        "keep": keep,
        "keep_results": keep_results,
        "pictures": pictures,
        "durability": durability,
        "control": control,
        "control_required": control_required,
        "mqtt": mqtt,
        "serve": serve,
        "tls_cert": tls_cert and str(tls_cert),
        "tls_key": tls_key and str(tls_key),
    }
    if config is not None:
        use_config(config)
    settings = command_settings(flags)
    with run_options(
        settings,
        stage=stage,
        autofocus=autofocus,
        um_per_step=um_per_step,
        backlash_um=backlash_um,
        stage_config=stage_config,
        lamp=lamp,
    ) as options:
        outcome = running.run(
            settings.camera,
            settings.bundle,
            settings.of_run(),
            replace(
                options, frames=frames, picture=picture, show=not as_json, resume=resume, video=save_video
            ),
        )
    emit_run(outcome, as_json=as_json)


@contextmanager
def run_options(
    settings: Settings,
    *,
    stage: str | None = None,
    autofocus: bool = False,
    um_per_step: float | None = None,
    backlash_um: float | None = None,
    stage_config: Path | None = None,
    lamp: float | None = None,
) -> Iterator[RunOptions]:
    """Open the stage that a run is asked for, and say what else the settings and the flags ask for.

    Raises
    ------
    UsageError
        They do not go together.
    """
    from edgeleuk.commands.run import RunOptions
    from edgeleuk.fleet.address import broker_of_settings
    from edgeleuk.serve.address import page_of_settings

    autofocus = autofocus or settings.autofocus
    # A stage that the settings name is only used where it is asked for.
    moved = autofocus or (stage is not None and settings.serve is not None)
    if (stage is not None and not moved) or (autofocus and (stage or settings.stage) is None):
        raise UsageError("a stage and --autofocus belong together", cure="pass both, or neither")
    page = page_of_settings(settings)
    broker = broker_of_settings(settings)
    with ExitStack() as stack:
        focus = None
        told = stage_config or settings.stage_config
        step_known = told is not None or um_per_step is not None
        if moved:
            play_um = scan_backlash(told, backlash_um)
            focus = stack.enter_context(
                opened_stage(stage, None, stage_config, um_per_step, play_um, lamp=lamp)
            )
        yield RunOptions(
            _path(settings.session),
            focus=focus,
            # GRBL counts millimetres of its own.
            step_known=step_known or focus is None or focus.capabilities.protocol == "grbl",
            control=settings.control,
            control_required=settings.control_required,
            serve=page,
            broker=broker,
            autofocus=autofocus,
        )


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None
