"""What `edgeleuk stage` calls."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgeleuk.errors import UsageError
from edgeleuk_firmware_bridge.opening import BOARDS, open_stage
from edgeleuk_firmware_bridge.simulation.faults import FaultyWire, parse_fault
from edgeleuk_firmware_bridge.simulation.grbl import GrblSimulator
from edgeleuk_firmware_bridge.simulation.sangaboard import SangaboardSimulator
from edgeleuk_firmware_bridge.simulation.serving import Server, serve_pty, serve_tcp

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgeleuk_firmware_bridge.driving import DrivenStage
    from edgeleuk_firmware_bridge.microscope import StageSettings
    from edgeleuk_firmware_bridge.simulation.board import SimulatedBoard

SIMULATORS: dict[str, Callable[[], SimulatedBoard]] = {
    "sangaboard": SangaboardSimulator,
    "grbl": GrblSimulator,
}


def stage_info(url: str, protocol: str | None, settings: StageSettings | None = None) -> dict[str, Any]:
    """Return what a stage says of itself: ``schema_version stage protocol firmware board ...``."""
    with open_stage(url, protocol, settings) as stage:
        told = stage.capabilities
        return {
            **_where(url, stage),
            "protocol": told.protocol,
            "firmware": told.firmware,
            "board": told.board,
            "can_home": told.can_home,
            "can_stop": told.can_stop,
            "channels": {channel: stage.lamp.level(channel) for channel in told.channels},
        }


def stage_move(
    url: str,
    protocol: str | None,
    place: tuple[float | None, float | None, float | None],
    *,
    relative: bool = False,
    settings: StageSettings | None = None,
) -> dict[str, Any]:
    """Move a stage, and return where it then is.

    Parameters
    ----------
    url, protocol : str
        As `open_stage` takes them.
    place : tuple of 3 float or None
        Micrometres; an axis without stays.
    relative : bool
        Whether that is the way, not the place.
    settings : StageSettings, optional

    Raises
    ------
    UsageError
        No axis is given, or the place is beyond a limit.
    HardwareError
        The stage did not arrive.
    """
    if all(um is None for um in place):
        raise UsageError("there is nowhere to go", cure="pass --x, --y or --z, in micrometres")
    with opened(url, protocol, settings) as stage:
        before = stage.position() if relative else (0.0, 0.0, 0.0)
        x, y, z = (None if um is None else base + um for um, base in zip(place, before, strict=True))
        try:
            stage.move(x, y, z)
        except KeyboardInterrupt:
            stage.stop()
            raise
        return _where(url, stage)


def settings_with(
    settings: StageSettings, um_per_step: float | None, backlash_um: float | None, lamp: float | None = None
) -> StageSettings:
    """Return settings with what is given in their place, on all three axes.

    Raises
    ------
    UsageError
        A value is out of range.
    """
    given = {"um_per_step": um_per_step, "backlash_um": backlash_um}
    of_axis: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    try:
        x, y, z = (replace(axis, **of_axis) for axis in (settings.x, settings.y, settings.z))
        lit = settings.lamp if lamp is None else lamp
        return replace(settings, x=x, y=y, z=z, lamp=lit)
    except ValueError as error:
        raise UsageError(f"bad setting of the stage: {error}") from error


def with_play(settings: StageSettings, play_um: tuple[float, float]) -> StageSettings:
    """Return settings that take out the play that was found in x and y, and as much in z, with a margin."""
    x, y = (math.ceil(1 + 1.5 * um) for um in play_um)
    axes = zip((settings.x, settings.y, settings.z), (x, y, max(x, y)), strict=True)
    of_x, of_y, of_z = (replace(axis, backlash_um=float(um)) for axis, um in axes)
    return replace(settings, x=of_x, y=of_y, z=of_z)


def opened(url: str, protocol: str | None, settings: StageSettings | None = None) -> DrivenStage:
    """Open a stage, and light its lamp if that is wanted; see `open_stage` for what is raised.

    Raises
    ------
    UsageError
        A lamp is wanted, and the board has none.
    """
    stage = open_stage(url, protocol, settings)
    level = stage.settings.lamp
    if level is not None:
        try:
            channel = next(iter(stage.lamp.channels), "")
            stage.lamp.set_level(channel, level)
        except BaseException:
            stage.close()
            raise
    return stage


def stage_home(url: str, protocol: str | None, settings: StageSettings | None = None) -> dict[str, Any]:
    """Home a stage, and return where it then is."""
    with open_stage(url, protocol, settings) as stage:
        stage.home()
        return _where(url, stage)


def stage_stop(url: str, protocol: str | None, settings: StageSettings | None = None) -> dict[str, Any]:
    """Stop a stage, and return where it then stands."""
    with open_stage(url, protocol, settings) as stage:
        stage.stop()
        return _where(url, stage)


def stage_text(facts: dict[str, Any]) -> str:
    """Return what a command found, for people."""
    x, y, z = (facts["position_um"][axis] for axis in "xyz")
    lines = [f"position  x {x:g}  y {y:g}  z {z:g} um"]
    if "protocol" in facts:
        lamps = ", ".join(f"{name} {level:.2f}" for name, level in facts["channels"].items()) or "none"
        can = [word for word, key in (("home", "can_home"), ("stop", "can_stop")) if facts[key]]
        lines = [
            f"stage     {facts['stage']}",
            f"board     {facts['protocol']}: {facts['firmware']} {facts['board']}".rstrip(),
            *lines,
            f"can       {', '.join(['move', *can])}",
            f"lamps     {lamps}",
        ]
    return "\n".join(lines)


def stage_simulate(
    protocol: str,
    listen: str | None,
    pty: Path | None,
    faults: list[str],
    seed: int,
) -> Server:
    """Serve a simulated board; close what is returned.

    Raises
    ------
    UsageError
        The protocol, the address or a fault is none.
    """
    if protocol not in SIMULATORS:
        raise UsageError("there is no such protocol", got=repr(protocol), allowed=", ".join(BOARDS))
    if (listen is None) == (pty is None):
        raise UsageError("a simulator has one address", cure="pass --listen HOST:PORT, or --pty LINK")
    board = FaultyWire(SIMULATORS[protocol](), [parse_fault(fault) for fault in faults], seed=seed)
    if pty is not None:
        return serve_pty(board, pty)
    return serve_tcp(board, *host_and_port(listen or ""))


def simulated_board(protocol: str) -> SimulatedBoard:
    """Make a board whose `position` can be watched."""
    if protocol not in SIMULATORS:
        raise UsageError("there is no such protocol", got=repr(protocol), allowed=", ".join(BOARDS))
    return SIMULATORS[protocol]()


def served(board: SimulatedBoard, listen: str) -> Server:
    """Serve a board on TCP; close what is returned."""
    return serve_tcp(board, *host_and_port(listen))


def host_and_port(text: str) -> tuple[str, int]:
    """Read ``HOST:PORT``; without a host, this machine alone.

    Examples
    --------
    >>> host_and_port(":7011")
    ('127.0.0.1', 7011)
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise UsageError("this is no address to listen on", got=repr(text), allowed="HOST:PORT")
    return host.strip("[]") or "127.0.0.1", int(port)


def _where(url: str, stage: DrivenStage) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "stage": url,
        "position_um": dict(zip("xyz", stage.position(), strict=True)),
        "steps": dict(zip("xyz", stage.steps(), strict=True)),
    }
