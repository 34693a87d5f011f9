"""The lamps of a board that moves a stage."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol

from edgeleuk.errors import HardwareError, UsageError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from edgeleuk_firmware_bridge.stage.boards import Board


class Guard(Protocol):
    """Runs what asks the board; see `edgeleuk_firmware_bridge.stage.driver.DrivenStage.guarded`."""

    def guarded(self, *, trust: bool) -> AbstractContextManager[None]:
        """Make the lamps safe where the board fails within this."""
        ...


class DrivenLamp:
    """The lamps of a board; see `edgeleuk_firmware_bridge.stage.protocols.Illumination`."""

    def __init__(self, board: Board, stage: Guard) -> None:
        self._board = board
        self._stage = stage
        self._set: dict[str, float] = {}

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels."""
        return tuple(self._board.capabilities.channels)

    def level(self, channel: str) -> float:
        """Return the level as it reads back; what was set last, where the board does not tell.

        Raises
        ------
        UsageError
            There is no such channel.
        """
        self._check(channel)
        with self._stage.guarded(trust=False):
            level = self._board.shines(channel)
        return self._set.get(channel, 0.0) if level is None else level

    def set_level(self, channel: str, level: float) -> None:
        """Set the level of a channel, 0 (off) to 1; see `protocols.Illumination.set_level`."""
        self._check(channel)
        if not 0 <= level <= 1:
            raise UsageError("the level of a lamp is out of range", got=level, allowed="0 to 1")
        with self._stage.guarded(trust=False):
            self._set[channel] = level
            self._board.shine(channel, level)

    def safe(self) -> None:
        """Turn off what was turned on; does its best on a link that is failing, and never raises."""
        if not any(self._set.values()):
            return
        try:
            for channel in [channel for channel, level in self._set.items() if level]:
                self._board.shine(channel, 0.0)
        except HardwareError:
            # Nobody listens to the answer any more.
            with contextlib.suppress(HardwareError):
                self._board.dark_now()
        self._set = {}

    def _check(self, channel: str) -> None:
        if channel not in self.channels:
            allowed = ", ".join(self.channels) or "none: the board has no lamp"
            raise UsageError("there is no such lamp", got=repr(channel), allowed=allowed)
