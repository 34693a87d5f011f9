"""Westgard's rules: when a control value tells that a measurement is no longer what it was.

Westgard, Barry, Hunt and Groth, "A multi-rule Shewhart chart for quality control in clinical chemistry",
Clinical Chemistry 27 (1981) 493.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

WARNING_SDS, REFUSAL_SDS = 2.0, 3.0


class Violation(NamedTuple):
    """A rule that a control value breaks.

    Attributes
    ----------
    rule : str
        ``1-2s``, ``1-3s``, ``2-2s`` or ``R-4s``.
    index : int
        Of the value, the later one where a rule looks at two.
    refuses : bool
        Else it warns.
    """

    rule: str
    # A rule's place among the values, not where a value stands in the tuple.
    index: int  # type: ignore[assignment]
    refuses: bool


def westgard(values: Sequence[float], mean: float, deviation: float) -> list[Violation]:
    """Hold control values, in their order, against the mean and standard deviation that they should have.

    Parameters
    ----------
    values : sequence of float
    mean, deviation : float
        The deviation is above 0.

    Returns
    -------
    list of Violation
        In the order of the values. A value beyond 3 standard deviations is not warned of as well.

    Raises
    ------
    ValueError
        The deviation is not above 0, or a number is not finite.

    Examples
    --------
    >>> [found.rule for found in westgard([0.1, 2.3, 2.4, -0.3], 0.0, 1.0)]
    ['1-2s', '1-2s', '2-2s']
    """
    if not (deviation > 0 and all(map(math.isfinite, (mean, deviation, *values)))):
        msg = f"expected finite numbers and a deviation above 0, got mean {mean}, deviation {deviation}"
        raise ValueError(msg)
    found = []
    before = 0.0
    for index, value in enumerate(values):
        distance = (value - mean) / deviation
        if abs(distance) > REFUSAL_SDS:
            found.append(Violation("1-3s", index, refuses=True))
        elif abs(distance) > WARNING_SDS:
            found.append(Violation("1-2s", index, refuses=False))
        if min(abs(distance), abs(before)) > WARNING_SDS:
            same = (distance > 0) == (before > 0)
            found.append(Violation("2-2s" if same else "R-4s", index, refuses=True))
        before = distance
    return found
