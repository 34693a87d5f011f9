"""Teach a trunk what a larger one sees, without labels.

The teacher looks at each cell in eight ways, turned by right angles and mirrored. The student sees the same
cell at its own scale and is held against four things: the teacher's map place by place, the pooled features,
their direction, and how alike the cells of a batch are to each other. All are in units of the features' own
spread, so that a student that says nothing has a loss of about one in each.

Sources: Hinton et al., "Distilling the knowledge in a neural network", arXiv:1503.02531; Romero et al.,
"FitNets", ICLR 2015; Park et al., "Relational knowledge distillation", CVPR 2019.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from edgeleuk.bundle.manifest import OutputContract
from edgeleuk.classifier.classifier import open_network
from edgeleuk.errors import DataRefusedError, UsageError
from edgeleuk.inference.pooled import PooledRuntime
from edgeleuk.inference.preprocessing import MASKS, to_tensor
from edgeleuk_convert.networks.architectures import architecture, build
from edgeleuk_convert.networks.architectures.student import MAP_NORM
from edgeleuk_convert.networks.architectures.support_vectors import FEATURES, MAP
from edgeleuk_convert.quantization.prepare import REFERENCE_MEMBER, prepare_for_int8
from edgeleuk_convert.training.gradient import GradientRun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy.typing as npt

    from edgeleuk.bundle.manifest import InputContract
    from edgeleuk.frames import CellCrop
    from edgeleuk.io.console import Progress
    from edgeleuk_convert.networks.architectures import Keras
    from edgeleuk_convert.training.checkpoint import Checkpoint, Row
    from edgeleuk_convert.training.gradient import Batch
    from edgeleuk_convert.training.plan import TrainingProgress, TrainingSettings

    Tensors = npt.NDArray[np.uint8]
    Floats = npt.NDArray[np.float32]
    Seen = tuple[npt.NDArray[np.float16], Floats]

TURNS = 8
BATCH = 16
# Of places without any of the cell: the student need not see them, and must not be free there either.
LEAST_WEIGHT = 0.05
# Fields of view may differ by so much.
FIELD_TOLERANCE = 0.01


def distilled(
    settings: TrainingSettings,
    tensors: Tensors,
    seen: Callable[[int], Seen],
    checkpoint: Checkpoint,
    *,
    tell: Callable[[TrainingProgress], None],
) -> tuple[Keras, list[Row]]:
    """Train a student's trunk.

    Parameters
    ----------
    settings : TrainingSettings
    tensors : (n, H, W, C) uint8
        Cells as the student sees them.
    seen : callable
        Returns what the teacher sees of them in a turn: see `Teacher.seen`.
    checkpoint : Checkpoint
    tell : callable
        Told where the training stands.

    Returns
    -------
    keras.Model
        With support vectors that are still to be found.
    list of Row
        The log.
    """
    import keras

    keras.utils.set_random_seed(settings.seed)
    dtype = "mixed_bfloat16" if settings.mixed_precision else "float32"
    model, averaged = (build(settings.architecture, settings.contract, dtype=of) for of in (dtype, "float32"))
    lessons = TeacherLessons(settings, tensors, seen)
    lessons.prepare(model)
    run = GradientRun(settings, _seeing(model), _seeing(averaged), lessons, checkpoint)
    return averaged, run.fit(tell)


def teacher_contract(settings: TrainingSettings) -> InputContract:
    """Return how crops become the teacher's input.

    Raises
    ------
    UsageError
        The teacher sees another part of the cell than the student, or has other masks.
    """
    contract = architecture(settings.teacher).default_input()
    ours = settings.contract

    def seen(of: InputContract) -> tuple[float, ...]:
        return of.height / (of.px_per_um or 1), of.width / (of.px_per_um or 1)

    def masks(of: InputContract) -> list[str]:
        return [name for name in of.channels if name in MASKS]

    fields_differ = not np.allclose(seen(contract), seen(ours), rtol=FIELD_TOLERANCE)
    if fields_differ or masks(contract) != masks(ours):
        told = [f"{one[0]:.1f} um, masks {', '.join(two)}" for one, two in
                ((seen(contract), masks(contract)), (seen(ours), masks(ours)))]  # fmt: skip
        raise UsageError(
            f"the teacher {settings.teacher} does not see what {settings.architecture} sees",
            got=told[0],
            allowed=told[1],
            cure="give the student an input of the same field and masks",
        )
    return contract


class Teacher:
    """A network that is taken as it is, and what it sees of cells in each turn.

    Parameters
    ----------
    settings : TrainingSettings
        Of the student.
    tensors : (n, H, W, C) uint8
        Cells as the teacher sees them; let go once it has seen them in all turns.
    look : callable, optional
        Told (cells, in all) while it looks at them.
    """

    def __init__(self, settings: TrainingSettings, tensors: Tensors, look: Progress | None = None) -> None:
        self._settings, self._look = settings, look
        self._tensors: Tensors | None = tensors
        self._seen: dict[int, Seen] = {}

    def seen(self, turn: int) -> Seen:
        """Return maps, (n, h, w, C) float16 on the student's grid, and pooled features, (n, F) float32."""
        if turn not in self._seen:
            assert self._tensors is not None, "it lets them go after the last turn"
            self._seen[turn] = self._looked(self._tensors, turn)
            if len(self._seen) == TURNS:
                self._tensors = None
        return self._seen[turn]

    @cached_property
    def _network(self) -> PooledRuntime:
        """The float32 network as the device has it: LiteRT takes a third of Keras's time."""
        contract = teacher_contract(self._settings)
        model = build(self._settings.teacher, contract)
        prepared = prepare_for_int8(model, contract, OutputContract(kind="logit"))
        files = prepared.reference()
        threads = os.cpu_count() or 1
        opened = open_network(files, REFERENCE_MEMBER, prepared.input, threads=threads)
        assert isinstance(opened, PooledRuntime), "a teacher ends in a map"
        return opened

    @cached_property
    def _grid(self) -> tuple[int, int]:
        return _grid(build(self._settings.architecture, self._settings.contract))

    def _looked(self, tensors: Tensors, turn: int) -> Seen:
        import tensorflow as tf

        network, parts = self._network, []
        side = network.map
        for start in range(0, len(tensors), BATCH):
            batch = np.stack([turned(one, turn) for one in tensors[start : start + BATCH]])
            answer = network.network.predict(batch)
            maps = answer.outputs.reshape(-1, side.rows, side.columns, side.channels)
            small = np.asarray(tf.image.resize(maps, self._grid, antialias=True), np.float16)
            parts.append((small, network.judge(answer, batch).features))
            if self._look is not None:
                self._look(start + len(batch), len(tensors))
        found, pooled = (np.concatenate(part) for part in zip(*parts, strict=True))
        return found, pooled


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


def together(one: Callable[[int], Seen], other: Callable[[int], Seen]) -> Callable[[int], Seen]:
    """Return what a teacher sees of some cells, and then of others."""

    def seen(turn: int) -> Seen:
        (maps, pooled), (more_maps, more_pooled) = one(turn), other(turn)
        return np.concatenate([maps, more_maps]), np.concatenate([pooled, more_pooled])

    return seen


class TeacherLessons:
    """What a teacher sees of cells: the `Lessons` of a student.

    Parameters
    ----------
    settings : TrainingSettings
    tensors : (n, H, W, C) uint8
        As the student sees them.
    seen : callable
    """

    def __init__(self, settings: TrainingSettings, tensors: Tensors, seen: Callable[[int], Seen]) -> None:
        self.cells = len(tensors)
        self._seed, self._tensors, self._look = settings.seed, tensors, seen
        self._mask = settings.contract.channels.index("mask")
        self._seen: dict[int, Seen] = {}
        maps, pooled = self._lesson(0)
        self._grid = maps.shape[1:3]
        places = maps[:: max(1, len(maps) // 500)].reshape(-1, maps.shape[-1]).astype(np.float32)
        self._level, self._spread = places.mean(axis=0), places.std(axis=0) + 1e-3
        self._pooled_mean, self._pooled_spread = pooled.mean(axis=0), pooled.std(axis=0) + 1e-3

    def prepare(self, student: Keras) -> None:
        """Let the student's map begin at the teacher's level and spread."""
        channels = self._level.size
        norm = student.get_layer(MAP_NORM)
        norm.set_weights([self._spread, self._level, np.zeros(channels), np.ones(channels)])

    def rows(self, epoch: int, count: int) -> npt.NDArray[np.int64]:
        """Return all cells in a new order, again from the start where an epoch takes more."""
        order = np.random.default_rng([self._seed, epoch]).permutation(self.cells)
        for turn in set(self._turns(np.arange(min(self.cells, TURNS)), epoch).tolist()):
            self._lesson(turn)
        return np.resize(order, count)

    def batch(self, rows: npt.NDArray[np.int64], epoch: int, step: int) -> Batch:
        """Return turned cells, and what the teacher sees of them so turned."""
        del step
        turns = self._turns(rows, epoch)
        inputs = np.stack([turned(self._tensors[row], turn) for row, turn in zip(rows, turns, strict=True)])
        seen = [self._seen[int(turn)] for turn in turns]
        maps = np.stack([one[0][row] for one, row in zip(seen, rows, strict=True)]).astype(np.float32)
        pooled = np.stack([one[1][row] for one, row in zip(seen, rows, strict=True)])
        inside = inputs[..., self._mask].reshape(
            len(rows), self._grid[0], -1, self._grid[1], inputs.shape[2] // self._grid[1]
        )
        weights = inside.mean(axis=(2, 4), dtype=np.float32)[..., None] / 255 + np.float32(LEAST_WEIGHT)
        return inputs.astype(np.float32), (maps, pooled, weights)

    def loss(self, answers: Keras, targets: tuple[Keras, ...]) -> Keras:
        """Return the sum of four distances: of maps, features, their directions, and their likenesses."""
        import tensorflow as tf

        maps, pooled = (tf.cast(one, tf.float32) for one in answers)
        true_maps, true_pooled, weights = targets
        far = tf.square((maps - true_maps) / self._spread)
        of_maps = tf.reduce_sum(tf.reduce_mean(far, axis=-1, keepdims=True) * weights) / tf.reduce_sum(
            weights
        )
        z, true_z = ((one - self._pooled_mean) / self._pooled_spread for one in (pooled, true_pooled))
        unit, true_unit = (tf.math.l2_normalize(one, axis=-1) for one in (z, true_z))
        of_features = tf.reduce_mean(tf.square(z - true_z))
        of_directions = 1 - tf.reduce_mean(tf.reduce_sum(unit * true_unit, axis=-1))
        likeness = tf.matmul(unit, unit, transpose_b=True)
        true_likeness = tf.matmul(true_unit, true_unit, transpose_b=True)
        return of_maps + of_features + of_directions + tf.reduce_mean(tf.square(likeness - true_likeness))

    def judged(self, network: Keras) -> tuple[float | None, float | None]:
        """Judge by nothing: no cell is held out, and none has a label."""
        del network
        return None, None

    def _turns(self, rows: npt.NDArray[np.int64], epoch: int) -> npt.NDArray[np.int64]:
        # One way an epoch until the teacher has looked in all ways, then all of them in each epoch.
        return np.full(len(rows), epoch) if epoch < TURNS else (rows + epoch) % TURNS

    def _lesson(self, turn: int) -> Seen:
        if turn not in self._seen:
            self._seen[turn] = self._look(turn)
        return self._seen[turn]


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


def _seeing(model: Keras) -> Keras:
    """Return the part of a network that gives its map, (n, h, w, C), and its pooled features, (n, F)."""
    import keras

    return keras.Model(model.input, [model.get_layer(MAP).input, model.get_layer(FEATURES).output])


def _grid(model: Keras) -> tuple[int, int]:
    _, rows, columns, _ = model.get_layer(MAP).input.shape
    return rows, columns
