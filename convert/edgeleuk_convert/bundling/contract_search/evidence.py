"""What speaks for one way to feed a network: its answers beside the labels, and its own batch norms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeleuk.inference.log_odds import LEAST_PROBABILITY
from edgeleuk_calibration.probability import sigmoid
from edgeleuk_convert.metrics.classification import (
    Judged,
    auroc,
    balanced_weights,
    bootstrap_weights,
    metrics_of_resamples,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from edgeleuk_convert.bundling.contract_search.candidates import Candidate

    Floats = npt.NDArray[np.float64]
    Bools = npt.NDArray[np.bool_]

# Guessing loses so much on balanced classes; a network that loses more says nothing by its loss.
LOSS_OF_GUESSING = float(np.log(2))
# A loss that is worse by less may come of a cell that lies a pixel further to the left.
LEAST_GAP = 0.1
# A way whose batch norms see statistics so much further off than the best way's is another way.
FURTHER, FURTHER_AT_LEAST = 1.5, 0.05
# How far moving averages have come from where they begin; short trainings leave them on the way.
LEARNT = (1.0, 0.95, 0.85, 0.7, 0.5)
LEAST_VARIANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Labelled:
    """The cells that ways are judged by.

    Attributes
    ----------
    truth : (n,) bool
        True for a blast.
    kind : (n,) str
        What the class of each is called in its folder.
    subject, group : (n,) str
    """

    truth: Bools
    kind: npt.NDArray[np.str_]
    subject: npt.NDArray[np.str_]
    group: npt.NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one way gives on the cells.

    Attributes
    ----------
    candidate : Candidate
    outputs : (n, K) float64
        Probabilities, whatever the network ends in.
    positive : tuple of int
        Columns that stand for blasts; of one number, 0 where it rises with blasts, and none where it falls.
    log_odds : (n,) float64
        Of a blast.
    norm_distance : float or None
        How far what the first batch norms see is from what they saw in training; None where there are none.
    """

    candidate: Candidate
    outputs: Floats
    positive: tuple[int, ...]
    log_odds: Floats
    norm_distance: float | None


def evidence(candidate: Candidate, outputs: Floats, cells: Labelled, norm_distance: float | None) -> Evidence:
    """Read a network's (n, K) probabilities by the labels."""
    positive = read_classes(outputs, cells.truth)
    return Evidence(candidate, outputs, positive, log_odds_of(outputs, positive), norm_distance)


def read_classes(outputs: Floats, truth: Bools) -> tuple[int, ...]:
    """Tell which columns of (n, K) probabilities rise with blasts; of one column, whether it does.

    Examples
    --------
    >>> read_classes(np.array([[0.9], [0.2]]), np.array([False, True]))
    ()
    """
    rise = [auroc(truth, outputs[:, column]) for column in range(outputs.shape[1])]
    if len(rise) == 1:
        return (0,) if rise[0] >= 0.5 else ()
    rising = tuple(column for column, area in enumerate(rise) if area > 0.5)
    if not 0 < len(rising) < len(rise):
        rising = (int(np.argmax(rise)),)
    return rising


def log_odds_of(outputs: Floats, positive: tuple[int, ...]) -> Floats:
    """Return the (n,) log odds of a blast from (n, K) probabilities."""
    if outputs.shape[1] == 1:
        share = outputs[:, 0] if positive else 1 - outputs[:, 0]
    else:
        share = outputs[:, list(positive)].sum(axis=1) / np.maximum(outputs.sum(axis=1), 1e-12)
    inner = np.clip(np.nan_to_num(share, nan=0.5), LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    return np.asarray(np.log(inner) - np.log1p(-inner))


def judged(of: Evidence, cells: Labelled) -> Judged:
    """Put the truth beside what a way gives."""
    probability = sigmoid(of.log_odds)
    area = np.zeros(len(probability))
    return Judged(cells.truth, probability, probability >= 0.5, area, cells.subject, cells.group)


def auroc_of_resamples(of: Evidence, cells: Labelled) -> Floats:
    """Return the AUROC on the cells as they are, then on each resample of groups, the same for every way."""
    return metrics_of_resamples(judged(of, cells))["auroc"]


def losses(of: Evidence, cells: Labelled) -> Floats:
    """Return the balanced log loss on the cells as they are, then on each resample of groups."""
    wrong = np.logaddexp(0, np.where(cells.truth, -of.log_odds, of.log_odds))
    weights = balanced_weights(cells.truth, cells.group)
    names, group = np.unique(cells.group, return_inverse=True)
    sums = np.bincount(group, weights * wrong, len(names))
    shares = np.bincount(group, weights, len(names))
    is_blast = np.bincount(group, cells.truth, len(names)) > np.bincount(group, ~cells.truth, len(names))
    draws = np.vstack([np.ones(len(names)), bootstrap_weights(is_blast, resamples=1000, seed=0)])
    return np.asarray((draws @ sums) / np.maximum(draws @ shares, 1e-12))


def told_apart(best: Evidence, other: Evidence, cells: Labelled) -> str | None:
    """Say by what a way is worse than the best one; None where they cannot be told apart."""
    areas = auroc_of_resamples(best, cells) - auroc_of_resamples(other, cells)
    if np.nanpercentile(areas[1:], 2.5) > 0:
        return "AUROC"
    if best.norm_distance is not None and other.norm_distance is not None:
        # A loss says less: a network may be too sure of itself on cells that it was not taught.
        further = other.norm_distance > FURTHER * best.norm_distance + FURTHER_AT_LEAST
        return "batch norms" if further else None
    loss = losses(best, cells), losses(other, cells)
    if loss[0][0] < LOSS_OF_GUESSING and np.percentile((loss[1] - loss[0])[1:], 2.5) > LEAST_GAP:
        return "log loss"
    return None


def best_of(tried: Sequence[Evidence], cells: Labelled) -> Evidence:
    """Choose a way: among those that no AUROC tells from the best, by the batch norms.

    Of a network without any by the log loss.

    Where no loss is better than guessing, the one that is tried first.
    """
    areas = [auroc_of_resamples(of, cells) for of in tried]
    top = int(np.nanargmax([of[0] for of in areas]))
    near = [
        of
        for of, area in zip(tried, areas, strict=True)
        if of is tried[top] or not np.nanpercentile((areas[top] - area)[1:], 2.5) > 0
    ]
    distances = [of.norm_distance for of in near]
    if all(of is not None for of in distances):
        return near[int(np.argmin([of or 0.0 for of in distances]))]
    loss = [float(losses(of, cells)[0]) for of in near]
    least_loss = int(np.argmin(loss))
    return near[least_loss if loss[least_loss] < LOSS_OF_GUESSING else 0]


def knows_the_cells(of: Evidence, cells: Labelled) -> tuple[float, float, float, bool]:
    """Return a way's AUROC, its 95 % interval over groups, and whether it is above .5 beyond doubt.

    As the best of many ways is a little too good, the lower end of its 99 % interval has to be above .5.
    """
    area = auroc_of_resamples(of, cells)
    low, high = (float(end) for end in np.nanpercentile(area[1:], (2.5, 97.5)))
    return float(area[0]), low, high, bool(np.nanpercentile(area[1:], 0.5) > 0.5)


class FirstNorms:
    """The first batch norms of a network: what they were taught to expect tells how it was fed.

    Parameters
    ----------
    model : keras.Model
    """

    MOST = 3

    def __init__(self, model: Any) -> None:
        import keras
        from keras import layers

        found = [
            layer
            for layer in model.layers
            if isinstance(layer, layers.BatchNormalization) and layer.axis in (-1, layer.input.ndim - 1)
        ][: self.MOST]
        self._expected = [
            (norm.moving_mean.numpy().astype(np.float64), norm.moving_variance.numpy().astype(np.float64))
            for norm in found
        ]
        self.model = keras.Model(model.input, [model.output, *(norm.input for norm in found)])
        self._sums: list[list[Floats]] = []

    def forget(self) -> None:
        """Begin with another way."""
        self._sums = []

    def see(self, seen: Sequence[Any]) -> None:
        """Add what the norms see of some pictures."""
        rows = []
        for values in seen:
            flat = np.asarray(values, np.float64).reshape(-1, values.shape[-1])
            rows.append(
                np.stack([np.full(flat.shape[1], len(flat)), flat.sum(axis=0), (flat**2).sum(axis=0)])
            )
        self._sums.append(rows)

    def distance(self) -> float | None:
        """Return the mean symmetric Kullback-Leibler divergence of the channels' normal distributions.

        Source: Kullback, "Information Theory and Statistics", 1959, chapter 9, for two normal distributions;
        its square root, so that it counts in deviations.
        """
        if not self._expected:
            return None
        seen = []
        for index in range(len(self._expected)):
            count, total, squares = np.sum([rows[index] for rows in self._sums], axis=0)
            here = total / count
            seen.append((here, np.maximum(squares / count - here**2, 0) + LEAST_VARIANCE))
        return min(self._distance(seen, share) for share in LEARNT)

    def _distance(self, seen: Sequence[tuple[Floats, Floats]], share: float) -> float:
        """Measure the distance, had training come so far from a mean of 0 and a variance of 1."""
        found = []
        for (mean, variance), (here, spread) in zip(self._expected, seen, strict=True):
            taught = np.maximum((variance - (1 - share)) / share, 0) + LEAST_VARIANCE
            gap = (here - mean / share) ** 2
            divergence = (spread + gap) / taught + (taught + gap) / spread - 2
            # A dead channel of one kind is not to outvote all others.
            found.append(float(np.median(np.sqrt(np.maximum(divergence, 0) / 2))))
        return float(np.mean(found))
