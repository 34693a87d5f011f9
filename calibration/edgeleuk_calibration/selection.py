"""Which images calibrate a quantizer: by class and subject, at random, or spread over features; seeded."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from edgeleuk.errors import DataRefusedError, UsageError
from edgeleuk_calibration.calibration_record import CalibrationSet, T, make_calibration_record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

Strategy = Literal["balanced", "random", "diverse"]
STRATEGIES: tuple[str, ...] = get_args(Strategy)
LEAST_IMAGES = 10
# A feature that varies less than this share of its mean does not vary.
_FLAT = 1e-9


def select(
    candidates: Sequence[T],
    count: int,
    *,
    strategy: str = "balanced",
    seed: int = 0,
    folder: Path | None = None,
    features: Callable[[Sequence[T]], Floats] | None = None,
) -> CalibrationSet[T]:
    """Choose `count` images.

    ``balanced``: the classes alike, and within a class the subjects as alike as they allow. ``random``: any,
    each with the same chance. ``diverse``: the classes alike, and within a class the images that lie furthest
    apart among the features (greedy k-centre: Gonzalez, "Clustering to minimize the maximum intercluster
    distance", Theoretical Computer Science 38, 1985), from a first one that the seed decides.

    Parameters
    ----------
    candidates : sequence of labelled images
        None of them may be used to evaluate.
    count : int
        Fewer are taken where a class has too few.
    strategy : str
        One of `STRATEGIES`.
    seed : int
        The same candidates and seed give the same images, whatever the order of `candidates`.
    folder : Path, optional
        What names in the record are relative to.
    features : callable, optional
        Images -> (n, F) float; asked for by ``diverse`` alone, and standardised here.

    Raises
    ------
    UsageError
        An unknown strategy, or ``diverse`` without features.
    DataRefusedError
        There is only one class, or less than 10 images can be had.
    """
    if strategy not in STRATEGIES:
        raise UsageError("unknown calibration strategy", got=strategy, allowed=", ".join(STRATEGIES))
    by_class = _by_class(candidates)
    generator = np.random.default_rng(seed)
    chosen: list[T] = []
    if strategy == "random":
        everything = [image for label in sorted(by_class) for image in by_class[label]]
        chosen = [everything[index] for index in generator.permutation(len(everything))[:count]]
    elif strategy == "balanced":
        for label in sorted(by_class):
            chosen += _round_robin(by_class[label], count // len(by_class), generator)
    elif features is None:
        raise UsageError("the strategy needs features of the images", got=strategy)
    else:
        chosen = _spread(by_class, count // len(by_class), features, generator)
    if len(chosen) < LEAST_IMAGES:
        raise DataRefusedError(
            "too few images to calibrate with", got=len(chosen), allowed=f"{LEAST_IMAGES} or more"
        )
    images = tuple(chosen[index] for index in generator.permutation(len(chosen)))
    return CalibrationSet(
        images, make_calibration_record(images, strategy=strategy, seed=seed, folder=folder)
    )


def select_balanced(candidates: Sequence[T], count: int, *, seed: int = 0) -> CalibrationSet[T]:
    """Choose `count` images by `select`'s default strategy."""
    return select(candidates, count, seed=seed)


def k_centre(points: Floats, count: int, first: int) -> list[int]:
    """Choose points one by one, each the furthest from those chosen before.

    Their largest distance from any point is at most twice that of the best choice.

    Parameters
    ----------
    points : (n, F) float
    count : int
        At most n are chosen.
    first : int
        Where to begin.

    Returns
    -------
    list of int
        Rows of `points`, each once.

    Examples
    --------
    >>> k_centre(np.array([[0.0], [1.0], [10.0], [6.0]]), 3, 0)
    [0, 2, 3]
    """
    chosen = [first]
    nearest = np.square(points - points[first]).sum(axis=1)
    nearest[first] = -1
    while len(chosen) < min(count, len(points)):
        furthest = int(np.argmax(nearest))
        chosen.append(furthest)
        nearest = np.minimum(nearest, np.square(points - points[furthest]).sum(axis=1))
        # Of identical points each can be chosen once.
        nearest[chosen] = -1
    return chosen


def _by_class(candidates: Sequence[T]) -> dict[str, list[T]]:
    """Sort the labelled images by class, each image once, in an order that files do not decide."""
    by_class: dict[str, list[T]] = defaultdict(list)
    seen: set[str] = set()
    for image in sorted(candidates, key=lambda image: (image.sha256, str(image.path))):
        if image.label is not None and image.sha256 not in seen:
            seen.add(image.sha256)
            by_class[image.label].append(image)
    if len(by_class) < 2:
        raise DataRefusedError(
            "the calibration images must show both classes",
            got=" and ".join(sorted(by_class)) or "no labelled image of the training",
            cure="pass a folder with both `all` and `hem` cells of the training",
        )
    return by_class


def _round_robin(images: Sequence[T], count: int, generator: np.random.Generator) -> list[T]:
    """Take one image of each subject in turn until `count` are there or all are taken."""
    subjects: dict[str, list[T]] = defaultdict(list)
    for image in images:
        subjects[image.subject or ""].append(image)
    queues = [[of[index] for index in generator.permutation(len(of))] for _, of in sorted(subjects.items())]
    queues = [queues[index] for index in generator.permutation(len(queues))]
    taken: list[T] = []
    while len(taken) < count and any(queues):
        for queue in queues:
            if queue and len(taken) < count:
                taken.append(queue.pop())
    return taken


def _spread(
    by_class: dict[str, list[T]],
    count: int,
    features: Callable[[Sequence[T]], Floats],
    generator: np.random.Generator,
) -> list[T]:
    """Take `count` images of each class that lie far apart."""
    everything = [image for label in sorted(by_class) for image in by_class[label]]
    values = np.asarray(features(everything), np.float64)
    mean, spread = values.mean(axis=0), values.std(axis=0)
    points = (values - mean) / np.where(spread > _FLAT * np.abs(mean), spread, 1.0)
    chosen: list[T] = []
    start = 0
    for label in sorted(by_class):
        end = start + len(by_class[label])
        if count:
            rows = k_centre(points[start:end], count, int(generator.integers(end - start)))
            chosen += [everything[start + row] for row in rows]
        start = end
    return chosen
