"""Scenarios: which fault befalls the virtual camera when, read from a TOML file.

::

    [[fault]]
    kind = "freeze"
    at_s = 2.0
    for_s = 1.5

Times are stream time, frame number over frames a second, so that a scenario gives the same frames on any
machine.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from edgeleuk.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


class CameraFaultKind(Enum):
    """What may befall a camera, in the order in which light and data meet it."""

    STAIN = "stain"
    DEFOCUS = "defocus"
    MOTION = "motion"
    LAMP = "lamp"
    BLACK = "black"
    DUST = "dust"
    SWAP = "swap"
    RESOLUTION = "resolution"
    FREEZE = "freeze"
    TORN = "torn"
    STALL = "stall"
    UNPLUG = "unplug"


class Strength(NamedTuple):
    """How strong a fault may be: least, greatest, what it is by default, and what the number means."""

    least: float
    greatest: float
    default: float
    unit: str


# Faults that are there or not have no strength.
STRENGTHS: dict[CameraFaultKind, Strength] = {
    CameraFaultKind.STAIN: Strength(0.0, 1.0, 0.5, "share of each dye's colour that another dye's replaces"),
    CameraFaultKind.DEFOCUS: Strength(0.3, 60.0, 4.0, "standard deviation of the blur, px"),
    CameraFaultKind.MOTION: Strength(2.0, 200.0, 15.0, "way of the stage during the exposure, px"),
    CameraFaultKind.LAMP: Strength(0.0, 3.0, 0.4, "brightness at the end, of that at the beginning"),
    CameraFaultKind.DUST: Strength(1.0, 100.0, 8.0, "number of grains"),
    CameraFaultKind.RESOLUTION: Strength(0.1, 3.0, 0.5, "new width, of the old one"),
    CameraFaultKind.TORN: Strength(0.0, 0.99, 0.5, "share of the picture's bytes that arrive"),
}
_EXAMPLE = 'write it like [[fault]] kind = "freeze" at_s = 2.0 for_s = 1.5'


class CameraFault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One fault.

    Attributes
    ----------
    kind : CameraFaultKind
    at_s : float
        When it begins, in stream time.
    for_s : float
        How long it lasts; the frame at its end is whole again.
    strength : float or None
        See `STRENGTHS`; None takes the default.
    """

    kind: CameraFaultKind
    at_s: float
    for_s: float
    strength: float | None = None

    def __post_init__(self) -> None:
        for name, least in (("at_s", 0.0), ("for_s", 0.001)):
            value = getattr(self, name)
            if not least <= value <= 1e6:
                msg = f"expected {name} of {self.kind.value} from {least:g} to 1e6, got {value}"
                raise ValueError(msg)
        if self.strength is None:
            return
        if self.kind not in STRENGTHS:
            msg = f"expected no strength of {self.kind.value}, got {self.strength}"
            raise ValueError(msg)
        least, greatest, _, unit = STRENGTHS[self.kind]
        if not least <= self.strength <= greatest:
            msg = (
                f"expected strength of {self.kind.value} ({unit}) from {least:g} to {greatest:g},"
                f" got {self.strength}"
            )
            raise ValueError(msg)

    @property
    def end_s(self) -> float:
        """When it is over, in stream time."""
        # Rounded, for a sum such as 0.1 + 0.2 must not last a frame longer.
        return round(self.at_s + self.for_s, 9)

    @property
    def level(self) -> float:
        """Its strength, or the default; NaN where there is none."""
        if self.strength is not None:
            return self.strength
        return STRENGTHS[self.kind].default if self.kind in STRENGTHS else math.nan

    def acts(self, at_s: float) -> bool:
        """Whether it is under way at a stream time."""
        return self.at_s <= at_s < self.end_s

    @property
    def text(self) -> str:
        """One sentence for the session."""
        strength = "" if math.isnan(self.level) else f", strength {self.level:g}"
        return f"the scenario begins {self.kind.value} at {self.at_s:g} s for {self.for_s:g} s{strength}"


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All faults of a run.

    Attributes
    ----------
    fault : tuple of CameraFault
        Those of one kind must not overlap.
    """

    fault: tuple[CameraFault, ...]

    def __post_init__(self) -> None:
        last: dict[CameraFaultKind, CameraFault] = {}
        for fault in sorted(self.fault, key=lambda fault: fault.at_s):
            before = last.get(fault.kind)
            if before is not None and before.end_s > fault.at_s:
                msg = (
                    f"expected {fault.kind.value} at {fault.at_s:g} s after the one before, which lasts"
                    f" until {before.end_s:g} s"
                )
                raise ValueError(msg)
            last[fault.kind] = fault

    def acting(self, at_s: float) -> dict[CameraFaultKind, CameraFault]:
        """Faults under way at a stream time, in the order of `CameraFaultKind`."""
        found = {fault.kind: fault for fault in self.fault if fault.acts(at_s)}
        return {kind: found[kind] for kind in CameraFaultKind if kind in found}


def load_scenario(file: Path) -> Scenario:
    """Read a scenario.

    Raises
    ------
    UsageError
        The file is missing or no TOML, or holds an unknown key or a bad value.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UsageError(f"the scenario {file} cannot be read", got=error.strerror, cure=_EXAMPLE) from None
    try:
        return msgspec.toml.decode(data, type=Scenario)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        allowed = f"kind ({', '.join(kind.value for kind in CameraFaultKind)}), at_s, for_s, strength"
        raise UsageError(f"bad scenario {file}", got=str(error), allowed=allowed, cure=_EXAMPLE) from None
