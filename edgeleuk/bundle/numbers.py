"""What a number in a bundle may be, and JSON that is decoded so that nothing in it is merely believed."""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from edgeleuk.errors import BundleError

T = TypeVar("T")

# No count in a bundle comes near this, and float64 still holds it exactly.
LARGEST_COUNT = 10**12
LARGEST_NUMBER = 1e12
# Of a JSON member; lists of hundreds of thousands of hashes are smaller.
LARGEST_JSON = 1 << 26
LONGEST_TEXT = 10_000
_LONGEST_CAUSE = 200

Share = Annotated[float, Meta(ge=0, le=1)]
Change = Annotated[float, Meta(ge=-1, le=1)]
Count = Annotated[int, Meta(ge=0, le=LARGEST_COUNT)]
Amount = Annotated[float, Meta(ge=0, le=LARGEST_NUMBER)]
Number = Annotated[float, Meta(ge=-LARGEST_NUMBER, le=LARGEST_NUMBER)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Name = Annotated[str, Meta(min_length=1, max_length=1000)]
Text = Annotated[str, Meta(max_length=LONGEST_TEXT)]
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]

# What can come of decoding bytes that somebody else wrote.
_FAULTS = (msgspec.MsgspecError, ValueError, TypeError, RecursionError, OverflowError, MemoryError)


def decode_json(data: bytes, kind: type[T], what: str, cure: str | None = None) -> T:
    """Decode JSON into a struct, whose numbers are checked by its types.

    Parameters
    ----------
    data : bytes
    kind : type
    what : str
        For the error: "the manifest of x.edgeleuk", say.
    cure : str, optional

    Raises
    ------
    BundleError
        It is no JSON, has another form, is too deep or too long, or a number in it is out of its range.
    """
    if len(data) > LARGEST_JSON:
        raise BundleError(f"{what} is too long", got=f"{len(data)} bytes", allowed=LARGEST_JSON, cure=cure)
    try:
        return msgspec.json.decode(data, type=kind)
    except _FAULTS as error:
        raise BundleError(f"{what} cannot be read", got=cause_of(error), cure=cure) from error


def cause_of(error: BaseException) -> str:
    """Return an error's own words in one line: what they quote may be long, and somebody else's."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= _LONGEST_CAUSE else words[:_LONGEST_CAUSE] + "..."


def require_range(name: str, value: float, low: float, high: float) -> None:
    """Raise ``ValueError`` unless ``low <= value <= high``; NaN is in no range."""
    if not low <= value <= high:
        msg = f"expected {name} from {low:g} to {high:g}, got {value}"
        raise ValueError(msg)


def require_ordered(name: str, ends: tuple[float, float], low: float, high: float) -> None:
    """Raise ``ValueError`` unless `ends` are in order and within ``low`` to ``high``."""
    if not low <= ends[0] <= ends[1] <= high:
        msg = f"expected {name} as (low, high) from {low:g} to {high:g}, got {ends}"
        raise ValueError(msg)
