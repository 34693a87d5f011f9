"""What can go wrong with a stage, each by its name; all are `HardwareError`, exit code 6."""

from __future__ import annotations

from edgeleuk.errors import HardwareError


class LinkLostError(HardwareError):
    """The wire to the board is gone: unplugged, or closed at the other end."""


class NoAnswerError(HardwareError):
    """The board did not answer in time."""


class RefusedError(HardwareError):
    """The board does not know the command, or will not do it now."""


class BoardResetError(HardwareError):
    """The board was reset: what it says of its position need not be true."""


class BoardAlarmError(HardwareError):
    """The board raised an alarm.

    Attributes
    ----------
    code : int
    """

    def __init__(self, what: str, code: int, *, cure: str | None = None) -> None:
        super().__init__(what, cure=cure)
        self.code = code


class StoppedError(HardwareError):
    """A move was stopped before it arrived."""


class NotArrivedError(HardwareError):
    """A move ended elsewhere, or did not end in time."""
