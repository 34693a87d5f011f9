"""The exact interval of a binomial share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def clopper_pearson(count: float, total: float, alpha: float = 0.05) -> tuple[float, float]:
    """Exact interval of a binomial share, 95 % where nothing else is asked for.

    Parameters
    ----------
    count, total : float
        0 <= count <= total. The beta distribution fills in between whole counts.
    alpha : float
        How often the interval may miss the share, at most.
    """
    low, high = 0.0, 1.0
    if count > 0:
        low = _root(lambda p: incomplete_beta(count, total - count + 1, p) - alpha / 2)
    if count < total:
        high = _root(lambda p: incomplete_beta(count + 1, total - count, p) - (1 - alpha / 2))
    return low, high


def incomplete_beta(a: float, b: float, x: float) -> float:
    """Regularised incomplete beta function I_x(a, b).

    Source: Lentz's continued fraction; Press et al., "Numerical Recipes", section 6.4.

    Parameters
    ----------
    a, b : float
        Above 0.
    x : float
        0 to 1.
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    tiny = 1e-300
    c, d = 1.0, 1 / _nonzero(1 - (a + b) * x / (a + 1), tiny)
    fraction = d
    for m in range(1, 100_000):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _nonzero(1 + term * d, tiny)
            c = _nonzero(1 + term / c, tiny)
            fraction *= d * c
        if abs(d * c - 1) < 1e-14:
            break
    return front * fraction / a


def _nonzero(value: float, tiny: float) -> float:
    return value if abs(value) > tiny else tiny


def _root(function: Callable[[float], float]) -> float:
    """Root of an increasing function on [0, 1], by bisection."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < 0 else (low, middle)
    return (low + high) / 2
