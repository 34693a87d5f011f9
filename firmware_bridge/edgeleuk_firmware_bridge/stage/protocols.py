"""What every stage and every lamp can do, whatever moves them: protocols, units, errors.

Positions are micrometres in the stage's own frame: x to the right, y down in the picture, z up, towards the
objective. A driver counts steps; a step's length is a setting of the stage, for no firmware knows it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


class Position(NamedTuple):
    """A place, or a way, in micrometres."""

    x_um: float
    y_um: float
    z_um: float

    def moved(self, x_um: float = 0.0, y_um: float = 0.0, z_um: float = 0.0) -> Position:
        """Return the place so far from here."""
        return Position(self.x_um + x_um, self.y_um + y_um, self.z_um + z_um)


class Steps(NamedTuple):
    """The same in steps of the motors."""

    x: int
    y: int
    z: int


@dataclass(frozen=True, slots=True)
class AxisSettings:
    """One axis of one microscope.

    Attributes
    ----------
    um_per_step : float
        Length of a step (of a GRBL board: of the firmware's millimetre over `um_per_step` = 1000).
    least_um, most_um : float
        Soft limits; a move beyond them is refused before anything is sent.
    backlash_um : float
        Play of the thread: moves end in the positive direction, after going so much further where needed.
    """

    um_per_step: float = 1.0
    least_um: float = -math.inf
    most_um: float = math.inf
    backlash_um: float = 0.0

    def __post_init__(self) -> None:
        for name, good in (
            ("um_per_step", 0 < self.um_per_step < math.inf),
            ("backlash_um", 0 <= self.backlash_um < math.inf),
            ("least_um", self.least_um < self.most_um),
        ):
            if not good:
                msg = f"expected a step with a length, backlash from 0, least_um below most_um; got {name} = "
                raise ValueError(f"{msg}{getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class StageSettings:
    """How a microscope's stage is built.

    Attributes
    ----------
    x, y, z : AxisSettings
    settle_s : float
        How long the picture shakes after a move.
    lamp : float or None
        Level of the board's first lamp while the stage is used, 0 to 1; None leaves it as it is.

    Raises
    ------
    ValueError
        A step without a length, backlash below 0, limits the wrong way round, and the like.
    """

    x: AxisSettings = AxisSettings()
    y: AxisSettings = AxisSettings()
    z: AxisSettings = AxisSettings()
    settle_s: float = 0.1
    lamp: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.settle_s <= 60:
            msg = f"expected settle_s from 0 to 60, got {self.settle_s}"
            raise ValueError(msg)
        if self.lamp is not None and not 0 <= self.lamp <= 1:
            msg = f"expected lamp from 0 to 1, got {self.lamp}"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a board said of itself.

    Attributes
    ----------
    protocol : str
        ``sangaboard``, ``grbl``, or the scheme of a stage that is opened by another.
    firmware, board : str
        As it named them.
    can_home, can_stop : bool
    can_focus : bool
        It has an autofocus of its own.
    has_focus_axis : bool
        It moves in z, too.
    channels : mapping
        Light channel -> greatest level that its firmware takes.
    """

    protocol: str
    firmware: str
    board: str = ""
    can_home: bool = False
    can_stop: bool = True
    can_focus: bool = False
    has_focus_axis: bool = True
    channels: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BoardStatus:
    """What a board does.

    Attributes
    ----------
    state : str
        In the firmware's own word: ``Idle``, ``Alarm``, ``moving``.
    meaning : str
        Why it does not move, where it will not; empty where it would.
    code : int or None
        Of an alarm, where the firmware tells it.
    cure : str
        What to do then.
    """

    state: str
    meaning: str = ""
    code: int | None = None
    cure: str = ""

    @property
    def locked(self) -> bool:
        """Whether it would not move."""
        return bool(self.meaning)


class Stage(Protocol):
    """A stage that moves in three axes. Used from one thread; `stop` may be called from any.

    Every call ends within a bound of its own. `HardwareError` and its kinds are all that they raise, but for
    `UsageError` where a move is refused before anything is sent.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What the board said of itself when it was opened."""
        ...

    @property
    def settings(self) -> StageSettings:
        """How the stage is built."""
        ...

    def position(self) -> Position:
        """Where the board says it is now, in micrometres: never a guess."""
        ...

    def steps(self) -> Steps:
        """Return the same in steps."""
        ...

    def move(
        self,
        x_um: float | None = None,
        y_um: float | None = None,
        z_um: float | None = None,
        *,
        wait: bool = True,
    ) -> None:
        """Go to a place; an axis not given stays.

        With `wait` it returns when the stage has arrived, backlash taken out, and settled. Without, it
        returns once the board has accepted the move; `wait` then waits.

        Raises
        ------
        UsageError
            The place is beyond a soft limit: nothing was sent.
        """
        ...

    def wait(self) -> None:
        """Wait until the stage has arrived and settled."""
        ...

    def stop(self) -> None:
        """Stop at once; the position stays known, or is asked for anew."""
        ...

    def home(self) -> None:
        """Find the end stops, where there are any, and count from there."""
        ...

    def close(self) -> None:
        """Let go of the motors and the port."""
        ...


class Illumination(Protocol):
    """Lamps of a microscope, by channel. A lamp that nobody watches is off."""

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels."""
        ...

    def level(self, channel: str) -> float:
        """Return the level as it reads back, 0 to 1; what was set last, where the board does not tell."""
        ...

    def set_level(self, channel: str, level: float) -> None:
        """Set the level of a channel, 0 (off) to 1.

        Raises
        ------
        UsageError
            There is no such channel, or the level is out of range.
        """
        ...

    def safe(self) -> None:
        """Turn all channels off; does its best on a link that is failing, and never raises."""
        ...
