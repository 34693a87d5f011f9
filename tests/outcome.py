"""What a command leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias


class Outcome(NamedTuple):
    """Exit code, standard output and standard error."""

    code: int
    out: str
    err: str


Call: TypeAlias = Callable[..., Outcome]
