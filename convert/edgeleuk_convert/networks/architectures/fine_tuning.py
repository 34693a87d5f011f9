"""Train new layers at once, and pretrained ones later or more slowly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeleuk_convert.networks.architectures import Keras


@dataclass(frozen=True, slots=True)
class FineTuning:
    """How the pretrained layers, the backbone, are trained.

    Attributes
    ----------
    freeze_epochs : int
        For so long they stay as they are, their batch norms' statistics included. Then they rise to
        their learning rate over `rise_epochs`, for Adam knows nothing of their gradients yet.
    factor : float
        Of the learning rate.
    rise_epochs : float
    """

    freeze_epochs: int = 0
    factor: float = 1.0
    rise_epochs: float = 1.0

    def share(self, epoch: float) -> float:
        """Part of the learning rate that the backbone gets at a moment.

        Examples
        --------
        >>> how = FineTuning(freeze_epochs=2, factor=0.5)
        >>> [how.share(epoch) for epoch in (0, 1.9, 2.4, 3, 9)]
        [0.0, 0.0, 0.2, 0.5, 0.5]
        """
        if epoch < self.freeze_epochs:
            return 0.0
        if not self.freeze_epochs or not self.rise_epochs:
            return self.factor
        return self.factor * round(min(1.0, (epoch - self.freeze_epochs) / self.rise_epochs), 6)


class Optimizers:
    """One optimizer for the backbone and one for all else; the backbone's can be empty.

    Parameters
    ----------
    model : keras.Model
    backbone : tuple of str
        How the names of the backbone's layers begin.
    how : FineTuning
    learning_rate, weight_decay : float
        Of AdamW; only kernels decay.
    """

    def __init__(
        self,
        model: Keras,
        backbone: tuple[str, ...],
        how: FineTuning,
        *,
        learning_rate: float,
        weight_decay: float,
    ) -> None:
        self.model = model
        self.how = how
        self.layers = [layer for layer in model.layers if layer.name.startswith(backbone)]
        self._backbone = {id(variable) for layer in self.layers for variable in layer.trainable_variables}
        self._new, self._old = (_adamw(learning_rate, weight_decay) for _ in range(2))
        new, old = self._split_variables(model.trainable_variables)
        self._new.build(new)
        self._old.build(old)
        self.frozen = False

    @property
    def variables(self) -> list[Any]:
        """Every variable that a checkpoint has to keep."""
        return [*self._new.variables, *self._old.variables]

    def begin_epoch(self, epoch: int) -> bool:
        """Freeze or thaw the backbone; True if that changed, so that the step must be traced anew."""
        frozen = bool(self.layers) and epoch < self.how.freeze_epochs
        changed = frozen != self.frozen
        if changed:
            for layer in self.layers:
                layer.trainable = not frozen
        self.frozen = frozen
        return changed

    def set_learning_rate(self, rate: float, epoch: float) -> None:
        """Take the learning rate of a moment, `epoch` being fractional."""
        self._new.learning_rate.assign(rate)
        self._old.learning_rate.assign(rate * self.how.share(epoch))

    def apply(self, gradients: Sequence[Any], variables: Sequence[Any]) -> None:
        """Update `variables`, those of the model that are trainable now."""
        gradient = {id(variable): value for variable, value in zip(variables, gradients, strict=True)}
        for optimizer, part in zip((self._new, self._old), self._split_variables(variables), strict=True):
            if part:
                optimizer.apply([gradient[id(variable)] for variable in part], part)

    def _split_variables(self, variables: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        new = [variable for variable in variables if id(variable) not in self._backbone]
        return new, [variable for variable in variables if id(variable) in self._backbone]


def _adamw(learning_rate: float, weight_decay: float) -> Any:
    import keras

    adam = keras.optimizers.AdamW(learning_rate, weight_decay=weight_decay, global_clipnorm=5.0)
    adam.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return adam
