"""What the numbers mean that a network answers with: the log odds of the positive class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeleuk.bundle.manifest import OutputContract

# int8 probabilities reach 0 and 1, whose log odds are infinite.
LEAST_PROBABILITY = 1e-6


def log_odds(outputs: npt.ArrayLike, contract: OutputContract) -> npt.NDArray[np.float64]:
    """Return the log odds of the positive class against all others, before any calibration.

    Of a softmax they are ``log(sum(exp(positive logits))) - log(sum(exp(other logits)))``, so that a sigmoid
    gives the probability that the softmax gives.

    Parameters
    ----------
    outputs : (n, K) array_like
        What the network gave: K is 1, or the number of classes. (n,) is taken for (n, 1).
    contract : OutputContract
        Says what they are, and which class is positive.

    Returns
    -------
    (n,) float64

    Raises
    ------
    ValueError
        K is not what the contract says.

    Examples
    --------
    >>> from edgeleuk.bundle.manifest import OutputContract
    >>> three = OutputContract(kind="logits", labels=("blast", "normal", "other"), positive="blast")
    >>> log_odds([[np.log(3), 0, np.log(2)]], three).round(6).tolist()
    [0.0]
    """
    values = np.asarray(outputs, np.float64)
    values = values[:, np.newaxis] if values.ndim == 1 else values
    if values.ndim != 2 or values.shape[1] != contract.width:
        msg = f"expected outputs of shape (n, {contract.width}), got {values.shape}"
        raise ValueError(msg)
    positive = list(contract.positive_indices)
    if contract.kind == "logits":
        others = np.delete(values, positive, axis=1)
        # Of one class it is the logit itself, to the last bit.
        of = (
            values[:, positive[0]] if len(positive) == 1 else np.logaddexp.reduce(values[:, positive], axis=1)
        )
        return np.asarray(of - np.logaddexp.reduce(others, axis=1))
    if contract.kind == "sigmoids":
        values = 0.5 * (1 + np.tanh(values / 2))
    if contract.kind in ("softmax", "sigmoids"):
        # Rounded to int8 they need not add up to 1.
        share = values[:, positive].sum(axis=1) / np.maximum(values.sum(axis=1), LEAST_PROBABILITY)
        return _logit(share)
    single = values[:, 0] if contract.kind == "logit" else _logit(values[:, 0])
    return single if positive == [1] else -single


def _logit(probability: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    inner = np.clip(probability, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    return np.asarray(np.log(inner) - np.log1p(-inner))
