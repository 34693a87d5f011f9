"""Scripted faults of a wire: what a board says is delayed, garbled, lost, or it is reset.

A wire keeps its order: what is behind a delayed line is delayed too.
"""

from __future__ import annotations

import random
import time
from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from edgeleuk.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeleuk_firmware_bridge.simulation.board import SimulatedBoard
    from edgeleuk_firmware_bridge.stage.protocols import Steps


class WireFaultKind(str, Enum):
    """What may go wrong with a line."""

    DELAY = "delay"
    GARBAGE = "garbage"
    DROP = "drop"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class WireFault:
    """A fault that strikes lines by chance.

    Attributes
    ----------
    kind : WireFaultKind
    share : float
        Of the lines that are struck, 0 to 1.
    seconds : float
        Of a delay; of a reset, how long after the line it comes.
    """

    kind: WireFaultKind
    share: float = 0.01
    seconds: float = 2.0


def parse_fault(text: str) -> WireFault:
    """Read ``KIND[:SHARE[:SECONDS]]``.

    Examples
    --------
    >>> parse_fault("delay:0.05:1.5")
    WireFault(kind=<WireFaultKind.DELAY: 'delay'>, share=0.05, seconds=1.5)

    Raises
    ------
    UsageError
        It is of another form.
    """
    kind, *numbers = text.split(":")
    try:
        fault = WireFault(WireFaultKind(kind), *map(float, numbers))
    except (ValueError, TypeError):
        fault = None
    if fault is None or not 0 <= fault.share <= 1 or not 0 <= fault.seconds <= 3600:
        allowed = f"KIND[:SHARE[:SECONDS]], KIND one of {', '.join(kind.value for kind in WireFaultKind)}"
        raise UsageError("a fault is malformed", got=repr(text), allowed=allowed)
    return fault


class FaultyWire:
    """A board behind a wire that fails; it is used as the board is.

    Parameters
    ----------
    board : SimulatedBoard
    faults : sequence of WireFault
    seed : int
        Fixes which lines are struck.
    clock : callable
    """

    def __init__(
        self,
        board: SimulatedBoard,
        faults: Sequence[WireFault],
        *,
        seed: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.board = board
        self.protocol = board.protocol
        self.struck = dict.fromkeys(WireFaultKind, 0)
        self._faults = faults
        self._random = random.Random(seed)  # noqa: S311
        self._clock = clock
        self._line: deque[tuple[float, bytes]] = deque()
        self._reset_at_s: float | None = None

    def receive(self, data: bytes) -> bytes:
        """Take bytes; return what arrives now."""
        self._put(self.board.receive(data))
        return self.due()

    def due(self) -> bytes:
        """Return what arrives now."""
        if self._reset_at_s is not None and self._clock() >= self._reset_at_s:
            self._reset_at_s = None
            self.board.reset()
        self._put(self.board.due())
        out = b""
        while self._line and self._line[0][0] <= self._clock():
            out += self._line.popleft()[1]
        return out

    def position(self, now_s: float | None = None) -> Steps:
        """Return where the stage is, as the board does."""
        return self.board.position(now_s)

    def lamp(self, now_s: float | None = None) -> dict[str, float]:
        """Return the level of each lamp, as the board does."""
        return self.board.lamp(now_s)

    def _put(self, data: bytes) -> None:
        for line in data.splitlines(keepends=True):
            arrives_s, said = self._clock(), line
            for fault in self._faults:
                if self._random.random() >= fault.share:
                    continue
                self.struck[fault.kind] += 1
                if fault.kind is WireFaultKind.DELAY:
                    arrives_s += fault.seconds
                elif fault.kind is WireFaultKind.DROP:
                    said = b""
                elif fault.kind is WireFaultKind.GARBAGE:
                    said = self._garbled(said)
                else:
                    self._reset_at_s = self._clock() + fault.seconds
            before_s = self._line[-1][0] if self._line else arrives_s
            self._line.append((max(arrives_s, before_s), said))

    def _garbled(self, line: bytes) -> bytes:
        at = self._random.randrange(len(line))
        noise = bytes(self._random.randrange(256) for _ in range(self._random.randrange(4)))
        # A byte is lost, and up to three others come in its place.
        return line[:at] + noise + line[at + 1 :]
