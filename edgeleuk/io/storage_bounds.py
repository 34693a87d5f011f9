"""When a session goes on in a new file, and how much of it is kept: ``--split`` and ``--keep``."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SECONDS = {"m": 60, "min": 60, "h": 3600, "d": 86400}
_BYTES = {"MB": 10**6, "GB": 10**9, "TB": 10**12}
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")


@dataclass(frozen=True, slots=True)
class Split:
    """When a session goes on in a new file: after so much time, or so many frames.

    Attributes
    ----------
    text : str
        As it was asked for.
    seconds : float or None
    frames : int or None
    """

    text: str
    seconds: float | None = None
    frames: int | None = None


@dataclass(frozen=True, slots=True)
class Keep:
    """How much is kept: of so much time, or so many bytes.

    Attributes
    ----------
    text : str
        As it was asked for.
    seconds : float or None
    size : int or None
        Bytes.
    """

    text: str
    seconds: float | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class StorageBounds:
    """The bounds of a session on the disk; by default it has none.

    Attributes
    ----------
    split : Split or None
        When it goes on in a new file.
    keep : Keep or None
        How much of its pictures is kept.
    keep_results : Keep or None
        How much of it is kept at all: older files are removed as a whole.
    """

    split: Split | None = None
    keep: Keep | None = None
    keep_results: Keep | None = None

    @classmethod
    def of(cls, split: str | None, keep: str | None, keep_results: str | None) -> StorageBounds:
        """Read them as they are typed.

        Raises
        ------
        ValueError
        """
        return cls(
            None if split is None else split_of(split),
            None if keep is None else keep_of(keep),
            None if keep_results is None else keep_of(keep_results, "keep_results"),
        )


UNBOUNDED = StorageBounds()


def split_of(text: str) -> Split:
    """Read when to split: minutes, hours or days, or a number of frames.

    Examples
    --------
    >>> split_of("1h").seconds, split_of("10000").frames
    (3600.0, 10000)

    Raises
    ------
    ValueError
    """
    number, unit = _number_of(text)
    if not unit and number >= 1 and number == int(number):
        return Split(text, frames=int(number))
    if unit.lower() in _SECONDS and number > 0:
        return Split(text, seconds=number * _SECONDS[unit.lower()])
    msg = f"expected split as a time (30m, 1h, 1d) or a number of frames (10000), got {text!r}"
    raise ValueError(msg)


def keep_of(text: str, name: str = "keep") -> Keep:
    """Read how much to keep: minutes, hours or days, or a size.

    Examples
    --------
    >>> keep_of("30d").seconds, keep_of("20GB").size
    (2592000.0, 20000000000)

    Raises
    ------
    ValueError
    """
    number, unit = _number_of(text)
    if unit.lower() in _SECONDS and number > 0:
        return Keep(text, seconds=number * _SECONDS[unit.lower()])
    if unit.upper() in _BYTES and number > 0:
        return Keep(text, size=int(number * _BYTES[unit.upper()]))
    msg = f"expected {name} as a time (12h, 30d) or a size (500MB, 20GB), got {text!r}"
    raise ValueError(msg)


def _number_of(text: str) -> tuple[float, str]:
    found = _NUMBER.fullmatch(text.strip())
    return (-1.0, text) if found is None else (float(found[1]), found[2])
