"""Coverage: how often an interval holds the truth, by simulation with fixed seeds."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from edgeleuk.counting.difference import share_difference
from edgeleuk.counting.intervals import Called, KnownError, Rate, corrected_share
from edgeleuk.results import clopper_pearson

REPEATS = 4000
# Of 4000 repeats, the share that holds the truth is known to +-0.7 points.
LEAST = 0.94


@pytest.mark.parametrize("truth", [0.0, 0.05, 0.3, 0.6, 1.0])
@pytest.mark.parametrize(
    ("cells", "sensitivity", "positives", "specificity", "negatives"),
    [
        (100, 0.92, 89, 0.82, 16),
        (500, 0.92, 89, 0.82, 16),
        (200, 0.95, 40, 0.9, 40),
        (2000, 0.9, 1000, 0.85, 400),
    ],
)
def test_the_corrected_interval_holds_the_truth(
    truth: float, cells: int, sensitivity: float, positives: int, specificity: float, negatives: int
) -> None:
    rng = np.random.default_rng(7)
    called = rng.binomial(cells, truth * sensitivity + (1 - truth) * (1 - specificity), REPEATS)
    right = rng.binomial(positives, sensitivity, REPEATS), rng.binomial(negatives, specificity, REPEATS)
    held = 0
    for k, a, b in zip(called.tolist(), *(one.tolist() for one in right), strict=True):
        error = KnownError(
            0.5, Rate(a / positives, positives, positives), Rate(b / negatives, negatives, negatives)
        )
        found = corrected_share(Called(k, cells), error)
        # Without an estimate nothing is claimed.
        held += isinstance(found, str) or found[1] <= truth <= found[2]
    assert held / REPEATS >= LEAST


exact = lru_cache(maxsize=None)(clopper_pearson)


@pytest.mark.parametrize(("truth", "points"), [(0.3, 10), (0.05, 7), (0.5, 12)])
def test_stopping_at_a_width_costs_no_coverage(truth: float, points: float) -> None:
    rng = np.random.default_rng(3)
    repeats, held = 600, 0
    for _ in range(repeats):
        count = total = 0
        while True:
            count += int(rng.random() < truth)
            total += 1
            low, high = exact(count, total)
            if 50 * (high - low) <= points:
                break
        held += low <= truth <= high
    assert held / repeats >= LEAST - 0.01


@pytest.mark.parametrize(("n_a", "n_b"), [(50, 50), (100, 400), (200, 200)])
@pytest.mark.parametrize(("share_a", "share_b"), [(0.02, 0.02), (0.1, 0.3), (0.5, 0.5), (0.9, 0.6)])
def test_the_interval_of_a_difference_holds_the_truth(
    n_a: int, n_b: int, share_a: float, share_b: float
) -> None:
    rng = np.random.default_rng(11)
    a, b = rng.binomial(n_a, share_a, REPEATS).tolist(), rng.binomial(n_b, share_b, REPEATS).tolist()
    held = 0
    for count_a, count_b in zip(a, b, strict=True):
        difference, low, high = share_difference(count_a, n_a, count_b, n_b)
        assert low <= difference <= high
        held += low <= share_b - share_a <= high
    assert held / REPEATS >= LEAST
