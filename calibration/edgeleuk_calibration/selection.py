"""Which images: balanced by class and by subject, seeded, and written down."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import msgspec
import numpy as np

from edgeleuk.bundle.manifest import Struct
from edgeleuk.errors import DataRefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LEAST_IMAGES = 10


class Labelled(Protocol):
    """What a selection needs to know of an image."""

    @property
    def path(self) -> Path:
        """The file."""
        ...

    @property
    def label(self) -> str | None:
        """``blast``, ``normal``, or None where nobody knows."""
        ...

    @property
    def subject(self) -> str | None:
        """Whose cell it is."""
        ...

    @property
    def group(self) -> str | None:
        """Subjects that share images are one group."""
        ...

    @property
    def sha256(self) -> str:
        """Of the decoded pixels."""
        ...


T = TypeVar("T", bound=Labelled)


class ChosenImage(Struct, frozen=True):
    """One image of the calibration set, as ``calibration.json`` names it."""

    sha256: str
    label: str
    group: str


class CalibrationCard(Struct, frozen=True):
    """``calibration.json``: which images, how chosen."""

    strategy: str
    seed: int
    images: tuple[ChosenImage, ...]


@dataclass(frozen=True, slots=True)
class CalibrationSet(Generic[T]):
    """The images, in a seeded order, and their card."""

    images: tuple[T, ...]
    card: CalibrationCard


def select_balanced(candidates: Sequence[T], count: int, *, seed: int = 0) -> CalibrationSet[T]:
    """Choose `count` images, the classes alike, and within a class the subjects as alike as they allow.

    Parameters
    ----------
    candidates : sequence of labelled images
        None of them may be used to evaluate.
    count : int
        Fewer are taken where a class has too few.
    seed : int
        The same candidates and seed give the same images, whatever the order of `candidates`.

    Raises
    ------
    DataRefusedError
        There is only one class, or less than 10 images can be had.
    """
    by_class: dict[str, dict[str, list[T]]] = defaultdict(lambda: defaultdict(list))
    seen: set[str] = set()
    for image in sorted(candidates, key=lambda image: (image.sha256, str(image.path))):
        if image.label is not None and image.sha256 not in seen:
            seen.add(image.sha256)
            by_class[image.label][image.subject or ""].append(image)
    if len(by_class) < 2:
        raise DataRefusedError(
            "the calibration images must show both classes",
            got=" and ".join(sorted(by_class)) or "no labelled image",
            cure="pass a folder with both `all` and `hem`",
        )
    generator = np.random.default_rng(seed)
    chosen: list[T] = []
    for label in sorted(by_class):
        chosen += _round_robin(by_class[label], count // len(by_class), generator)
    if len(chosen) < LEAST_IMAGES:
        raise DataRefusedError(
            "too few images to calibrate with", got=len(chosen), allowed=f"{LEAST_IMAGES} or more"
        )
    order = generator.permutation(len(chosen))
    images = tuple(chosen[index] for index in order)
    card = CalibrationCard(
        strategy="balanced",
        seed=seed,
        images=tuple(
            ChosenImage(sha256=image.sha256, label=image.label or "", group=image.group or "")
            for image in images
        ),
    )
    return CalibrationSet(images, card)


def encode_card(card: CalibrationCard) -> bytes:
    """Return ``calibration.json``."""
    return msgspec.json.format(msgspec.json.encode(card), indent=1)


def _round_robin(subjects: dict[str, list[T]], count: int, generator: np.random.Generator) -> list[T]:
    """Take one image of each subject in turn until `count` are there or all are taken."""
    queues = [
        [images[index] for index in generator.permutation(len(images))]
        for _, images in sorted(subjects.items())
    ]
    queues = [queues[index] for index in generator.permutation(len(queues))]
    taken: list[T] = []
    while len(taken) < count and any(queues):
        for queue in queues:
            if queue and len(taken) < count:
                taken.append(queue.pop())
    return taken
