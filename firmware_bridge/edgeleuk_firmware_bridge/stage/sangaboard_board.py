"""What a Sangaboard does, for `DrivenStage`; what its firmware cannot do is found out by asking."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from edgeleuk_firmware_bridge.stage import sangaboard
from edgeleuk_firmware_bridge.stage.boards import BoardReading, Heard, too_old
from edgeleuk_firmware_bridge.stage.errors import NoAnswerError, NotArrivedError, RefusedError
from edgeleuk_firmware_bridge.stage.protocols import BoardStatus, Capabilities, Steps
from edgeleuk_firmware_bridge.stage.sangaboard import Ask, Home, Move, Sangaboard, SetBlocking, SetLight
from edgeleuk_firmware_bridge.stage.state_machine import Refused
from edgeleuk_firmware_bridge.stage.transport import Transport

if TYPE_CHECKING:
    from edgeleuk_firmware_bridge.stage.serial_link import Link, Patience

# Homing is several moves; between two of them it does not move for a moment.
_HOME_STILL_S = 0.4
_POLL_S = 0.05


class SangaboardBoard:
    """A Sangaboard; see `edgeleuk_firmware_bridge.stage.boards.Board`.

    Parameters
    ----------
    link : Link
    patience : Patience
    heard : Heard, optional
    """

    tolerance = Steps(0, 0, 0)

    def __init__(self, link: Link, patience: Patience, heard: Heard | None = None) -> None:  # noqa: ARG002
        self.transport = Transport(link, Sangaboard(), [Ask.DELAY, Ask.MODULES, Ask.RAMP], patience)
        firmware = self.transport.ask(Ask.VERSION)
        version = sangaboard.version_of(firmware)
        if version is None or version < sangaboard.OLDEST:
            raise too_old(link, firmware, sangaboard.OLDEST)
        delay_us = self._known(Ask.DELAY)
        ramp_us = self._known(Ask.RAMP)
        for query, answer in ((Ask.DELAY, delay_us), (Ask.RAMP, ramp_us)):
            if answer is None:
                self.transport.syncs.remove(query)
        # Firmware 0.5 hears nothing while it moves.
        self._listens = self._known(Ask.MOVING) is not None
        blocking = self._known(Ask.BLOCKING) if self._listens else None
        self._restore_blocking = bool(blocking)
        if blocking:
            self.transport.ask(SetBlocking(on=False))
        modules = self._known(Ask.MODULES) or ()
        self._step_s = (delay_us or 2000.0) * 1e-6
        self._ramp_s = (ramp_us or 0.0) * 1e-6
        self._moved = False
        self._under_way = False
        lamp = self._known(Ask.LIGHT) is not None
        self.capabilities = Capabilities(
            protocol="sangaboard",
            firmware=firmware,
            board=self._known(Ask.BOARD) or "",
            can_home=any(line.lower().startswith("endstops") and "min" in line.lower() for line in modules),
            can_stop=self._listens,
            channels={"cc": 1.0} if lamp else {},
        )

    def look(self) -> BoardReading:
        """Ask whether it moves, then where it is."""
        if self._under_way:
            event = self.transport.poll(0.02)
            if event is None:
                return BoardReading(None, moving=True)
            self._under_way = False
            if isinstance(event, Refused):
                raise RefusedError("the board refused the move", got=repr(event.line))
        moving = self.transport.ask(Ask.MOVING) if self._listens else False
        return BoardReading(self.transport.ask(Ask.POSITION), moving=moving)

    def status(self) -> BoardStatus:
        """Say whether it moves."""
        moving = self._under_way or (self._listens and self.transport.ask(Ask.MOVING))
        return BoardStatus("moving" if moving else "idle")

    def go(self, way: Steps) -> float:
        """Let it go so far."""
        self._moved = True
        if self._listens:
            self.transport.ask(Move(*way), tries=1)
        else:
            self.transport.begin(Move(*way))
            self._under_way = True
        return max(map(abs, way)) * self._step_s + 2 * self._ramp_s

    def halt_now(self) -> None:
        """Stop it, whoever is asking."""
        self.transport.send_now(sangaboard.encode(Ask.STOP))

    def dark_now(self) -> None:
        """Turn the lamp off, whether or not it answers."""
        self.transport.send_now(sangaboard.encode(SetLight(0.0)))

    def give_up(self) -> None:
        """Wait no longer for the end of a move."""
        if self._under_way:
            self._under_way = False
            self.transport.doubt()

    def halt(self) -> None:
        """Stop it."""
        self.transport.ask(Ask.STOP)

    def home(self) -> None:
        """Find the lower end stops of all axes."""
        self._moved = True
        ends_s = time.monotonic() + self.transport.patience.home_s
        self.transport.ask(Home(), timeout_s=self.transport.patience.home_s, tries=1)
        # Firmware 1 answers as soon as it begins.
        still_since_s = time.monotonic()
        while self._listens and time.monotonic() - still_since_s < _HOME_STILL_S:
            time.sleep(_POLL_S)
            if self.transport.ask(Ask.MOVING):
                still_since_s = time.monotonic()
            if time.monotonic() > ends_s:
                self.halt()
                raise NotArrivedError(
                    "the stage did not find its end stops in time",
                    got=f"{self.transport.patience.home_s:g} s",
                    cure="see to the end stops",
                )

    def focus(self, reach_um: float) -> None:
        """Do nothing: this firmware sees no picture."""

    def unlock(self) -> bool:
        """Do nothing: this firmware knows no alarm."""
        return False

    def shine(self, channel: str, level: float) -> None:  # noqa: ARG002
        """Set the constant-current lamp."""
        self.transport.ask(SetLight(level))

    def shines(self, channel: str) -> float | None:  # noqa: ARG002
        """Read it back."""
        level: float = self.transport.ask(Ask.LIGHT)
        return level

    def let_go(self) -> None:
        """Cut the motors' current, if they were moved, and set blocking moves as they were."""
        if self._moved:
            self.transport.ask(Ask.RELEASE)
        if self._restore_blocking:
            self.transport.ask(SetBlocking(on=True))

    def _known(self, query: Ask) -> Any:
        """Ask what not every firmware knows; None if this one does not."""
        try:
            return self.transport.ask(query, tries=2)
        except (RefusedError, NoAnswerError):
            return None
