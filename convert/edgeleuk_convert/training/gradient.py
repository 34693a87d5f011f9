"""Train a network by gradient: in epochs, with a running average, from a checkpoint after a kill."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edgeleuk.errors import CheckFailedError
from edgeleuk_convert.networks.architectures.fine_tuning import FineTuning, Optimizers
from edgeleuk_convert.training.checkpoint import Row
from edgeleuk_convert.training.plan import TrainingProgress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from edgeleuk_convert.networks.architectures import Keras
    from edgeleuk_convert.training.checkpoint import Checkpoint
    from edgeleuk_convert.training.plan import TrainingSettings

    Floats = npt.NDArray[np.float32]
    Batch = tuple[Floats, tuple[Floats, ...]]

# Of the AUROC on a few inner groups; a later average, at a lower rate, is the better one at a draw.
AUROC_NOISE = 0.02


class Lessons(Protocol):
    """What a network is taught: cells, and what it should say of them.

    Attributes
    ----------
    cells : int
        In an epoch.
    """

    cells: int

    def rows(self, epoch: int, count: int) -> npt.NDArray[np.int64]:
        """Return which cells an epoch takes, in which order."""
        ...

    def batch(self, rows: npt.NDArray[np.int64], epoch: int, step: int) -> Batch:
        """Return inputs, (n, H, W, C) float32 bytes, and what the answers are held against."""
        ...

    def loss(self, answers: Keras, targets: tuple[Keras, ...]) -> Keras:
        """Return how far the network's answers are from the targets: one number."""
        ...

    def judged(self, network: Keras) -> tuple[float | None, float | None]:
        """Return log loss and AUROC on cells held out; None without any."""
        ...


class GradientRun:
    """One training in progress: the network, its running average, the optimizer, and where it stands.

    Parameters
    ----------
    settings : TrainingSettings
    model, averaged : keras.Model
        The network, and another of its kind for the running average.
    backbone : tuple of str
        How the names of the pretrained layers begin.
    lessons : Lessons
    checkpoint : Checkpoint
    """

    def __init__(
        self,
        settings: TrainingSettings,
        model: Keras,
        averaged: Keras,
        lessons: Lessons,
        checkpoint: Checkpoint,
        *,
        backbone: tuple[str, ...] = (),
    ) -> None:
        self.settings, self.model, self.averaged = settings, model, averaged
        self.lessons, self.checkpoint = lessons, checkpoint
        self.averaged.set_weights(self.model.get_weights())
        self.optimizers = Optimizers(
            self.model,
            backbone,
            FineTuning(settings.freeze_epochs, settings.backbone_learning_rate_factor),
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
        )
        self.steps = max(1, round(lessons.cells / settings.batch))
        self._step = self._compiled_step()

    @property
    def state(self) -> list[Any]:
        """Every variable that a checkpoint has to keep."""
        return [*self.model.variables, *self.averaged.variables, *self.optimizers.variables]

    def fit(self, tell: Callable[[TrainingProgress], None], *, further_epochs: float = 0) -> list[Row]:
        """Train to the end or to the early stop; leave the kept average in `averaged`.

        The time left covers `further_epochs`, as long as these, that somebody else will train.
        Without cells to validate with there is nothing to stop by, and the last average is kept.
        """
        rows, best = self.checkpoint.restore(self.state)
        if self._is_stopped(rows):
            return self._kept(rows, best)
        started, first = time.monotonic(), len(rows)
        for epoch in range(len(rows), self.settings.epochs):
            begun = time.monotonic()
            loss = 0.0
            for step, batch_loss in enumerate(self._epoch(epoch), start=1):
                loss += (batch_loss - loss) / step
                share = epoch - first + step / self.steps
                ahead = self.settings.epochs - first - share + further_epochs
                left = (time.monotonic() - started) * ahead / share
                auroc_so_far = rows[-1].validation_auroc if rows else None
                tell(TrainingProgress(
                    "train", epoch + 1, self.settings.epochs, step, self.steps, loss, auroc_so_far, left
                ))  # fmt: skip
            seconds = time.monotonic() - begun
            rate = self.learning_rate(epoch + 1)
            row = Row(epoch + 1, rate, loss, *self.lessons.judged(self.averaged), seconds)
            rows.append(row)
            if kept_epoch(rows) == row.epoch:
                best = [np.asarray(variable) for variable in self.averaged.variables]
            self.checkpoint.save(self.state, rows, best)
            if self._is_stopped(rows):
                break
        return self._kept(rows, best)

    def _is_stopped(self, rows: Sequence[Row]) -> bool:
        return bool(rows) and rows[-1].epoch - kept_epoch(rows) >= self.settings.patience

    def _kept(self, rows: list[Row], best: Sequence[Any]) -> list[Row]:
        for variable, value in zip(self.averaged.variables, best, strict=True):
            variable.assign(value)
        return rows

    def _epoch(self, epoch: int) -> Iterator[float]:
        """Run one epoch; batches are prepared one ahead in a thread."""
        settings, lessons = self.settings, self.lessons
        if self.optimizers.begin_epoch(epoch):
            self._step = self._compiled_step()
        batches = np.split(lessons.rows(epoch, self.steps * settings.batch), self.steps)
        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(lessons.batch, batches[0], epoch, 0)
            for step in range(self.steps):
                tensors, targets = ahead.result()
                if step + 1 < self.steps:
                    ahead = pool.submit(lessons.batch, batches[step + 1], epoch, step + 1)
                moment = epoch + step / self.steps
                self.optimizers.set_learning_rate(self.learning_rate(moment), moment)
                done = epoch * self.steps + step
                decay = min(settings.average_decay, (1 + done) / (10 + done))
                loss = float(self._step(tensors, targets, np.float32(decay)))
                if not np.isfinite(loss):
                    raise CheckFailedError(
                        f"the loss became {loss} in epoch {epoch + 1}, step {step + 1}",
                        allowed="a finite number",
                        cure=f"train with a learning rate below {settings.learning_rate}",
                    )
                yield loss

    def learning_rate(self, epoch: float) -> float:
        """Rise linearly, then fall along a cosine to a hundredth."""
        settings = self.settings
        rise = min(1.0, (epoch + 0.05) / settings.warmup_epochs) if settings.warmup_epochs else 1.0
        fall = 0.01 + 0.99 * (1 + np.cos(np.pi * min(1.0, epoch / settings.epochs))) / 2
        return float(settings.learning_rate * rise * fall)

    def _compiled_step(self) -> Keras:
        import tensorflow as tf

        model, averaged, optimizers = self.model, self.averaged, self.optimizers
        lessons = self.lessons

        @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
        def step(tensors: Keras, targets: tuple[Keras, ...], decay: Keras) -> Keras:
            with tf.GradientTape() as tape:
                loss = lessons.loss(model(tensors, training=True), targets)
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizers.apply(gradients, model.trainable_variables)
            # The statistics of the batch norms are averaged along with the weights they belong to.
            for mean, variable in zip(averaged.weights, model.weights, strict=True):
                mean.assign(mean * decay + tf.cast(variable, mean.dtype) * (1 - decay))
            return loss

        return step


def kept_epoch(rows: Sequence[Row]) -> int:
    """Return the epoch whose average is kept: the latest that is as good as the best, within the noise.

    Examples
    --------
    >>> kept_epoch([Row(1, 0, 0, 0, 0.70, 0), Row(2, 0, 0, 0, 0.69, 0), Row(3, 0, 0, 0, 0.60, 0)])
    2
    """
    judged = [(row.validation_auroc, row.epoch) for row in rows if row.validation_auroc is not None]
    if not judged:
        return rows[-1].epoch
    best = max(auroc for auroc, _ in judged)
    return max(epoch for auroc, epoch in judged if auroc >= best - AUROC_NOISE)
