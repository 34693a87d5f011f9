"""What `edgeleuk stage` calls."""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgeleuk.errors import HardwareError, UsageError
from edgeleuk_firmware_bridge.commands.results import (
    BoardLock,
    BoardState,
    Micrometres,
    MotorSteps,
    StageInfo,
    StagePosition,
    UnlockedStage,
)
from edgeleuk_firmware_bridge.simulation.faults import FaultyWire, parse_fault
from edgeleuk_firmware_bridge.simulation.grbl import GrblSimulator
from edgeleuk_firmware_bridge.simulation.sangaboard import SangaboardSimulator
from edgeleuk_firmware_bridge.simulation.serving import Server, serve_pty, serve_tcp
from edgeleuk_firmware_bridge.stage.open import BOARDS, open_stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from edgeleuk_firmware_bridge.simulation.board import SimulatedBoard
    from edgeleuk_firmware_bridge.stage.driver import DrivenStage
    from edgeleuk_firmware_bridge.stage.protocols import Position, StageSettings

Place = tuple[float | None, float | None, float | None]
# The travel of small stages is 12 mm; who stands in the middle of one has about this much.
FAR_UM = 5000.0

SIMULATORS: dict[str, Callable[[], SimulatedBoard]] = {
    "sangaboard": SangaboardSimulator,
    "grbl": GrblSimulator,
}


def stage_info(url: str, protocol: str | None, settings: StageSettings | None = None) -> StageInfo:
    """Return what a stage says of itself."""
    with open_stage(url, protocol, settings) as stage:
        told, status = stage.capabilities, stage.status()
        lock = BoardLock(code=status.code, meaning=status.meaning, cure=status.cure)
        return StageInfo(
            **_where(url, stage),
            protocol=told.protocol,
            firmware=told.firmware,
            board=told.board,
            state=status.state,
            locked=lock if status.locked else None,
            can_home=told.can_home,
            can_stop=told.can_stop,
            can_focus=told.can_focus,
            channels={channel: stage.lamp.level(channel) for channel in told.channels},
        )


def stage_move(
    url: str,
    protocol: str | None,
    place: Place,
    *,
    relative: bool = False,
    settings: StageSettings | None = None,
    may_go_far: Callable[[str], bool] = lambda _: False,
    on_way: Callable[[Position], object] | None = None,
) -> StagePosition:
    """Move a stage, and return where it then is; an interrupt stops it.

    Parameters
    ----------
    url, protocol : str
        As `open_stage` takes them.
    place : tuple of 3 float or None
        Micrometres; an axis without stays.
    relative : bool
        Whether that is the way, not the place.
    settings : StageSettings, optional
    may_go_far : callable
        Asked, with a sentence, before a long way on an axis without a limit.
    on_way : callable, optional
        Told the position now and then.

    Raises
    ------
    UsageError
        No axis is given, the place is beyond a limit, or too far away to go there without one.
    HardwareError
        The stage did not arrive.
    """
    if all(um is None for um in place):
        raise UsageError("there is nowhere to go", cure="pass --x, --y or --z, in micrometres")
    with opened(url, protocol, settings) as stage:
        base = stage.position() if relative else (0.0, 0.0, 0.0)
        x, y, z = (None if um is None else start + um for um, start in zip(place, base, strict=True))
        check_reach(stage, (x, y, z), may_go_far=may_go_far)
        stage.on_way = on_way
        with _stopped_by_an_interrupt(stage):
            stage.move(x, y, z)
        return StagePosition(**_where(url, stage))


def check_reach(stage: DrivenStage, place: Place, *, may_go_far: Callable[[str], bool]) -> None:
    """Ask before a stage goes a long way to a place on an axis without a limit; see `stage_move`.

    Raises
    ------
    UsageError
        It may not.
    """
    far = far_without_limits(stage.position(), place, stage.settings)
    if far and not may_go_far(far):
        raise UsageError(
            far,
            allowed=f"{FAR_UM / 1000:g} mm",
            cure="pass --yes, or set least_um and most_um in a --stage-config",
        )


def far_without_limits(here: Position, place: Place, settings: StageSettings) -> str:
    """Say which way is so long that it may end at a slide or a wall, where no limit is set; else nothing."""
    for name, now, to, axis in zip("xyz", here, place, (settings.x, settings.y, settings.z), strict=True):
        if to is None or not abs(to - now) > FAR_UM or not math.isfinite(to):
            continue
        if math.isinf(axis.most_um if to > now else axis.least_um):
            return f"{name} would go {abs(to - now) / 1000:g} mm, and no limit is set on that side"
    return ""


@contextlib.contextmanager
def _stopped_by_an_interrupt(stage: DrivenStage) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        with contextlib.suppress(HardwareError):
            stage.stop()
            stage.stand()
        raise


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


def stage_home(url: str, protocol: str | None, settings: StageSettings | None = None) -> StagePosition:
    """Home a stage, and return where it then is; an interrupt stops it."""
    with open_stage(url, protocol, settings) as stage:
        with _stopped_by_an_interrupt(stage):
            stage.home()
        return StagePosition(**_where(url, stage))


def stage_unlock(url: str, protocol: str | None, settings: StageSettings | None = None) -> UnlockedStage:
    """Let a board move again after an alarm; what it was comes with where it stands, under ``was``."""
    with open_stage(url, protocol, settings) as stage:
        status = stage.status()
        unlocked = stage.unlock()
        was = BoardState(state=status.state, code=status.code, meaning=status.meaning)
        return UnlockedStage(**_where(url, stage), unlocked=unlocked, was=was)


def stage_stop(url: str, protocol: str | None, settings: StageSettings | None = None) -> StagePosition:
    """Stop a stage, wait until it stands, and return where."""
    with open_stage(url, protocol, settings) as stage:
        stage.stop()
        stage.stand()
        return StagePosition(**_where(url, stage))


def stage_text(facts: StagePosition) -> str:
    """Return what a command found, for people."""
    at = facts.position_um
    lines = [f"position  x {at.x:g}  y {at.y:g}  z {at.z:g} um"]
    if isinstance(facts, StageInfo):
        lamps = ", ".join(f"{name} {level:.2f}" for name, level in facts.channels.items()) or "none"
        able = (("home", facts.can_home), ("stop", facts.can_stop), ("focus", facts.can_focus))
        can = [word for word, is_able in able if is_able]
        lines = [
            f"stage     {facts.stage}",
            f"board     {facts.protocol}: {facts.firmware} {facts.board}".rstrip(),
            *_state_lines(facts),
            *lines,
            f"can       {', '.join(['move', *can])}",
            f"lamps     {lamps}",
        ]
    if isinstance(facts, UnlockedStage):
        was = facts.was
        state = f"{was.state}: {was.meaning}" if was.meaning else was.state
        lines.insert(0, f"unlocked  it was in the state {state}" if facts.unlocked else "it was not locked")
        if facts.unlocked:
            lines.append("steps may be lost: look where the stage stands before it moves")
    return "\n".join(lines)


def _state_lines(facts: StageInfo) -> list[str]:
    locked = facts.locked
    if locked is None:
        return [f"state     {facts.state}"]
    code = "" if locked.code is None else f" {locked.code}"
    return [f"state     {facts.state}{code}: {locked.meaning}", f"          {locked.cure}"]


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
        "position_um": Micrometres(**dict(zip("xyz", stage.position(), strict=True))),
        "steps": MotorSteps(**dict(zip("xyz", stage.steps(), strict=True))),
    }
