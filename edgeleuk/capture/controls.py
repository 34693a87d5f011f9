"""Exposure, gain and white balance: set, read back, locked once they have settled, and told to the session.

A camera that adjusts itself while it is watched changes the colour of every cell; and a camera that was
told a value may have taken another one, or none.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from edgeleuk.capture.base import EncodedFrame, FrameSource, SourceEvent
from edgeleuk.errors import UsageError
from edgeleuk.io.closing import Closing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from edgeleuk.frames import Frame

# How long a camera that adjusts itself is given for it.
SETTLE_S = 2.0
# A camera may round; more than this is another value.
_CLOSE = 0.01

Value = tuple[float, ...]


class Control(Enum):
    """What can be set."""

    EXPOSURE_MS = "exposure_ms"
    GAIN = "gain"
    WHITE_BALANCE = "white_balance"


@dataclass(frozen=True, slots=True)
class ControlRange:
    """What a camera offers of one control.

    Attributes
    ----------
    least, greatest, step : float
    unit : str
    parts : int
        Numbers in a value: 2 for a white balance by red and blue gain; 0 where it can only be left to
        itself or stopped.
    automatic : bool
        The camera can adjust it by itself.
    """

    least: float
    greatest: float
    step: float
    unit: str
    parts: int = 1
    automatic: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """What a control stands at; `value` is empty where the camera does not say.

    Examples
    --------
    >>> str(Reading((1.9, 1.5), automatic=True))
    '1.9,1.5 (automatic)'
    """

    value: Value
    automatic: bool

    def __str__(self) -> str:
        return value_text(self.value) + (" (automatic)" if self.automatic else "")


class CameraControls(Protocol):
    """The controls of one camera, while it is open. All errors are `CameraError`."""

    def ranges(self) -> Mapping[Control, ControlRange]:
        """Return what it offers."""
        ...

    def read(self) -> Mapping[Control, Reading]:
        """Read back what it stands at."""
        ...

    def set(self, control: Control, value: Value) -> None:
        """Give a control a value, and take its automatic mode away."""
        ...

    def lock(self, control: Control) -> None:
        """Take its automatic mode away, and keep what it stands at."""
        ...

    def release(self) -> None:
        """Give back the automatic modes that were taken away, for whoever uses the camera next."""
        ...


@runtime_checkable
class Controllable(Protocol):
    """A source whose camera has controls."""

    @property
    def controls(self) -> CameraControls:
        """Of the open camera."""
        ...


class ControlKeeper:
    """Sets each connection of a camera to the same values.

    What is not asked for is left to the camera until it has settled, then locked; a connection that is
    opened anew gets the values that were locked before, so that cells look the same on both sides of a gap.

    Parameters
    ----------
    asked : mapping
        Control -> value.
    lock : bool
        Lock the rest.
    settle_s : float
    clock : callable
        Seconds on a steady clock.
    """

    def __init__(
        self,
        asked: Mapping[Control, Value],
        *,
        lock: bool = True,
        settle_s: float = SETTLE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._asked = dict(asked)
        self._lock = lock
        self._settle_s = settle_s
        self._clock = clock
        self._locked: dict[Control, Value] = {}

    def keep(self, source: FrameSource) -> FrameSource:
        """Return the source with its controls set; it is closed where that fails.

        Raises
        ------
        UsageError
            It has no such control, or the value is out of its range.
        CameraError
            The camera refused.
        """
        controls = source.controls if isinstance(source, Controllable) else None
        try:
            if controls is None:
                _refuse_without_controls(self._asked, source.uri)
                return source
            ranges = controls.ranges()
            for control, value in self._asked.items():
                check_value(control, value, ranges, source.uri)
            # A switch without a value is locked first thing when the camera comes back.
            for control, value in {**self._locked, **self._asked}.items():
                controls.set(control, value) if value else controls.lock(control)
        except BaseException:
            if controls is not None:
                controls.release()
            source.close()
            raise
        return _KeptSource(source, self, controls)

    def settled(self, since: float) -> bool:
        """Whether what adjusts itself had its time."""
        return self._lock and self._clock() - since >= self._settle_s

    def lock(self, controls: CameraControls) -> bool:
        """Lock what still adjusts itself; False if nothing does."""
        taken = False
        for control, reading in controls.read().items():
            if reading.automatic:
                controls.lock(control)
                taken = True
        if taken:
            after = controls.read()
            self._locked = {name: reading.value for name, reading in after.items() if not reading.automatic}
        return taken

    def now(self) -> float:
        """Return the time on the keeper's clock."""
        return self._clock()

    def told(self, controls: CameraControls, kind: str) -> Iterator[SourceEvent]:
        """Read everything back, and say where it is not what was asked for."""
        ranges, readings = controls.ranges(), controls.read()
        yield SourceEvent(kind, ", ".join(f"{name.value} {reading}" for name, reading in readings.items()))
        for control, asked in self._asked.items():
            got = readings[control]
            if got.automatic or differs(asked, got.value, ranges[control].step):
                text = f"{control.value} was set to {value_text(asked)}, and reads back as {got}"
                yield SourceEvent("differs", text)


class _KeptSource(Closing):
    """A source that tells what its controls stand at, and locks them once they have settled."""

    def __init__(self, source: FrameSource, keeper: ControlKeeper, controls: CameraControls) -> None:
        self.uri = source.uri
        self.live = source.live
        self.controls = controls
        self._source = source
        self._keeper = keeper

    def frames(self) -> Iterator[Frame | EncodedFrame | SourceEvent]:
        """Yield what arrives; see `FrameSource.frames`."""
        since: float | None = None
        settling = True
        for item in self._source.frames():
            if not isinstance(item, SourceEvent):
                if since is None:
                    since = self._keeper.now()
                    yield from self._keeper.told(self.controls, "controls")
                elif settling and self._keeper.settled(since):
                    settling = False
                    if self._keeper.lock(self.controls):
                        yield from self._keeper.told(self.controls, "locked")
            yield item

    def close(self) -> None:
        """Give the automatic modes back, and close the source."""
        self.controls.release()
        self._source.close()


def check_value(control: Control, value: Value, ranges: Mapping[Control, ControlRange], uri: str) -> None:
    """Refuse what a camera cannot be set to.

    Raises
    ------
    UsageError
        With what it can be set to.
    """
    offered = ranges.get(control)
    if offered is None or offered.parts == 0:
        settable = [name.value for name, each in ranges.items() if each.parts]
        raise UsageError(
            f"{uri} cannot be told its {control.value}",
            got=value_text(value),
            allowed=", ".join(settable) or "nothing: it has no controls",
            cure=f"leave {control.value} out; `edgeleuk camera probe` shows what can be set",
        )
    if len(value) != offered.parts:
        form = "one number" if offered.parts == 1 else "two gains, red,blue"
        raise UsageError(
            f"{control.value} of {uri} has another form",
            got=value_text(value),
            allowed=f"{form} ({offered.unit})",
        )
    if not all(offered.least <= each <= offered.greatest for each in value):
        raise UsageError(
            f"{control.value} of {uri} is out of range",
            got=value_text(value),
            allowed=f"{offered.least:g} to {offered.greatest:g} {offered.unit}",
        )


def differs(asked: Value, got: Value, step: float) -> bool:
    """Whether a camera took another value than it was told, beyond its own rounding.

    Examples
    --------
    >>> differs((10.04,), (10.0,), step=0.1), differs((10.0,), (33.3,), step=0.1), differs((10.0,), (), 0.1)
    (False, True, True)
    """
    if len(asked) != len(got):
        return True
    return any(abs(one - other) > max(step, _CLOSE * abs(one)) for one, other in zip(asked, got, strict=True))


def value_text(value: Value) -> str:
    """Write a value as it is given on the command line."""
    return ",".join(f"{part:.4g}" for part in value) or "unknown"


def _refuse_without_controls(asked: Mapping[Control, Value], uri: str) -> None:
    if asked:
        names = ", ".join(control.value for control in asked)
        raise UsageError(
            f"{uri} has no controls, so {names} cannot be set",
            allowed="controls are set on v4l2:// and picamera:// cameras",
            cure=f"leave {names} out, and set it at the camera itself",
        )
