"""How the answers of a converted network compare with those of the network it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.errors import CheckFailedError
from edgeleuk.inference.log_odds import log_odds
from edgeleuk.results.structs import Printed
from edgeleuk_calibration.probability import sigmoid

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeleuk.bundle.manifest import OutputContract

# The least correlation of an int8 network's outputs with the float network's that can come of rounding.
LEAST_CORRELATION = 0.95
# Between Keras and the float32 network: rounding alone.
KERAS_TOLERANCE = 1e-3


class Agreement(Printed, frozen=True, kw_only=True):
    """How one converted network compares with the float32 network on the calibration images.

    Attributes
    ----------
    member : str
        Its name in the bundle.
    size_bytes : int
    largest_difference : float
        In units of the output.
    correlation : float
        Pearson's, of the outputs.
    """

    member: str
    size_bytes: int
    largest_difference: float
    correlation: float


def refuse_constant(keras: npt.NDArray[np.float32]) -> None:
    """Refuse a network that has died in training, or whose (n, K) answers are no numbers.

    Raises
    ------
    CheckFailedError
        It answers alike to every calibration image: int8 has nothing to follow.
    """
    if not np.isfinite(keras).all() or not np.ptp(keras, axis=0).any():
        raise CheckFailedError(
            "the network tells no calibration image from another",
            got=f"{keras[0].round(3).tolist()} for each of {len(keras)}",
            cure="train it again: its training has failed",
        )


def refuse_difference(
    reference: npt.NDArray[np.float32],
    output: OutputContract,
    keras: npt.NDArray[np.float32],
    of_keras: OutputContract,
) -> None:
    """Refuse a float network that is not Keras's. What agrees with it then agrees with Keras.

    Parameters
    ----------
    reference, keras : (n, K) float32
    output, of_keras : OutputContract
        What each means: one may end before its sigmoid or softmax, the other behind it.

    Raises
    ------
    CheckFailedError
        They differ by more than rounding.
    """
    ours, theirs = reference, keras
    if output.kind != of_keras.kind:
        ours, theirs = (
            np.asarray(sigmoid(log_odds(outputs, contract)), np.float32)
            for outputs, contract in ((reference, output), (keras, of_keras))
        )
    difference = float(np.abs(ours - theirs).max())
    if not difference <= KERAS_TOLERANCE * (1 + float(np.abs(theirs).max())):
        raise CheckFailedError(
            "the float32 network does not answer as the Keras network does",
            got=f"a difference of {difference:.3g}",
            allowed=KERAS_TOLERANCE,
            cure="report the network",
        )


def agreement_of(
    name: str,
    size_bytes: int,
    outputs: npt.NDArray[np.float32],
    reference: npt.NDArray[np.float32],
    contract: OutputContract,
    *,
    strict: bool = True,
) -> Agreement:
    """Compare a network's (n, K) answers with the float network's.

    Where not `strict`, a network that does not follow it is told of all the same.

    Raises
    ------
    CheckFailedError
        They are not finite, or have little to do with each other.
    """
    if strict and not np.isfinite(outputs).all():
        raise CheckFailedError(f"{name} answers with numbers that are not finite", cure="report the network")
    ours, theirs = (_deciding(of, contract) for of in (outputs, reference))
    # Of answers that are all alike there is none.
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = float(np.corrcoef(ours, theirs)[0, 1])
    if strict and not correlation >= LEAST_CORRELATION:
        raise CheckFailedError(
            f"{name} does not agree with the float network",
            got=f"correlation {correlation_text(correlation)}",
            allowed=f"{LEAST_CORRELATION} or more",
            cure="pass --repair, or calibrate with more, or more typical, images",
        )
    difference = float(np.abs(outputs - reference).max())
    return Agreement(
        member=name, size_bytes=size_bytes, largest_difference=difference, correlation=correlation
    )


def correlation_text(correlation: float) -> str:
    """Write a correlation rounded down, so that what is below a limit also reads so.

    Examples
    --------
    >>> correlation_text(0.94999)
    '0.9499'
    """
    return f"{np.floor(correlation * 1e4) / 1e4:.4f}"


def _deciding(outputs: npt.NDArray[np.float32], contract: OutputContract) -> npt.NDArray[np.float64]:
    """Return the (n,) numbers that decide: log odds of logits, else the positive class's probability."""
    if contract.kind == "softmax":
        of_positive = outputs[:, list(contract.positive_indices)].astype(np.float64)
        return np.asarray(of_positive.sum(axis=1))
    return outputs[:, 0].astype(np.float64) if contract.kind == "probability" else log_odds(outputs, contract)
