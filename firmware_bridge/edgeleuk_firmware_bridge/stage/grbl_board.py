"""What a GRBL board does, for `DrivenStage`: jogs, alarms and the ways out of them."""

from __future__ import annotations

import contextlib
import math
import time
from typing import TYPE_CHECKING, Any

from edgeleuk.errors import HardwareError
from edgeleuk_firmware_bridge.stage import grbl
from edgeleuk_firmware_bridge.stage.boards import BoardReading, Heard, too_old
from edgeleuk_firmware_bridge.stage.errors import (
    BoardAlarmError,
    BoardResetError,
    NoAnswerError,
    RefusedError,
)
from edgeleuk_firmware_bridge.stage.grbl import Grbl, Jog, Line, Realtime, Shine
from edgeleuk_firmware_bridge.stage.protocols import BoardStatus, Capabilities, Steps
from edgeleuk_firmware_bridge.stage.transport import Transport

if TYPE_CHECKING:
    from edgeleuk_firmware_bridge.stage.grbl import Status
    from edgeleuk_firmware_bridge.stage.serial_link import Link, Patience

_POLL_S = 0.05


class GrblBoard:
    """A GRBL board; see `edgeleuk_firmware_bridge.stage.boards.Board`.

    A step is a thousandth of its millimetre.

    Parameters
    ----------
    link : Link
    patience : Patience
    heard : Heard, optional
        What was heard while it was recognised.
    """

    def __init__(self, link: Link, patience: Patience, heard: Heard | None = None) -> None:
        self._heard = heard or Heard("grbl", "")
        self._homing = False
        self.transport = Transport(link, Grbl(), [Line.MODES, Line.HELP, Line.BUILD], patience)
        build = self._build()
        version = grbl.build_of(build)
        if version is not None and version < grbl.OLDEST:
            raise too_old(link, build[0], grbl.OLDEST)
        settings = grbl.settings_of(self._lines(Line.SETTINGS))
        self._unit_mm = 25.4 if settings.get(13) else 1.0
        self._rates = [settings.get(number, 500.0) for number in (110, 111, 112)]
        self._gains = [settings.get(number, 10.0) for number in (120, 121, 122)]
        # A target falls between two steps of the motors, and three decimals are reported.
        self.tolerance = Steps(
            *(1 + math.ceil(1000 / max(settings.get(number, 250.0), 1e-3)) for number in (100, 101, 102))
        )
        self._full = settings.get(30, 1000.0)
        self._laser = bool(settings.get(32))
        self.capabilities = Capabilities(
            protocol="grbl",
            firmware=build[0].strip("[]") if build else "unknown",
            board=next((line.strip("[]") for line in build if line.startswith("[BOARD:")), ""),
            can_home=bool(settings.get(22)),
            can_stop=True,
            channels={"spindle": self._full, "coolant": 1.0},
        )
        self._look_for_offset()

    def halt_now(self) -> None:
        """Cancel the jog, whoever is asking; homing ends by a reset alone."""
        now: Realtime = Realtime.RESET if self._homing else Realtime.JOG_CANCEL
        self.transport.send_now(bytes(now.value))

    def dark_now(self) -> None:
        """Turn the lamps off, whether or not it answers."""
        self.transport.send_now(b"M5\nM9\n")

    def look(self) -> BoardReading:
        """Ask for a status report, until one says where the machine is."""
        for _ in range(35):
            status = self.transport.ask(Realtime.STATUS)
            if status.machine is not None:
                steps = Steps(*(round(mm * self._unit_mm * 1000) for mm in status.machine))
                return BoardReading(steps, moving=_moves(status))
        raise HardwareError("the board gives work positions, and never their offset", cure="set $10=1")

    def status(self) -> BoardStatus:
        """Ask what it does; of an alarm say which it was, as far as anybody told."""
        return self._explained_state(self.transport.ask(Realtime.STATUS))

    def go(self, way: Steps) -> float:
        """Jog so far."""
        status = self.transport.ask(Realtime.STATUS)
        if status.state not in {"Idle", "Jog"}:
            told = self._explained_state(status)
            raise HardwareError(
                f"the board is in the state {told.state} and does not move",
                got=told.meaning or None,
                cure=told.cure or "wait until it has ended",
            )
        used = [axis for axis in range(3) if way[axis]]
        if not used:
            return 0.0
        length = math.hypot(*way) / 1000
        # Full speed of the slowest axis along the way.
        feed = min(self._rates[axis] * length * 1000 / abs(way[axis]) for axis in used)
        x, y, z = (steps / 1000 for steps in way)
        try:
            self.transport.ask(Jog(x, y, z, feed), tries=1)
        except RefusedError as error:
            raise _explained(error) from error
        return length / feed * 60 + 2 * feed / 60 / min(self._gains[axis] for axis in used)

    def give_up(self) -> None:
        """Nothing is awaited: a jog is answered at once."""

    def halt(self) -> None:
        """Cancel the jog: the board keeps its position. What another program began is held, then dropped."""
        self.halt_now()
        if self.transport.ask(Realtime.STATUS).state != "Run":
            return
        self.transport.send_now(Realtime.HOLD.value)
        ends_s = time.monotonic() + self.transport.patience.arrive_s
        while _moves(self.transport.ask(Realtime.STATUS)) and time.monotonic() < ends_s:
            time.sleep(_POLL_S)
        # A reset while it stands keeps the position.
        self._reset()

    def home(self) -> None:
        """Home, after a reset where an alarm asks for one."""
        if self._deaf():
            self._reset()
        self._homing = True
        try:
            self.transport.ask(Line.HOME, timeout_s=self.transport.patience.home_s, tries=1)
        except RefusedError as error:
            raise _explained(error) from error
        finally:
            self._homing = False
        self._forget_alarm()

    def focus(self, reach_um: float) -> None:
        """Do nothing: this firmware sees no picture."""

    def unlock(self) -> bool:
        """End an alarm, a hold or a sleep, by a reset where nothing else is heard."""
        locked = self._deaf()
        if locked:
            self._reset()
        status = self.transport.ask(Realtime.STATUS)
        if status.state in grbl.WAITING:
            locked = True
            self._reset()
            status = self.transport.ask(Realtime.STATUS)
        if status.state == "Alarm":
            locked = True
            try:
                self.transport.ask(Line.UNLOCK)
            except RefusedError as error:
                raise _explained(error) from error
            status = self.transport.ask(Realtime.STATUS)
        if status.state == "Alarm" or status.state in grbl.WAITING:
            raise HardwareError(
                f"the board stays in the state {status.state}",
                got=self._explained_state(status).meaning,
                cure="see to its limit switches, its door and its emergency stop",
            )
        self._forget_alarm()
        return locked

    def shine(self, channel: str, level: float) -> None:
        """Set the spindle's output, or the coolant's, which is on or off."""
        if channel == "coolant":
            command: Any = Line.MIST_ON if level >= 0.5 else Line.MIST_OFF
        else:
            command = Shine(level * self._full, self._laser) if level else Line.DARK
        try:
            self.transport.ask(command)
        except RefusedError as error:
            raise _explained(error) from error

    def shines(self, channel: str) -> float | None:
        """Read the spindle's speed back."""
        if channel == "coolant":
            return None
        speed = self.transport.ask(Realtime.STATUS).speed
        return None if speed is None else min(speed / self._full, 1.0)

    def let_go(self) -> None:
        """Leave the motors to the board's own setting ($1)."""

    def _build(self) -> tuple[str, ...]:
        try:
            return self._lines(Line.BUILD)
        except NoAnswerError as error:
            raise HardwareError(
                f"the board at {self.transport.link.url} answers in part as GRBL does, but not to $I",
                allowed="GRBL 1.1, grblHAL, and firmware that answers as they do",
                cure="flash one of them",
            ) from error

    def _lines(self, command: Line) -> tuple[str, ...]:
        try:
            answer: tuple[str, ...] = self.transport.ask(command)
        except RefusedError:
            # It is moving: what it was told before this program came.
            return ()
        return answer

    def _look_for_offset(self) -> None:
        with contextlib.suppress(HardwareError):
            self.look()

    def _deaf(self) -> bool:
        try:
            self.transport.ask(Realtime.STATUS, tries=1)
        except NoAnswerError:
            return True
        return False

    def _reset(self) -> None:
        self.transport.send_now(Realtime.RESET.value)
        for _ in range(3):
            with contextlib.suppress(BoardAlarmError, BoardResetError):
                self.transport.poll(0.3)

    def _forget_alarm(self) -> None:
        self._heard = Heard("grbl", "")
        self.transport.alarm = None

    def _explained_state(self, status: Status) -> BoardStatus:
        if status.state == "Alarm":
            code = status.substate or self.transport.alarm or self._heard.alarm
            meaning = self._meaning(code)
            limits = [axis for axis in "XYZ" if axis in status.pins]
            if limits:
                meaning += f"; the limit switch of {' and '.join(limits)} is pressed"
            unlock = "`edgeleuk stage unlock`"
            cure = (
                f"`edgeleuk stage home`, or {unlock} without homing" if self.capabilities.can_home else unlock
            )
            return BoardStatus("Alarm", meaning, code, f"free the stage, then {cure}")
        if status.state in grbl.WAITING and not _moves(status):
            cure = "end that at the board, or reset it by `edgeleuk stage unlock`"
            return BoardStatus(status.state, grbl.WAITING[status.state], None, cure)
        return BoardStatus(status.state)

    def _meaning(self, code: int | None) -> str:
        if code is not None:
            return grbl.ALARMS.get(code, "see the firmware's manual")
        if self._heard.was_reset:
            return "it heard nothing but a reset, as after a limit was hit: the position is likely lost"
        if self.capabilities.can_home:
            return (
                "it was not homed since it was switched on, or an alarm came before; it does not tell which"
            )
        return "an alarm came before, and it does not tell which: a limit switch, or a reset in mid-move"


def _moves(status: Status) -> bool:
    if status.state == "Hold":
        return bool(status.substate)
    if status.state == "Door":
        return status.substate in {2, 3}
    return status.state not in {"Idle", "Alarm", "Sleep", "Check", "Tool"}


def _explained(error: RefusedError) -> RefusedError:
    number = str(error.got).strip("'").partition(":")[2]
    text = grbl.ERRORS.get(int(number)) if number.isdigit() else None
    cure = "see `edgeleuk stage info`" if number in {"8", "9"} else None
    return RefusedError(f"{error.what} ({error.got}: {text})", cure=cure) if text else error
