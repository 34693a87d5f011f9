"""The difference of two shares that were counted independently, with its interval."""

from __future__ import annotations

import math

# Of a normal distribution, 95 % lie within so many standard deviations.
Z_95 = 1.959963984540054


def share_difference(count_a: int, n_a: int, count_b: int, n_b: int) -> tuple[float, float, float]:
    """Return the share of B less that of A, with its 95 % interval.

    Newcombe, "Interval estimation for the difference between independent proportions: comparison of eleven
    methods", Statistics in Medicine 17 (1998), 873-890: his method 10, from two of Wilson's intervals. Its
    coverage is tested by simulation.

    Parameters
    ----------
    count_a, n_a, count_b, n_b : int
        0 <= count <= n, n above 0. Cells of one count are taken as independent of each other, and of those of
        the other count.

    Returns
    -------
    (difference, low, high)
        -1 to 1.

    Raises
    ------
    ValueError
        If the counts are out of range.

    Examples
    --------
    >>> [round(value, 4) for value in share_difference(48, 80, 56, 70)]
    [0.2, 0.0524, 0.3339]
    """
    (a, low_a, high_a), (b, low_b, high_b) = _wilson(count_a, n_a), _wilson(count_b, n_b)
    difference = b - a
    low = difference - math.hypot(b - low_b, high_a - a)
    high = difference + math.hypot(high_b - b, a - low_a)
    return difference, max(-1.0, low), min(1.0, high)


def _wilson(count: int, n: int) -> tuple[float, float, float]:
    if not 0 <= count <= n or n == 0:
        msg = f"expected 0 <= count <= n and n above 0, got {count} of {n}"
        raise ValueError(msg)
    share = count / n
    middle = (count + Z_95**2 / 2) / (n + Z_95**2)
    half = Z_95 / (n + Z_95**2) * math.sqrt(n * share * (1 - share) + Z_95**2 / 4)
    # Rounding must not leave the ends just inside.
    return share, middle - half if count else 0.0, middle + half if count < n else 1.0
