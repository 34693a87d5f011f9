"""Limits that a measurement has to keep: ``--limit p95_ms=20``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from edgeleuk.bench.report import network_name
from edgeleuk.errors import CheckFailedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edgeleuk.bench.results import BenchResult

# Figures of the fastest row, and of the whole measurement.
OF_FASTEST = ("p50_ms", "p90_ms", "p95_ms", "p99_ms", "cells_per_s", "load_ms", "first_inference_ms")
OF_ALL = ("fps", "cold_start_ms", "start_ms", "classify_p95_ms", "peak_rss_mb")
# All others are limited from above.
AT_LEAST = ("cells_per_s", "fps")


class Limit(NamedTuple):
    """A figure's name, and the value that it may not be worse than."""

    name: str
    value: float

    @property
    def words(self) -> str:
        """The limit as it is said."""
        return f"at {'least' if self.name in AT_LEAST else 'most'} {self.value:g}"

    def allows(self, measured: float) -> bool:
        """Tell whether a figure keeps it."""
        return measured >= self.value if self.name in AT_LEAST else measured <= self.value


def parse_limits(texts: Iterable[str]) -> list[Limit]:
    """Read ``NAME=VALUE`` texts.

    Examples
    --------
    >>> parse_limits(["p95_ms=20"])
    [Limit(name='p95_ms', value=20.0)]

    Raises
    ------
    UsageError
        A text is not of that form, names no figure, or its value is no number of 0 or more.
    """
    limits = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError("a limit is NAME=VALUE", got=text, cure="write for example --limit p95_ms=20")
        if name not in (*OF_FASTEST, *OF_ALL):
            raise UsageError("the limit names no figure", got=name, allowed=", ".join((*OF_FASTEST, *OF_ALL)))
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not 0 <= number < math.inf:
            raise UsageError(f"the limit of {name} is no number", got=repr(value), allowed="0 or more")
        limits.append(Limit(name, number))
    return limits


def hold(result: BenchResult, limits: Sequence[Limit]) -> None:
    """Hold a result to limits.

    Raises
    ------
    CheckFailedError
        One is not kept, or its figure could not be measured.
    """
    broken = []
    for limit in limits:
        measured = figure(result, limit.name)
        if measured is None:
            broken.append(f"{limit.name} was not measured, allowed {limit.words}")
        elif not limit.allows(measured):
            broken.append(f"{limit.name} is {measured:g}, allowed {limit.words}")
    if broken:
        which = network_name(result.fastest)
        raise CheckFailedError(
            f"a benchmark limit is not kept by the fastest ({which}): " + "; ".join(broken)
        )


def figure(result: BenchResult, name: str) -> float | None:
    """Return one figure of a result; None where it was not measured."""
    value: float | None
    if name == "fps":
        value = result.pipeline.fps
    elif name == "classify_p95_ms":
        value = result.classify[0].p95_ms if result.classify else None
    else:
        value = getattr(result.fastest if name in OF_FASTEST else result, name)
    return None if value is None else float(value)
