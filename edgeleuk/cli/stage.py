"""The part of the command line that moves a stage: `edgeleuk stage`, `scan`, `virtual-microscope`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeleuk.cli.groups import Command, command_group
from edgeleuk.cli.options import (
    BacklashOption,
    BundleOption,
    ConfigOption,
    ControlOption,
    ControlRequiredOption,
    DurabilityOption,
    ForceOption,
    JsonOption,
    KeepOption,
    KeepResultsOption,
    LampOption,
    LosslessOption,
    MqttOption,
    ObjectiveOption,
    PicturesOption,
    ProtocolOption,
    ScaleOption,
    ScanBacklashOption,
    ScanCameraOption,
    SeedOption,
    ServeOption,
    SplitOption,
    StageConfigOption,
    StageOption,
    TlsCertOption,
    TlsKeyOption,
    UmPerStepOption,
    UntilCellsOption,
    UntilOfOption,
    UntilPointsOption,
    YesOption,
)
from edgeleuk.cli.output import emit, emit_run
from edgeleuk.errors import UsageError
from edgeleuk.io.atomic import overwrite

if TYPE_CHECKING:
    from edgeleuk_firmware_bridge.stage.driver import DrivenStage
    from edgeleuk_firmware_bridge.stage.protocols import StageSettings

stage_app = command_group("stage", "Move a microscope's stage.")


@stage_app.command("info", cls=Command)
def stage_info(
    stage: StageOption = None,
    protocol: ProtocolOption = None,
    um_per_step: UmPerStepOption = None,
    stage_config: StageConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask a stage what it is, what it can do, and where it is."""
    from edgeleuk_firmware_bridge.commands import stage as commands

    facts = commands.stage_info(_stage_url(stage), protocol, _stage_settings(stage_config, um_per_step))
    emit(facts, commands.stage_text, as_json=as_json)


@stage_app.command("move", cls=Command)
def stage_move(
    stage: StageOption = None,
    x_um: Annotated[float | None, typer.Option("--x", help="Where to, in micrometres.")] = None,
    y_um: Annotated[float | None, typer.Option("--y", help="The same.")] = None,
    z_um: Annotated[float | None, typer.Option("--z", help="The same; up is towards the objective.")] = None,
    relative: Annotated[
        bool, typer.Option("--relative", help="So far from where it is, not to that place.")
    ] = False,
    um_per_step: UmPerStepOption = None,
    backlash_um: BacklashOption = None,
    stage_config: StageConfigOption = None,
    protocol: ProtocolOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Move a stage, wait until it has arrived, and tell where it is; Ctrl-C stops it."""
    from edgeleuk.io.console import way_line
    from edgeleuk_firmware_bridge.commands import stage as commands

    with way_line() as on_way:
        facts = commands.stage_move(
            _stage_url(stage),
            protocol,
            (x_um, y_um, z_um),
            relative=relative,
            settings=_stage_settings(stage_config, um_per_step, backlash_um),
            may_go_far=lambda far: yes or _asked(far),
            on_way=on_way,
        )
    emit(facts, commands.stage_text, as_json=as_json)


@stage_app.command("home", cls=Command)
def stage_home(
    stage: StageOption = None,
    protocol: ProtocolOption = None,
    um_per_step: UmPerStepOption = None,
    stage_config: StageConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a stage find its end stops, and count from there."""
    from edgeleuk_firmware_bridge.commands import stage as commands

    facts = commands.stage_home(_stage_url(stage), protocol, _stage_settings(stage_config, um_per_step))
    emit(facts, commands.stage_text, as_json=as_json)


@stage_app.command("unlock", cls=Command)
def stage_unlock(
    stage: StageOption = None,
    protocol: ProtocolOption = None,
    um_per_step: UmPerStepOption = None,
    stage_config: StageConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a board move again after an alarm, without homing; see first that nothing blocks the stage."""
    from edgeleuk_firmware_bridge.commands import stage as commands

    facts = commands.stage_unlock(_stage_url(stage), protocol, _stage_settings(stage_config, um_per_step))
    emit(facts, commands.stage_text, as_json=as_json)


@stage_app.command("stop", cls=Command)
def stage_stop(
    stage: StageOption = None,
    protocol: ProtocolOption = None,
    um_per_step: UmPerStepOption = None,
    stage_config: StageConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop a stage that moves, wait until it stands, and tell where."""
    from edgeleuk_firmware_bridge.commands import stage as commands

    facts = commands.stage_stop(_stage_url(stage), protocol, _stage_settings(stage_config, um_per_step))
    emit(facts, commands.stage_text, as_json=as_json)


@stage_app.command("simulate", cls=Command)
def stage_simulate(
    protocol: Annotated[str, typer.Option("--protocol", help="`sangaboard` or `grbl`.")] = "sangaboard",
    listen: Annotated[
        str | None,
        typer.Option("--listen", metavar="HOST:PORT", help="Speak on TCP; port 0 is any free one."),
    ] = None,
    pty: Annotated[
        Path | None, typer.Option("--pty", metavar="LINK", help="Speak on a pty, with a link to it here.")
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            "--fault",
            metavar="KIND[:SHARE[:SECONDS]]",
            help="Strike a share of the answers: `delay`, `garbage`, `drop`, `reset`; several may be given.",
        ),
    ] = None,
    seed: SeedOption = None,
) -> None:
    """Be a board that is not there, until Ctrl-C."""
    from edgeleuk.io.console import say
    from edgeleuk_firmware_bridge.commands import stage as commands

    with commands.stage_simulate(protocol, listen, pty, fault or [], seed or 0) as server:
        say(f"a {protocol} speaks at {server.url}", always=True)
        server.wait()


@stage_app.command("map", cls=Command)
def stage_map(
    stage: StageOption = None,
    camera: ScanCameraOption = None,
    protocol: ProtocolOption = None,
    um_per_step: UmPerStepOption = None,
    stage_config: StageConfigOption = None,
    lamp: LampOption = None,
    px_per_um: ScaleOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE.toml", help="Write a --stage-config with the play that it found."
        ),
    ] = None,
    as_json: JsonOption = False,
    force: ForceOption = False,
) -> None:
    """Learn how the camera lies on the stage, and the play of its axes, from six moves over cells."""
    overwrite(force=force)
    from edgeleuk.commands import scan as scanning
    from edgeleuk.io.config import command_settings
    from edgeleuk.io.settings_file import require_settings_place, save_settings
    from edgeleuk_firmware_bridge.commands import stage as commands

    flags = {"px_per_um": px_per_um, "camera": camera}
    settings = command_settings(flags, command="stage map")
    if out is not None:
        require_settings_place(out)
    # Play that is taken out would not be seen.
    with opened_stage(stage, protocol, stage_config, um_per_step, 0.0, lamp) as opened:
        mapping = scanning.calibrate_stage(settings.camera, settings.of_run(), opened)
    if out is not None:
        save_settings(out, commands.with_play(opened.settings, mapping.backlash_um))
    emit(mapping, scanning.mapping_text, as_json=as_json)


def scan(
    area: Annotated[
        str, typer.Option("--area", metavar="WxH", help="In millimetres, from the field at hand.")
    ],
    stage: StageOption = None,
    camera: ScanCameraOption = None,
    bundle: BundleOption = None,
    session: Annotated[
        Path | None, typer.Option("--session", metavar="FILE", help="Record [default: session-TIME.db].")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the session, if it is there.")] = False,
    overlap: Annotated[float, typer.Option("--overlap", help="Share of a field that the next shows.")] = 0.3,
    protocol: ProtocolOption = None,
    um_per_step: UmPerStepOption = None,
    backlash_um: ScanBacklashOption = None,
    stage_config: StageConfigOption = None,
    lamp: LampOption = None,
    until_points: UntilPointsOption = None,
    until_of: UntilOfOption = None,
    until_cells: UntilCellsOption = None,
    pictures: PicturesOption = None,
    durability: DurabilityOption = None,
    control: ControlOption = None,
    control_required: ControlRequiredOption = None,
    config: ConfigOption = None,
    split: SplitOption = None,
    keep: KeepOption = None,
    keep_results: KeepResultsOption = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", metavar="PNG", help="The slide [default: beside the session].")
    ] = None,
    slide: Annotated[
        Path | None,
        typer.Option(
            "--slide", metavar="FILE.ome.tiff", help="The slide for every viewer, or FILE.ome.zarr."
        ),
    ] = None,
    lossless: LosslessOption = False,
    objective: ObjectiveOption = None,
    stack: Annotated[
        str | None,
        typer.Option("--stack", metavar="PLANES@UM", help="Planes of each field in --slide: 5@0.8."),
    ] = None,
    extended_focus: Annotated[
        bool, typer.Option("--extended-focus", help="Join them into one plane, with a map of heights.")
    ] = False,
    keep_fields: Annotated[
        bool, typer.Option("--keep-fields", help="Leave the fields of --slide, for `edgeleuk slide`.")
    ] = False,
    serve: ServeOption = None,
    mqtt: MqttOption = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
    force: ForceOption = False,
) -> None:
    """Scan an area of a slide in focus, field by field, into one session and one picture."""
    overwrite(force=force)
    from edgeleuk.commands import run as running
    from edgeleuk.commands import scan as scanning
    from edgeleuk.commands import slide as slides
    from edgeleuk.fleet.address import broker_of_settings
    from edgeleuk.io.config import command_settings, use_config
    from edgeleuk.serve.address import page_of_settings
    from edgeleuk.stage.scanning import ScanPlan
    from edgeleuk_firmware_bridge.commands import stage as commands

    flags = {
        "camera": camera,
        "bundle": bundle,
        "session": session and str(session),
        "split": split,
        "keep": keep,
        "keep_results": keep_results,
        "control": control,
        "control_required": control_required,
        "until_points": until_points,
        "until_of": until_of,
        "until_cells": until_cells,
        "pictures": pictures,
        "durability": durability,
        "mqtt": mqtt,
        "serve": serve,
        "tls_cert": tls_cert and str(tls_cert),
        "tls_key": tls_key and str(tls_key),
    }
    settings = command_settings(flags, file=config, command="scan")
    plan = ScanPlan(*scanning.parse_area(area), overlap)
    wanted = slides.wanted_slide(
        slide,
        stack,
        is_lossless=lossless,
        objective=objective,
        keep_fields=keep_fields,
        extended_focus=extended_focus,
    )
    page = page_of_settings(settings)
    broker = broker_of_settings(settings)
    if config is not None:
        use_config(config)
    backlash_um = scan_backlash(stage_config or settings.stage_config, backlash_um)
    with opened_stage(stage, protocol, stage_config, um_per_step, backlash_um, lamp) as opened:
        here = opened.position()
        far_corner = (here.x_um + plan.width_um, here.y_um + plan.height_um, None)
        commands.check_reach(opened, far_corner, may_go_far=lambda far: yes or _asked(far))
        outcome = scanning.scan(
            settings.camera,
            settings.bundle,
            settings.of_run(),
            opened,
            plan,
            running.RunOptions(
                Path(settings.session) if settings.session else None,
                picture=picture,
                show=not as_json,
                resume=resume,
                control=settings.control,
                control_required=settings.control_required,
                serve=page,
                broker=broker,
            ),
            wanted,
        )
    emit_run(outcome, as_json=as_json)


def slide(
    session: Annotated[Path, typer.Argument(metavar="SESSION", help="A file that `scan` recorded.")],
    file: Annotated[
        Path, typer.Argument(metavar="FILE.ome.tiff", help="The slide to write, or FILE.ome.zarr.")
    ],
    fields: Annotated[
        Path | None,
        typer.Option(
            "--fields", metavar="FILE", help="What --keep-fields left [default: FILE.ome.tiff.fields]."
        ),
    ] = None,
    lossless: LosslessOption = False,
    objective: ObjectiveOption = None,
    as_json: JsonOption = False,
    force: ForceOption = False,
) -> None:
    """Write the slide of a scan as a pyramidal OME-TIFF or OME-Zarr, with its cells as GeoJSON."""
    overwrite(force=force)
    from edgeleuk.commands import slide as slides
    from edgeleuk.commands.slide_text import slide_text

    options = slides.SlideOptions(file, lossless, objective, spool=fields)
    written, error = slides.slide_of_session(session, options)
    if written is not None:
        emit(written, slide_text, as_json=as_json)
    if error is not None:
        raise error


def virtual_microscope(
    http: Annotated[str, typer.Option("--http", metavar="[HOST]:PORT", help="The camera, MJPEG.")],
    stage: Annotated[str, typer.Option("--stage", metavar="[HOST]:PORT", help="The board of the stage.")],
    protocol: Annotated[str, typer.Option("--protocol", help="`sangaboard` or `grbl`.")] = "sangaboard",
    seed: SeedOption = None,
    fps: Annotated[float, typer.Option("--fps", help="Pictures a second.")] = 10.0,
    tilt: Annotated[float, typer.Option("--tilt", help="Rise of the slide, um a um along x.")] = 0.003,
    drift: Annotated[float, typer.Option("--drift", help="Rise of the focus, um a minute.")] = 0.0,
    backlash_um: Annotated[float, typer.Option("--backlash-um", help="Play of each axis.")] = 3.0,
    um_per_step: Annotated[float, typer.Option("--um-per-step", help="Length of a step.")] = 0.1,
    width: Annotated[int, typer.Option("--width", help="Of a picture, px; its height is 3/4 of it.")] = 1280,
) -> None:
    """Be a microscope that is not there, camera and stage, until Ctrl-C: all simulated."""
    from edgeleuk.io.console import say
    from edgeleuk.virtual.microscope import Stand, VirtualMicroscope
    from edgeleuk.virtual.render import VirtualSlide
    from edgeleuk.virtual.serving import serve_stand
    from edgeleuk_firmware_bridge.commands import stage as commands

    board = commands.simulated_board(protocol)
    stand = Stand(focus_um=4.0, tilt_x=tilt, drift_um_per_s=drift / 60, backlash_um=backlash_um)
    microscope = VirtualMicroscope(VirtualSlide(seed or 0), stand, width, width * 3 // 4)
    host, port = commands.host_and_port(http)
    with (
        commands.served(board, stage) as wire,
        serve_stand(board.position, board.lamp, um_per_step, microscope, host, port, fps) as server,
    ):
        say(
            f"SIMULATED camera http://{host}:{server.port}/stream, stage {wire.url}, "
            f"{um_per_step:g} um a step",
            always=True,
        )
        wire.wait()


def _asked(far: str) -> bool:
    """Ask whoever sits at the terminal; without one, nobody agrees."""
    return sys.stdin.isatty() and sys.stderr.isatty() and typer.confirm(f"{far}; go there?", err=True)


def _stage_url(given: str | None) -> str:
    """Return the stage that was given, or that the settings name."""
    from edgeleuk.io.config import command_settings

    url = given or command_settings(command="stage move").stage
    if url is None:
        raise UsageError("the stage is not given", cure="pass --stage URL, or set it in edgeleuk.toml")
    return url


def _stage_settings(
    config: Path | None,
    um_per_step: float | None = None,
    backlash_um: float | None = None,
    lamp: float | None = None,
) -> StageSettings:
    from edgeleuk.io.config import command_settings
    from edgeleuk.io.settings import load_settings
    from edgeleuk_firmware_bridge.commands import stage as commands
    from edgeleuk_firmware_bridge.stage.protocols import StageSettings

    named = None if config is not None else command_settings().stage_config
    # The variables of the environment are those of `run`.
    settings = load_settings(
        StageSettings, file=Path(named) if named else config, environ={}, command="stage move", renamed={}
    )
    return commands.settings_with(settings, um_per_step, backlash_um, lamp)


def scan_backlash(config: Path | str | None, backlash_um: float | None) -> float | None:
    """Return the play that is taken out where nobody told it."""
    # More than stages have: what is not taken out puts fields out of focus.
    return 10.0 if config is None and backlash_um is None else backlash_um


def opened_stage(
    url: str | None,
    protocol: str | None,
    config: Path | None,
    um_per_step: float | None = None,
    backlash_um: float | None = None,
    lamp: float | None = None,
) -> DrivenStage:
    """Open the stage that the options speak of; see `edgeleuk_firmware_bridge.commands.stage.opened`."""
    from edgeleuk_firmware_bridge.commands import stage as commands

    return commands.opened(_stage_url(url), protocol, _stage_settings(config, um_per_step, backlash_um, lamp))
