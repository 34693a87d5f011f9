"""A stage and its lamps, whatever board moves them: limits, backlash, arrival, failures.

A position is reported only when two readings agree; a move counts as done only when the board says that it
stands where it was sent.
"""

from __future__ import annotations

import contextlib
import math
import time
from typing import TYPE_CHECKING

from edgeleuk.errors import HardwareError, UsageError
from edgeleuk.io.closing import Closing
from edgeleuk_firmware_bridge.stage.errors import (
    BoardAlarmError,
    BoardResetError,
    LinkLostError,
    NoAnswerError,
    NotArrivedError,
    StoppedError,
)
from edgeleuk_firmware_bridge.stage.lamp import DrivenLamp
from edgeleuk_firmware_bridge.stage.protocols import Position, StageSettings, Steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edgeleuk_firmware_bridge.stage.boards import Board, BoardReading
    from edgeleuk_firmware_bridge.stage.protocols import BoardStatus, Capabilities

POLL_S = 0.01
# A board that accepted a move may take this long to begin.
STILL_S = 0.15
READINGS = 8
# A board that still moves so long after it was told to stop is told again: homing is several moves.
STOP_AGAIN_S = 1.5
# A move that the wire spoilt is sent again from where the stage stands.
RETRIES = 3


class DrivenStage(Closing):
    """A stage on a board; see `protocols.Stage`.

    Parameters
    ----------
    board : Board
    settings : StageSettings

    Attributes
    ----------
    on_way : callable or None
        Told the position now and then while a move is waited for.
    """

    def __init__(self, board: Board, settings: StageSettings) -> None:
        self._board = board
        self._settings = settings
        self._axes = (settings.x, settings.y, settings.z)
        # Where it still has to go, one leg after the other.
        self._legs: list[Steps] = []
        self._start: Steps | None = None
        self._expected_s = 0.0
        self._errors_before = 0
        self._stopped = False
        self._dead: HardwareError | None = None
        self._untrusted: HardwareError | None = None
        self.on_way: Callable[[Position], object] | None = None
        self.lamp = DrivenLamp(board, self)

    @property
    def capabilities(self) -> Capabilities:
        """What the board said of itself."""
        return self._board.capabilities

    @property
    def has_focus_axis(self) -> bool:
        """Whether it moves in z, too."""
        return self.capabilities.has_focus_axis

    @property
    def focuses_itself(self) -> bool:
        """Whether it has an autofocus of its own."""
        return self.capabilities.can_focus

    @property
    def settings(self) -> StageSettings:
        """How the stage is built."""
        return self._settings

    def position(self) -> Position:
        """Return where the stage is, as two readings say, in micrometres; see `steps`."""
        return self._position(self.steps())

    def status(self) -> BoardStatus:
        """Return what the board does, and why if it would not move."""
        with self.guarded(trust=False):
            return self._board.status()

    def steps(self) -> Steps:
        """Return where the stage is, in steps.

        Raises
        ------
        HardwareError
            Two readings never agreed, or the board cannot say.
        """
        with self.guarded():
            return self._read()

    def move(
        self,
        x_um: float | None = None,
        y_um: float | None = None,
        z_um: float | None = None,
        *,
        wait: bool = True,
    ) -> None:
        """Go to a place; see `protocols.Stage.move`. A move waits for the one before.

        Raises
        ------
        UsageError
            The place is beyond a limit: nothing was sent.
        HardwareError
            The stage did not arrive, and why.
        """
        wanted = [
            None if um is None else self._steps_of(axis, um) for axis, um in enumerate((x_um, y_um, z_um))
        ]
        if self._legs:
            self.wait()
        with self.guarded():
            here = self._read()
            target = Steps(*(now if to is None else to for now, to in zip(here, wanted, strict=True)))
            if target == here:
                return
            self._stopped = False
            self._legs = self._legs_to(here, target)
            self._go(here)
        if wait:
            self.wait()

    def wait(self) -> None:
        """Wait until the stage has arrived, backlash taken out, and settled.

        Raises
        ------
        HardwareError
            It did not, and why.
        """
        if not self._legs:
            return
        with self.guarded():
            try:
                while self._legs:
                    here = self._arrive(self._legs[0])
                    del self._legs[0]
                    if self._legs:
                        self._go(here)
            except (KeyboardInterrupt, SystemExit):
                # Whoever ends the program wants no stage that goes on by itself.
                if self._board.capabilities.can_stop:
                    with contextlib.suppress(HardwareError):
                        self._board.halt_now()
                raise
            finally:
                self._legs = []
        time.sleep(self._settings.settle_s)

    def stop(self) -> None:
        """Stop at once; may be called from any thread. Who waits for the move gets `StoppedError`.

        Raises
        ------
        HardwareError
            The firmware cannot stop, or the link is lost.
        """
        if not self._board.capabilities.can_stop:
            raise HardwareError(
                "this firmware cannot stop a move",
                got=repr(self._board.capabilities.firmware),
                cure="flash Sangaboard firmware 1",
            )
        self._stopped = True
        transport = self._board.transport
        if not transport.lock.acquire(blocking=False):
            # Someone is asking: this goes between.
            self._board.halt_now()
            return
        try:
            with self.guarded(trust=False):
                self._board.halt()
        finally:
            transport.lock.release()

    def stand(self) -> None:
        """Wait until the stage stands after `stop`: it brakes first.

        Raises
        ------
        HardwareError
            It moves on.
        """
        with self.guarded(trust=False):
            begun_s = told_s = time.monotonic()
            still_since_s, before = begun_s, None
            while time.monotonic() - still_since_s < STILL_S:
                look = self._board.look()
                now_s = time.monotonic()
                if look.moving or look.steps is None or look.steps != before:
                    still_since_s, before = now_s, look.steps
                if look.moving and now_s - told_s > STOP_AGAIN_S:
                    told_s = now_s
                    self._board.halt()
                if now_s - begun_s > 2 * self._board.transport.patience.arrive_s:
                    raise HardwareError(
                        "the stage was told to stop and moves on",
                        got=self._told(look.steps),
                        cure="switch it off",
                    )
                time.sleep(POLL_S)

    def unlock(self) -> bool:
        """Let the board move again after an alarm, without homing; return whether it was locked.

        Whoever calls this vouches for the position: steps may be lost.

        Raises
        ------
        HardwareError
            It stays locked, and why.
        """
        with self.guarded(trust=False):
            self._legs = []
            locked = self._board.unlock()
            self._untrusted = None
            return locked

    def home(self) -> None:
        """Find the end stops and count from there: what an alarm or a reset made doubtful is known again.

        Raises
        ------
        HardwareError
            There are no end stops, or they were not found.
        """
        if not self._board.capabilities.can_home:
            status = self.status()
            raise HardwareError(
                "this stage has no end stops that its firmware knows of, so it cannot home",
                got=f"the state {status.state}, {status.meaning}" if status.locked else None,
                cure=status.cure or None,
            )
        with self.guarded(trust=False):
            self._legs = []
            self._board.home()
            self._untrusted = None
            self._read()

    def focus(self, reach_um: float) -> None:
        """Let the microscope's own program find the focus; it stands there afterwards.

        Parameters
        ----------
        reach_um : float
            The focus is looked for so far up and down from here.

        Raises
        ------
        UsageError
            That is beyond a limit of z: nothing was sent.
        HardwareError
            It cannot, or found none.
        """
        if not self.focuses_itself:
            raise HardwareError("this stage has no autofocus of its own")
        here = self.position().z_um
        self._steps_of(2, here - reach_um)
        self._steps_of(2, here + reach_um)
        with self.guarded():
            self._board.focus(reach_um)

    def close(self) -> None:
        """Turn off what was turned on, let go of the motors and the port."""
        self.lamp.safe()
        if self._dead is None:
            with contextlib.suppress(HardwareError):
                if self._legs:
                    self._board.give_up()
                self._board.let_go()
        self._board.transport.link.close()
        self._dead = self._dead or HardwareError("the stage was closed")

    @contextlib.contextmanager
    def guarded(self, *, trust: bool = True) -> Iterator[None]:
        """Run something that asks the board; what fails ends what was expected, and makes the lamps safe.

        Parameters
        ----------
        trust : bool
            Whether it needs a position that is known.
        """
        if self._dead is not None:
            raise type(self._dead)(self._dead.what, got=self._dead.got, cure=self._dead.cure)
        if trust and self._untrusted is not None:
            raise HardwareError(
                f"the position is not known: {self._untrusted.what}", cure="home the stage, or open it anew"
            )
        try:
            with self._board.transport.lock:
                yield
        except (LinkLostError, NoAnswerError) as error:
            self._dead, self._legs = error, []
            self.lamp.safe()
            raise
        except BoardResetError as error:
            self._untrusted, self._legs = error, []
            self.lamp.safe()
            raise
        except BoardAlarmError as error:
            # After alarm 2 the position is retained; a stage that stands still for it is not lost.
            self._untrusted, self._legs = (None if error.code == 2 else error), []
            raise

    def _position(self, steps: Steps) -> Position:
        x, y, z = (count * axis.um_per_step for count, axis in zip(steps, self._axes, strict=True))
        return Position(x, y, z)

    def _steps_of(self, axis: int, um: float) -> int:
        name, of = "xyz"[axis], self._axes[axis]
        if not (math.isfinite(um) and of.least_um <= um <= of.most_um):
            allowed = f"{of.least_um:g} to {of.most_um:g} um"
            raise UsageError(f"{name} is beyond the stage's limits", got=f"{um:g} um", allowed=allowed)
        steps = round(um / of.um_per_step)
        if abs(steps) >= 2**31:
            raise UsageError(f"{name} is further than a board can count", got=f"{um:g} um")
        return steps

    def _legs_to(self, here: Steps, target: Steps) -> list[Steps]:
        before = []
        for now, to, axis in zip(here, target, self._axes, strict=True):
            play = math.ceil(axis.backlash_um / axis.um_per_step)
            past = to - play if to < now else to
            # The way that takes out the play keeps to the limits too.
            if math.isfinite(axis.least_um):
                past = max(past, math.ceil(axis.least_um / axis.um_per_step))
            before.append(min(past, to))
        first = Steps(*before)
        return [target] if first == target else [first, target]

    def _go(self, here: Steps) -> None:
        self._start = here
        self._errors_before = self._board.transport.error_count
        way = Steps(*(to - now for now, to in zip(here, self._legs[0], strict=True)))
        try:
            self._expected_s = self._board.go(way)
        except NoAnswerError:
            # Whether the board heard it shows in where the stage will stand.
            self._expected_s = 0.0

    def _arrive(self, target: Steps) -> Steps:
        retries, transport = RETRIES, self._board.transport
        begun_s = still_since_s = time.monotonic()
        poll_s = POLL_S
        while True:
            look = self._board.look()
            now_s = time.monotonic()
            self._tell(look)
            if look.moving or look.steps is None:
                still_since_s = now_s
            if self._stopped and not look.moving:
                raise StoppedError("the move was stopped before it arrived", got=self._told(look.steps))
            if not look.moving and look.steps is not None:
                if self._is_at(look.steps, target):
                    return self._read()
                if now_s - still_since_s > STILL_S:
                    here = self._read()
                    if self._is_at(here, target):
                        return here
                    if transport.error_count == self._errors_before or not retries:
                        raise self._short_of(target, here)
                    retries -= 1
                    self._go(here)
                    begun_s = still_since_s = time.monotonic()
            spoilt = transport.error_count != self._errors_before
            most_s = 2 * self._expected_s + transport.patience.arrive_s * (4 if spoilt else 1)
            if now_s - begun_s > most_s:
                self._board.give_up()
                with contextlib.suppress(HardwareError):
                    self._board.halt()
                raise NotArrivedError(
                    f"the stage did not arrive within {most_s:.1f} s and was told to stop",
                    got=self._told(look.steps),
                    allowed=self._told(target),
                )
            time.sleep(poll_s)
            poll_s = min(poll_s * 1.5, 0.05)

    def _tell(self, look: BoardReading) -> None:
        if self.on_way is not None and look.moving and look.steps is not None:
            self.on_way(self._position(look.steps))

    def _short_of(self, target: Steps, here: Steps) -> NotArrivedError:
        status = self._board.status()
        why = f", in the state {status.state}: {status.meaning}" if status.locked else ""
        return NotArrivedError(
            f"the stage stands still short of its target{why}",
            got=self._told(here),
            allowed=self._told(target),
            cure=status.cure or "see whether something blocks it",
        )

    def _read(self) -> Steps:
        """Return two readings that agree: no board guards its numbers with a checksum."""
        transport = self._board.transport
        most_s = time.monotonic() + 2 * self._expected_s + transport.patience.arrive_s
        first = self._board.look()
        readings = 0
        while readings < READINGS:
            second = self._board.look()
            if second.steps is None:
                # A board that hears nothing while it moves: its answer comes when it stands.
                if time.monotonic() > most_s:
                    self._board.give_up()
                    raise NotArrivedError(
                        "the board moves for longer than it should, and cannot say where it is"
                    )
                continue
            readings += 1
            if first.steps is not None and self._agree(first, second):
                return second.steps
            if not (first.moving or second.moving):
                # One of them was garbled, or late.
                transport.doubt()
            first = second
        raise HardwareError(
            "the position cannot be read: no two readings agree",
            cure="see to the cable, or wait until it stands",
        )

    def _agree(self, first: BoardReading, second: BoardReading) -> bool:
        assert first.steps is not None
        assert second.steps is not None
        if first.steps == second.steps:
            return True
        if not (first.moving and self._legs and self._start is not None):
            return False
        # On its way it may only have come nearer.
        for start, target, before, after, slack in zip(
            self._start, self._legs[0], first.steps, second.steps, self._board.tolerance, strict=True
        ):
            low, high = min(start, target) - slack, max(start, target) + slack
            nearer = abs(after - target) <= abs(before - target) + slack
            if not (low <= before <= high and low <= after <= high and nearer):
                return False
        return True

    def _is_at(self, here: Steps, target: Steps) -> bool:
        slack = self._board.tolerance
        return all(abs(a - b) <= most for a, b, most in zip(here, target, slack, strict=True))

    def _told(self, steps: Steps | None) -> str | None:
        return (
            None if steps is None else "({}) um".format(", ".join(f"{um:g}" for um in self._position(steps)))
        )
