"""Westgard's rules: whether a control slide's values have left the range that a laboratory knows.

Source: Westgard, Barry, Hunt and Groth, "A multi-rule Shewhart chart for quality control in clinical
chemistry", Clinical Chemistry 27 (1981), 493-501.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ONE_2S = "1-2s"
ONE_3S = "1-3s"
TWO_2S = "2-2s"
RANGE_4S = "R-4s"
# What each rule says, for reports.
RULES = {
    ONE_2S: "one value is more than 2 standard deviations from the mean",
    ONE_3S: "one value is more than 3 standard deviations from the mean",
    TWO_2S: "two values in a row are more than 2 standard deviations from the mean, on the same side",
    RANGE_4S: "two values in a row are more than 2 standard deviations from the mean, on opposite sides",
}


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that fired.

    Attributes
    ----------
    rule : str
        ``1-2s``, ``1-3s``, ``2-2s`` or ``R-4s``; see `RULES` for its words.
    index : int
        Of the value that completes it, from 0.
    refuses : bool
        Whether counting should not go on; ``1-2s`` only warns.
    """

    rule: str
    index: int
    refuses: bool


def westgard(values: Sequence[float], mean: float, deviation: float) -> list[Violation]:
    """Hold the values of one measure against the range that is known for it.

    A limit is passed by a value beyond it, not by one on it. ``R-4s`` looks at values in a row, such as two
    controls of one run, or those of two runs.

    Parameters
    ----------
    values : sequence of float
        In the order in which they were measured.
    mean, deviation : float
        The target, and its standard deviation, above 0; in the values' unit.

    Returns
    -------
    list of Violation
        By index; of one value the warning first.

    Raises
    ------
    ValueError
        If a number is not finite, or the deviation is not above 0.

    Examples
    --------
    >>> [(one.rule, one.index, one.refuses) for one in westgard([10.1, 12.3, 12.4], 10.0, 1.0)]
    [('1-2s', 1, False), ('1-2s', 2, False), ('2-2s', 2, True)]
    """
    if not (math.isfinite(mean) and math.isfinite(deviation) and deviation > 0):
        msg = f"expected a finite mean and a deviation above 0, got {mean} and {deviation}"
        raise ValueError(msg)
    for value in values:
        if not math.isfinite(value):
            msg = f"expected finite values, got {value}"
            raise ValueError(msg)
    found = []
    before = 0.0
    for index, value in enumerate(values):
        distance = (value - mean) / deviation
        if abs(distance) > 2:
            found.append(Violation(ONE_2S, index, refuses=False))
            if abs(distance) > 3:
                found.append(Violation(ONE_3S, index, refuses=True))
            if abs(before) > 2:
                rule = TWO_2S if before * distance > 0 else RANGE_4S
                found.append(Violation(rule, index, refuses=True))
        before = distance
    return found
