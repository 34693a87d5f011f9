"""What a student is taught by: a larger network, and what it sees of cells that lie in eight ways.

The teacher looks at each cell as the student has it, enlarged to its own size, turned by right angles and
mirrored. What it sees is kept as small integers: of 5,000 cells it is 4 GB.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import cv2
import msgspec
import numpy as np

from edgeleuk.errors import DataRefusedError, UsageError
from edgeleuk.inference.litert import LiteRtRuntime
from edgeleuk.inference.preprocessing import MASKS, to_tensor
from edgeleuk_convert.networks.architectures import architecture, build
from edgeleuk_convert.networks.architectures.student import WIDTHS
from edgeleuk_convert.networks.architectures.support_vectors import MAP
from edgeleuk_convert.quantization.tflite import to_tflite_float32

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from edgeleuk.bundle.manifest import InputContract
    from edgeleuk.frames import CellCrop
    from edgeleuk.io.console import Progress
    from edgeleuk_convert.networks.architectures import Keras
    from edgeleuk_convert.training.plan import TrainingSettings

    Tensors = npt.NDArray[np.uint8]
    Floats = npt.NDArray[np.float32]
    Codes = npt.NDArray[np.int8]

TURNS = 8
BATCH = 16
# The student's pixels are so many of the teacher's a side.
ENLARGED = 2
SCALE_TOLERANCE = 0.01
# Steps of a kept map in a channel's spread: it reaches to 6.35 of them.
STEPS = 20
# From which a map's level and spread are taken.
CELLS_FOR_SCALE = 64


def teacher_contract(settings: TrainingSettings) -> InputContract:
    """Return what the teacher takes: the student's cells, enlarged.

    Raises
    ------
    UsageError
        Enlarged, they are not at the scale that the teacher is made for, or have other masks.
    """
    ours, made_for = settings.contract, architecture(settings.teacher).default_input()
    found = msgspec.structs.replace(
        ours,
        height=ours.height * ENLARGED,
        width=ours.width * ENLARGED,
        px_per_um=(ours.px_per_um or 0) * ENLARGED,
    )

    def told(of: InputContract) -> str:
        masks = ", ".join(name for name in of.channels if name in MASKS)
        return f"{of.px_per_um or 0:.1f} px/um, masks {masks or 'none'}"

    scales = (found.px_per_um or 0, made_for.px_per_um or 0)
    if not np.isclose(*scales, rtol=SCALE_TOLERANCE) or told(found) != told(made_for):
        raise UsageError(
            f"the teacher {settings.teacher} is not made for the student's cells, enlarged {ENLARGED} times",
            got=told(found),
            allowed=told(made_for),
            cure="give the student an input of half the teacher's scale and the same masks",
        )
    return found


class Teacher:
    """A network that is taken as it is, and what it sees of cells in each turn.

    Parameters
    ----------
    settings : TrainingSettings
        Of the student.
    tensors : (n, H, W, C) uint8
        Cells as the student sees them.
    look : callable, optional
        Told (cells, in all) while it looks at them.
    """

    def __init__(self, settings: TrainingSettings, tensors: Tensors, look: Progress | None = None) -> None:
        self._settings, self._look = settings, look
        self.tensors = tensors
        self._seen: dict[int, tuple[Codes, Codes]] = {}

    @cached_property
    def model(self) -> Keras:
        """The network, for cells as large as it sees the student's."""
        return build(self._settings.teacher, teacher_contract(self._settings))

    @cached_property
    def scales(self) -> tuple[Scale, Scale]:
        """In which the maps are kept: of the one that goes into the blocks, and of the last one."""
        apart = max(1, len(self.tensors) // CELLS_FOR_SCALE)
        near, far = self._answers(self.tensors[::apart][:CELLS_FOR_SCALE])
        return Scale.of(near), Scale.of(far)

    def seen(self, turn: int) -> tuple[Codes, Codes]:
        """Return both maps of all cells, (n, h, w, C) int8 in units of `scales`; looks once for each turn."""
        if turn not in self._seen:
            self._seen[turn] = self._looked(turn)
        return self._seen[turn]

    @cached_property
    def _sides(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return tuple(end.shape[1:] for end in self._ends)

    @cached_property
    def _ends(self) -> tuple[Keras, Keras]:
        return self.model.get_layer(f"block{min(WIDTHS)}_expand_conv").input, self.model.get_layer(MAP).input

    @cached_property
    def _network(self) -> LiteRtRuntime:
        """Both maps, side by side, from LiteRT: it takes a third of Keras's time."""
        import keras
        from keras import layers

        flat = layers.Concatenate()([layers.Flatten()(end) for end in self._ends])
        found = to_tflite_float32(keras.Model(self.model.input, flat))
        return LiteRtRuntime(found, teacher_contract(self._settings), threads=os.cpu_count() or 1)

    def _answers(self, tensors: Tensors) -> tuple[Floats, Floats]:
        near, far = self._sides
        both = self._network.predict(np.stack([enlarged(one) for one in tensors])).outputs
        parts = np.split(both, [int(np.prod(near))], axis=1)
        return parts[0].reshape(-1, *near), parts[1].reshape(-1, *far)

    def _looked(self, turn: int) -> tuple[Codes, Codes]:
        found = tuple(np.empty((len(self.tensors), *side), np.int8) for side in self._sides)
        for start in range(0, len(self.tensors), BATCH):
            batch = np.stack([turned(one, turn) for one in self.tensors[start : start + BATCH]])
            for kept, scale, maps in zip(found, self.scales, self._answers(batch), strict=True):
                kept[start : start + len(batch)] = scale.encoded(maps)
            if self._look is not None:
                self._look(start + len(batch), len(self.tensors))
        return found[0], found[1]


@dataclass(frozen=True, slots=True)
class Scale:
    """Level and spread of a map's channels: it can be kept in these as small integers.

    Attributes
    ----------
    level, spread : (C,) float32
    """

    level: Floats
    spread: Floats

    @classmethod
    def of(cls, maps: Floats) -> Scale:
        """Measure (n, h, w, C) maps."""
        places = maps.reshape(-1, maps.shape[-1])
        return cls(places.mean(axis=0), places.std(axis=0) + np.float32(1e-3))

    def encoded(self, maps: Floats) -> Codes:
        """Round to a `STEPS`th of the spread."""
        steps = np.rint((maps - self.level) / self.spread * STEPS)
        codes: Codes = np.clip(steps, -127, 127).astype(np.int8)
        return codes

    def decoded(self, codes: Codes) -> Floats:
        """Return the maps, to within half a step."""
        maps: Floats = codes.astype(np.float32) * (self.spread / np.float32(STEPS)) + self.level
        return maps


@dataclass(frozen=True, slots=True)
class FurtherCells:
    """Cells without labels that a student looks at, too.

    Attributes
    ----------
    cells : sequence of HasCrop
    subjects : frozenset of str
        Who they are of, where that is known.
    sha256 : str
        Of all that tells them from other cells.
    """

    cells: Sequence[HasCrop]
    subjects: frozenset[str]
    sha256: str

    def tensors(self, contract: InputContract) -> Tensors:
        """Bring them to a network's form: (n, H, W, C) uint8."""
        with ThreadPoolExecutor() as pool:
            return np.stack(list(pool.map(lambda cell: to_tensor(cell.crop, contract), self.cells)))

    def require_apart(self, held_out: Iterable[str]) -> None:
        """Refuse cells of subjects that are held out.

        Raises
        ------
        DataRefusedError
        """
        if common := sorted(self.subjects & set(held_out)):
            raise DataRefusedError(
                "cells without labels are of subjects that are held out",
                got=f"{len(common)}, {', '.join(common[:3])}",
                cure="leave these cells out, or hold out others",
            )


class HasCrop(Protocol):
    """A cell with its picture."""

    @property
    def crop(self) -> CellCrop:
        """The crop, perhaps decoded anew each time."""
        ...


def enlarged(tensor: Tensors) -> Tensors:
    """Return a student's (H, W, C) uint8 cell as the teacher takes it; for masks its stem has zeros."""
    height, width, _ = tensor.shape
    side = width * ENLARGED, height * ENLARGED
    found = cv2.resize(np.ascontiguousarray(tensor), side, interpolation=cv2.INTER_CUBIC)
    return np.asarray(found, np.uint8)


def turned(tensor: Tensors, turn: int) -> Tensors:
    """Return one of the eight ways in which a square picture lies on itself; 0 is as it is.

    Parameters
    ----------
    tensor : (H, W, C) uint8
    turn : int
        0 to 7: right angles, from 4 on mirrored.
    """
    found = np.rot90(tensor, turn % 4)
    return found[:, ::-1] if turn >= TURNS // 2 else found
