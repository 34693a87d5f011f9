"""How many images are enough: what int8 loses against float, by the size of the calibration set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.bundle.manifest import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.floating]

SIZES = (25, 50, 100, 200, 500)
# Weighted F1, 0.2 points.
ENOUGH = 0.002


class SizeResult(Struct, frozen=True):
    """What int8 lost with a calibration set of one size, on held-out cells.

    Attributes
    ----------
    asked, images : int
        For how many images was asked, and how many there were.
    weighted_f1, weighted_f1_drop : float
        Of the int8 network, and what the float network has more.
    max_logit_difference, mean_logit_difference : float
        Absolute, in units of the network's output.
    flips : int
        Cells that int8 decides otherwise than float.
    """

    asked: int
    images: int
    weighted_f1: float
    weighted_f1_drop: float
    max_logit_difference: float
    mean_logit_difference: float
    flips: int


def logit_differences(int8: Floats, reference: Floats) -> tuple[float, float]:
    """Return the largest and the mean absolute difference of outputs.

    Parameters
    ----------
    int8, reference : (n, K) float
    """
    difference = np.abs(int8.astype(np.float64) - reference.astype(np.float64))
    return float(difference.max()), float(difference.mean())


def recommended(results: Sequence[SizeResult]) -> SizeResult:
    """Return the smallest set that does as the largest, as do all between: within .2 points of weighted F1.

    Parameters
    ----------
    results : sequence of SizeResult
        One or more, in any order.
    """
    by_size = sorted(results, key=lambda result: result.images)
    best = by_size[-1]
    for result in reversed(by_size):
        if abs(result.weighted_f1_drop - by_size[-1].weighted_f1_drop) > ENOUGH:
            break
        best = result
    return best


def recommendation(results: Sequence[SizeResult]) -> str:
    """Say how many images are enough."""
    best, largest = recommended(results), max(results, key=lambda result: result.images)
    if best.images == largest.images:
        return (
            f"use {largest.images} images, or more: no smaller set is within .2 points of weighted F1 of it"
        )
    return (
        f"{best.images} images are enough: the drop in weighted F1 is {100 * best.weighted_f1_drop:.2f}"
        f" points, with {largest.images} it is {100 * largest.weighted_f1_drop:.2f}"
    )


def curve_text(results: Sequence[SizeResult]) -> str:
    """Tabulate the curve, the recommendation last."""
    lines = ["images   drop in weighted F1   logit difference, mean and largest   flips"]
    lines += [
        f"{result.images:>6}   {100 * result.weighted_f1_drop:>12.2f} points"
        f"   {result.mean_logit_difference:>19.4f} {result.max_logit_difference:>11.4f}   {result.flips:>7}"
        for result in sorted(results, key=lambda result: result.images)
    ]
    return "\n".join([*lines, recommendation(results)])
