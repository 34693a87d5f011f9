"""Teach a trunk what a larger one sees of cells.

First the student's front is taught the map that goes into the blocks that both have. Then these blocks are
trimmed to fit: see `edgeleuk_convert.training.trimming`. Then the whole is held against the teacher's last
map place by place, its pooled features, their direction, and what a head would answer to them. All are in
units of the features' own spread, so that a student that says nothing has a loss of about one in each.

Sources: Hinton et al., "Distilling the knowledge in a neural network", arXiv:1503.02531; Romero et al.,
"FitNets", ICLR 2015; Constantine, "Active Subspaces", SIAM, 2015.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.bundle.support_vectors import pooled
from edgeleuk.inference.pooled import mask_shares
from edgeleuk.inference.preprocessing import MASKS
from edgeleuk_convert.networks.architectures import build
from edgeleuk_convert.networks.architectures.student import FRONT_END, FRONT_LAYERS, WIDTHS
from edgeleuk_convert.networks.architectures.support_vectors import FEATURES, MAP
from edgeleuk_convert.training.augmentation import sampling_weights
from edgeleuk_convert.training.gradient import GradientRun
from edgeleuk_convert.training.landmarks import change_of_answers
from edgeleuk_convert.training.support_vectors import fit_support
from edgeleuk_convert.training.teacher import BATCH, CELLS_FOR_SCALE, TURNS, Scale, turned
from edgeleuk_convert.training.trimming import trim

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from edgeleuk_convert.dataset.cells import LabelledCell
    from edgeleuk_convert.networks.architectures import Keras
    from edgeleuk_convert.training.checkpoint import Checkpoint, Row
    from edgeleuk_convert.training.gradient import Batch
    from edgeleuk_convert.training.plan import TrainingProgress, TrainingSettings
    from edgeleuk_convert.training.teacher import Teacher

    Tensors = npt.NDArray[np.uint8]
    Floats = npt.NDArray[np.float32]
    Rows = npt.NDArray[np.int64]

# Of places without any of the cell: the student need not see them, and must not be free there either.
LEAST_WEIGHT = 0.05
# To which blocks are fitted.
CELLS_FOR_TRIMMING = 300
# What is there already learns by smaller steps than what begins with nothing.
WHOLE_RATE = 1 / 16
# Of a step of the whole, to one of the front.
WHOLE_COST = 2.5
# How much the head's answers weigh beside map, features and directions, which weigh 1.
ANSWERS_WEIGHT = 2.0


def distilled(
    settings: TrainingSettings,
    teacher: Teacher,
    rows: Rows,
    known: Sequence[LabelledCell],
    checkpoints: tuple[Checkpoint, Checkpoint],
    *,
    tell: Callable[[TrainingProgress], None],
) -> tuple[Keras, tuple[list[Row], list[Row]]]:
    """Train a student's trunk: its front, then the whole.

    Parameters
    ----------
    settings : TrainingSettings
        `epochs` are those of each part.
    teacher : Teacher
    rows : (n,) int64
        Which of its cells are looked at.
    known : sequence of LabelledCell
        Of the first rows: see `WholeLessons`.
    checkpoints : (Checkpoint, Checkpoint)
        Of front and whole.
    tell : callable
        Told where the training stands.

    Returns
    -------
    keras.Model
        With support vectors that are still to be found.
    (list of Row, list of Row)
        The logs of front and whole.
    """
    import keras

    keras.utils.set_random_seed(settings.seed)
    dtype = "mixed_bfloat16" if settings.mixed_precision else "float32"
    model, averaged = (build(settings.architecture, settings.contract, dtype=of) for of in (dtype, "float32"))
    first, lessons = FrontLessons(settings, teacher, rows), WholeLessons(settings, teacher, rows, known)
    first.prepare(model)
    run = GradientRun(settings, front_of(model), front_of(averaged), first, checkpoints[0])
    front_rows = run.fit(
        lambda at: tell(replace(at, stage="front")), further_epochs=settings.epochs * WHOLE_COST
    )
    first.trim(averaged)
    model.set_weights(averaged.get_weights())
    # Statistics stay as they were fitted, and filters of a channel by itself cost most to train, for least.
    for layer in model.layers:
        if not layer.name.startswith(FRONT_LAYERS) and layer.name.endswith(("_norm", "_depthwise_conv")):
            layer.trainable = False
    slower = replace(settings, learning_rate=settings.learning_rate * WHOLE_RATE)
    run = GradientRun(slower, _seeing(model), _seeing(averaged), lessons, checkpoints[1])
    return averaged, (front_rows, run.fit(lambda at: tell(replace(at, stage="distil"))))


class _Lessons:
    """Cells in turns, each once in an epoch.

    Parameters
    ----------
    settings : TrainingSettings
    teacher : Teacher
    rows : (n,) int64
        Which of its cells are looked at.
    epochs_before : int
        In which the teacher has looked already.
    """

    # Which of the teacher's two maps.
    which: int

    def __init__(
        self, settings: TrainingSettings, teacher: Teacher, rows: Rows, *, epochs_before: int = 0
    ) -> None:
        self.cells = len(rows)
        self._settings, self._teacher, self._rows, self._before = settings, teacher, rows, epochs_before
        self._mask = settings.contract.channels.index("mask")
        # Of these cells alone: the teacher has seen others, too.
        some = np.arange(0, self.cells, max(1, self.cells // CELLS_FOR_SCALE))[:CELLS_FOR_SCALE]
        self._scale = Scale.of(self._maps(some, np.zeros_like(some)))

    def rows(self, epoch: int, count: int) -> Rows:
        """Return all cells in a new order, again from the start where an epoch takes more."""
        order = np.random.default_rng([self._settings.seed, epoch + self._before]).permutation(self.cells)
        for turn in set(self._turns(np.arange(min(self.cells, TURNS)), epoch).tolist()):
            self._teacher.seen(turn)
        return np.resize(order, count)

    def judged(self, network: Keras) -> tuple[float | None, float | None]:
        """Judge by nothing: no cell is held out, and none has a label."""
        del network
        return None, None

    def _turns(self, rows: Rows, epoch: int) -> Rows:
        # One way an epoch until the teacher has looked in all ways, then all of them in each epoch.
        at = epoch + self._before
        return np.full(len(rows), at) if at < TURNS else (rows + at) % TURNS

    def _inputs(self, rows: Rows, turns: Rows) -> Tensors:
        pairs = zip(self._teacher.tensors[self._rows[rows]], turns, strict=True)
        return np.stack([turned(tensor, int(turn)) for tensor, turn in pairs])

    def _maps(self, rows: Rows, turns: Rows) -> Floats:
        seen = [self._teacher.seen(int(turn))[self.which] for turn in turns]
        codes = np.stack([one[self._rows[row]] for one, row in zip(seen, rows, strict=True)])
        return self._teacher.scales[self.which].decoded(codes)

    def _weights(self, tensors: Tensors, grid: tuple[int, ...]) -> Floats:
        weights: Floats = shares(tensors, [self._mask], grid) + np.float32(LEAST_WEIGHT)
        return weights


class FrontLessons(_Lessons):
    """What goes into a teacher's blocks: the `Lessons` of a student's front."""

    which = 0

    def prepare(self, student: Keras) -> None:
        """Let the front's end begin at the teacher's level and spread."""
        channels = self._scale.level.size
        norm = student.get_layer(FRONT_END)
        norm.set_weights([self._scale.spread, self._scale.level, np.zeros(channels), np.ones(channels)])

    def batch(self, rows: Rows, epoch: int, step: int) -> Batch:
        """Return turned cells, and the map that goes into the teacher's blocks."""
        del step
        turns = self._turns(rows, epoch)
        inputs, maps = self._inputs(rows, turns), self._maps(rows, turns)
        return inputs.astype(np.float32), (maps, self._weights(inputs, maps.shape[1:3]))

    def loss(self, answers: Keras, targets: tuple[Keras, ...]) -> Keras:
        """Return the distance of the maps."""
        maps, weights = targets
        return _map_distance(answers, maps, weights, self._scale.spread)

    def trim(self, student: Keras) -> None:
        """Fit the blocks to what the front says of some cells."""
        some = np.arange(0, self.cells, max(1, self.cells // CELLS_FOR_TRIMMING))[:CELLS_FOR_TRIMMING]
        as_they_are = np.zeros_like(some)
        inputs, near = self._inputs(some, as_they_are), self._maps(some, as_they_are)
        batches = range(0, len(some), BATCH)
        front = front_of(student)
        seen = [front(inputs[at : at + BATCH].astype(np.float32), training=False) for at in batches]
        at = self._weights(inputs, student.get_layer(MAP).input.shape[1:3])
        trim(student, self._teacher.model, sorted(WIDTHS), near, np.concatenate(seen), at[..., 0])


class WholeLessons(_Lessons):
    """What a teacher sees of cells: the `Lessons` of a whole student.

    Parameters
    ----------
    settings, teacher, rows
        As for the front, which is trained before.
    known : sequence of LabelledCell
        Of the first rows: a head that knows them tells which changes matter.
    """

    which = 1

    def __init__(
        self, settings: TrainingSettings, teacher: Teacher, rows: Rows, known: Sequence[LabelledCell]
    ) -> None:
        super().__init__(settings, teacher, rows, epochs_before=settings.epochs)
        self._masks = [at for at, name in enumerate(settings.contract.channels) if name in MASKS]
        every = np.arange(self.cells)
        turns = np.zeros(1, np.int64)
        features = np.concatenate(
            [self._pooled(self._inputs(row, turns), self._maps(row, turns)) for row in every[:, None]]
        )
        self._mean, self._spread = features.mean(axis=0), features.std(axis=0) + np.float32(1e-3)
        self._change = _root_of_change(features[: len(known)], known, settings) * self._spread[:, None]

    def batch(self, rows: Rows, epoch: int, step: int) -> Batch:
        """Return turned cells, and what the teacher sees of them so turned."""
        del step
        turns = self._turns(rows, epoch)
        inputs, maps = self._inputs(rows, turns), self._maps(rows, turns)
        targets = maps, self._pooled(inputs, maps), self._weights(inputs, maps.shape[1:3])
        return inputs.astype(np.float32), targets

    def loss(self, answers: Keras, targets: tuple[Keras, ...]) -> Keras:
        """Return the sum of four distances: of maps, features, their directions, and a head's answers."""
        import tensorflow as tf

        maps, found = (tf.cast(one, tf.float32) for one in answers)
        true_maps, true_found, weights = targets
        of_maps = _map_distance(maps, true_maps, weights, self._scale.spread)
        z, true_z = ((one - self._mean) / self._spread for one in (found, true_found))
        unit, true_unit = (tf.math.l2_normalize(one, axis=-1) for one in (z, true_z))
        of_features = tf.reduce_mean(tf.square(z - true_z))
        of_directions = 1 - tf.reduce_mean(tf.reduce_sum(unit * true_unit, axis=-1))
        of_answers = tf.reduce_mean(tf.reduce_sum(tf.square(tf.matmul(z - true_z, self._change)), axis=-1))
        return of_maps + of_features + of_directions + ANSWERS_WEIGHT * of_answers

    def _pooled(self, tensors: Tensors, maps: Floats) -> Floats:
        masks = shares(tensors, self._masks, maps.shape[1:3])
        flat = (len(maps), -1)
        return pooled(maps.reshape(*flat, maps.shape[-1]), masks.reshape(*flat, len(self._masks)))


def shares(tensors: Tensors, masks: Sequence[int], grid: tuple[int, ...]) -> Floats:
    """Return how much of each place masks take, channels of (n, H, W, C) tensors: (n, h, w, M), 0 to 1."""
    rows, columns = grid
    side = tensors.shape[1] // rows
    found = [mask_shares(tensors[..., mask], rows, columns, side) for mask in masks]
    return np.stack(found, axis=-1).reshape(len(tensors), rows, columns, len(masks))


def front_of(model: Keras) -> Keras:
    """Return the part of a student that ends before the teacher's blocks, (n, h, w, C)."""
    import keras

    return keras.Model(model.input, model.get_layer(FRONT_END).output)


def _seeing(model: Keras) -> Keras:
    """Return the part of a network that gives its map, (n, h, w, C), and its pooled features, (n, F)."""
    import keras

    return keras.Model(model.input, [model.get_layer(MAP).input, model.get_layer(FEATURES).output])


def _map_distance(maps: Keras, true_maps: Keras, weights: Keras, spread: Floats) -> Keras:
    import tensorflow as tf

    far = tf.square((tf.cast(maps, tf.float32) - true_maps) / spread)
    return tf.reduce_sum(tf.reduce_mean(far, axis=-1, keepdims=True) * weights) / tf.reduce_sum(weights)


def _root_of_change(features: Floats, known: Sequence[LabelledCell], settings: TrainingSettings) -> Floats:
    """Return R, (F, F), so that ``|dR|^2`` is how far a step d changes a head's answers.

    In units of how far cells change them.
    """
    truth = np.array([cell.label == "blast" for cell in known])
    weights = sampling_weights(
        known, subject_cap=settings.subject_cap, size_balanced=settings.size_balanced
    ) * len(known)
    support = fit_support(features, truth, weights)
    z = ((features - support.mean) / support.deviation).astype(np.float64)
    change = change_of_answers(
        z, support.vectors.astype(np.float64), support.weights.astype(np.float64)[:, None],
        np.ones(len(z)), float(z.shape[1]),
    )  # fmt: skip
    change /= np.trace(change @ np.cov(z.T))
    values, directions = np.linalg.eigh(change)
    root = directions * np.sqrt(np.maximum(values, 0))
    return np.asarray(root / support.deviation[:, None], np.float32)
