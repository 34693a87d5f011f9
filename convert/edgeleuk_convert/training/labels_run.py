"""Teach a network the labels of cells, by gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeleuk_convert.metrics.classification import auroc, balanced_weights, log_loss
from edgeleuk_convert.networks.architectures import architecture, build
from edgeleuk_convert.quantization.calibration_data import keras_outputs
from edgeleuk_convert.training.augmentation import augmented_batch, epoch_rows, sampling_weights
from edgeleuk_convert.training.gradient import GradientRun

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from edgeleuk_convert.dataset.cells import LabelledCell
    from edgeleuk_convert.networks.architectures import Keras
    from edgeleuk_convert.training.checkpoint import Checkpoint
    from edgeleuk_convert.training.gradient import Batch
    from edgeleuk_convert.training.plan import TrainingSettings

    Tensors = npt.NDArray[np.uint8]
    Doubles = npt.NDArray[np.float64]


class LabelLessons:
    """Altered tensors of cells, and their labels: the `Lessons` of a classifier.

    Parameters
    ----------
    settings : TrainingSettings
    cells, validation : sequence of LabelledCell
    tensors : (n, H, W, C) uint8
        Of `cells`, then of `validation`.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        cells: Sequence[LabelledCell],
        validation: Sequence[LabelledCell],
        tensors: Tensors,
    ) -> None:
        self._settings, self.cells = settings, len(cells)
        self._tensors, self.validation_tensors = np.split(tensors, [len(cells)])
        self._truth = np.array([cell.label == "blast" for cell in cells])
        self._validation_truth = np.array([cell.label == "blast" for cell in validation], bool)
        subjects = np.array([cell.subject or "" for cell in validation])
        self._validation_weights = balanced_weights(self._validation_truth, subjects)
        self._weights = sampling_weights(
            cells, subject_cap=settings.subject_cap, size_balanced=settings.size_balanced
        )

    def rows(self, epoch: int, count: int) -> npt.NDArray[np.int64]:
        """Draw the cells of an epoch, classes and subjects balanced."""
        return epoch_rows(self._weights, count, (self._settings.seed, epoch))

    def batch(self, rows: npt.NDArray[np.int64], epoch: int, step: int) -> Batch:
        """Return altered tensors and smoothed labels, (n, 1) float32."""
        settings = self._settings
        seed = (settings.seed, epoch, step)
        tensors = augmented_batch(self._tensors, rows, settings.contract, settings.augmentation, seed)
        smoothed = self._truth[rows, None] * (1 - settings.label_smoothing) + settings.label_smoothing / 2
        return tensors, (smoothed.astype(np.float32),)

    def loss(self, answers: Keras, targets: tuple[Keras, ...]) -> Keras:
        """Return the cross entropy of logits."""
        import tensorflow as tf

        logits = tf.cast(answers, tf.float32)
        return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(targets[0], logits))

    def judged(self, network: Keras) -> tuple[float | None, float | None]:
        """Return log loss and AUROC on the cells to judge by, subjects balanced."""
        if not len(self.validation_tensors):
            return None, None
        logits = predict_logits(network, self.validation_tensors)
        truth, weights = self._validation_truth, self._validation_weights
        return log_loss(truth, logits, weights), auroc(truth, logits, weights)


class LabelRun(GradientRun):
    """One training of a classifier: see `GradientRun`.

    Parameters
    ----------
    settings : TrainingSettings
    lessons : LabelLessons
    checkpoint : Checkpoint
    """

    def __init__(self, settings: TrainingSettings, lessons: LabelLessons, checkpoint: Checkpoint) -> None:
        import keras

        keras.utils.set_random_seed(settings.seed)
        name, contract, dropout = settings.architecture, settings.contract, settings.dropout
        dtype = "mixed_bfloat16" if settings.mixed_precision else "float32"
        model = build(name, contract, dtype=dtype, dropout=dropout)
        averaged = build(name, contract, dropout=dropout)
        super().__init__(settings, model, averaged, lessons, checkpoint, backbone=architecture(name).backbone)
        self._validation_tensors = lessons.validation_tensors

    @property
    def validation_logits(self) -> Doubles:
        """(n,) float64, of the cells to judge by."""
        return predict_logits(self.averaged, self._validation_tensors)


def predict_logits(model: Keras, tensors: Tensors) -> Doubles:
    """Run a Keras network over tensors, batch by batch: (n,) float64 logits."""
    return keras_outputs(model, tensors)[:, 0].astype(np.float64)
