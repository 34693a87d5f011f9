"""Find support vectors behind a network that stays as it is: no gradients, one pass over the cells."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.bundle.support_vectors import SupportVectors
from edgeleuk_convert.environment import scikit_learn
from edgeleuk_convert.metrics.classification import auroc, balanced_weights, log_loss
from edgeleuk_convert.networks.architectures import build
from edgeleuk_convert.networks.architectures.support_vectors import pooling, trunk_of, with_support_vectors
from edgeleuk_convert.training.augmentation import sampling_weights
from edgeleuk_convert.training.checkpoint import Row
from edgeleuk_convert.training.landmarks import reduced

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from edgeleuk.io.console import Progress
    from edgeleuk_convert.dataset.cells import LabelledCell
    from edgeleuk_convert.networks.architectures import Keras
    from edgeleuk_convert.training.plan import TrainingProgress, TrainingSettings

    Tensors = npt.NDArray[np.uint8]
    Floats = npt.NDArray[np.float32]
    Doubles = npt.NDArray[np.float64]

BATCH = 16
# Cost of a training cell on the wrong side; .3 and 3 were no better on inner groups.
COST = 1.0
# Log odds of a cell on the margin: on inner groups the decision function times this has a temperature of 1.
PER_MARGIN = 1.5


class FrozenNetwork:
    """A network that is not trained, and what it sees of some cells.

    Parameters
    ----------
    settings : TrainingSettings
    tensors : (n, H, W, C) uint8 or None
    features : (n, F) float32, optional
        What it sees of them, where that is known; then no tensors are needed.
    model : keras.Model, optional
        The network, where it is not as its architecture begins.
    progress : callable, optional
        Told (cells done, cells in all).
    """

    def __init__(
        self,
        settings: TrainingSettings,
        tensors: Tensors | None,
        *,
        features: Floats | None = None,
        model: Keras | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._contract = settings.contract
        self._model = model or build(settings.architecture, settings.contract)
        if features is None:
            assert tensors is not None, "there are tensors or features"
            features = features_of(self._model, tensors, progress=progress)
        self.features = features

    def judged_by(self, support: SupportVectors) -> Keras:
        """Return the network with support vectors behind it."""
        return with_support_vectors(trunk_of(self._model), self._contract, support, self._model.name)


class SupportRun:
    """One search for support vectors: the counterpart of a training by gradient.

    Parameters
    ----------
    network : FrozenNetwork
        Its features are those of `cells`, then of `validation`.
    settings : TrainingSettings
    cells, validation : sequence of LabelledCell
        To learn from, and to judge by.
    """

    def __init__(
        self,
        network: FrozenNetwork,
        settings: TrainingSettings,
        cells: Sequence[LabelledCell],
        validation: Sequence[LabelledCell],
    ) -> None:
        self._network = network
        self._features, self._asked = np.split(network.features, [len(cells)])
        self._truth = np.array([cell.label == "blast" for cell in cells])
        self._weights = sampling_weights(
            cells, subject_cap=settings.subject_cap, size_balanced=settings.size_balanced
        )
        self._validation, self._landmarks = validation, settings.landmarks
        self._support: SupportVectors | None = None

    @property
    def averaged(self) -> Keras:
        """The network that was found."""
        return self._network.judged_by(self._found)

    @property
    def validation_logits(self) -> Doubles:
        """(n,) float64, of the cells to judge by."""
        return self._found.log_odds(self._asked).astype(np.float64)

    def fit(self, tell: Callable[[TrainingProgress], None], *, further_epochs: float = 0) -> list[Row]:
        """Find the support vectors; of `tell` and `further_epochs` seconds need no use."""
        del tell, further_epochs
        begun = time.monotonic()
        weights = self._weights * len(self._truth)
        self._support = fit_support(self._features, self._truth, weights, landmarks=self._landmarks)
        loss = log_loss(self._truth, self._found.log_odds(self._features), self._weights)
        validation_loss = validation_auroc = None
        if self._validation:
            truth = np.array([cell.label == "blast" for cell in self._validation])
            weights = balanced_weights(truth, np.array([cell.subject or "" for cell in self._validation]))
            validation_loss = log_loss(truth, self.validation_logits, weights)
            validation_auroc = auroc(truth, self.validation_logits, weights)
        return [Row(1, 0.0, loss, validation_loss, validation_auroc, time.monotonic() - begun)]

    @property
    def _found(self) -> SupportVectors:
        assert self._support is not None, "fit comes first"
        return self._support


def fit_support(
    features: Floats, truth: npt.NDArray[np.bool_], weights: Doubles, *, landmarks: int = 0
) -> SupportVectors:
    """Find the support vectors that tell the classes apart.

    Parameters
    ----------
    features : (n, F) float32
    truth : (n,) bool
    weights : (n,) float64
        How much each cell counts; 1 on average.
    landmarks : int
        So many cells answer for all support vectors; 0 keeps those. See `reduced`.

    Raises
    ------
    MissingDependencyError
        scikit-learn is not installed.
    """
    with scikit_learn():
        from sklearn.svm import SVC
    mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    # A channel that never changes tells nothing; divided by 1 it stays 0.
    deviation = features.std(axis=0, dtype=np.float64).astype(np.float32)
    deviation = np.where(deviation > 0, deviation, np.float32(1))
    # Rounded as they are kept, so that what is found is what runs.
    z = ((features - mean) / deviation).astype(np.float16)
    machine = SVC(C=COST, gamma=1 / z.shape[1])
    machine.fit(z.astype(np.float64), truth, sample_weight=weights)
    support = SupportVectors(
        mean=mean,
        deviation=deviation,
        vectors=z[machine.support_],
        weights=(PER_MARGIN * machine.dual_coef_[0]).astype(np.float32),
        bias=PER_MARGIN * float(machine.intercept_[0]),
    )
    return reduced(support, features, landmarks) if landmarks else support


def features_of(model: Keras, tensors: Tensors, *, progress: Progress | None = None) -> Floats:
    """Return what a network sees of cells, pooled: (n, F) float32."""
    import tensorflow as tf

    seen = tf.function(lambda batch: pooling(model)(batch, training=False), reduce_retracing=True)
    parts = []
    for start in range(0, len(tensors), BATCH):
        batch = tensors[start : start + BATCH].astype(np.float32)
        parts.append(np.asarray(seen(tf.constant(batch)), np.float32))
        if progress is not None:
            progress(start + len(batch), len(tensors))
    return np.concatenate(parts)
