"""Crops become decisions: the network, the temperature, the threshold, and when to abstain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.bundle.manifest import MODEL_FILES
from edgeleuk.preprocessing import to_batch
from edgeleuk.results import Decision, Prediction
from edgeleuk.runtimes import open_runtime

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from edgeleuk.bundle.manifest import Envelope, InputContract, Manifest, OutputContract
    from edgeleuk.bundle.reading import Bundle
    from edgeleuk.frames import CellCrop
    from edgeleuk.runtimes import ModelRuntime


class Classifier:
    """A network with the contracts it was packed with.

    Parameters
    ----------
    runtime : ModelRuntime
    manifest : Manifest
    """

    def __init__(self, runtime: ModelRuntime, manifest: Manifest) -> None:
        self.runtime = runtime
        self.manifest = manifest

    def classify(self, crops: Sequence[CellCrop]) -> list[Prediction]:
        """Judge each crop.

        Parameters
        ----------
        crops : sequence of CellCrop
            Of any scale; each is brought to the network's.

        Returns
        -------
        list of Prediction, in the order of `crops`
        """
        if not crops:
            return []
        probabilities = self.probabilities(crops)
        return [
            decide(float(p), area_um2(crop), self.manifest.output, self.manifest.envelope)
            for p, crop in zip(probabilities, crops, strict=True)
        ]

    def probabilities(self, crops: Sequence[CellCrop]) -> npt.NDArray[np.float64]:
        """Return the (n,) calibrated probabilities of the positive class."""
        outputs = self.runtime.predict(to_batch(crops, self.manifest.input))
        return calibrated(outputs[:, -1], self.manifest.output)

    def close(self) -> None:
        """Free the network."""
        self.runtime.close()


def open_classifier(
    bundle: Bundle, *, runtime: str = "litert", precision: str = "int8", threads: int = 1
) -> Classifier:
    """Load one of a bundle's networks; see `open_runtime` and `Bundle.model_name` for the errors."""
    member = bundle.members[bundle.model_name(runtime, precision)]
    return Classifier(open_runtime(runtime, member, bundle.manifest.input, threads=threads), bundle.manifest)


def open_networks(
    members: Mapping[str, bytes], contract: InputContract, *, threads: int = 1
) -> dict[str, ModelRuntime]:
    """Load every network among a bundle's members, by its key (``reference``, ``tflite_int8``, ...)."""
    return {
        model.key: open_runtime(model.runtime, members[name], contract, threads=threads)
        for name, model in MODEL_FILES.items()
        if name in members
    }


def calibrated(outputs: npt.ArrayLike, contract: OutputContract) -> npt.NDArray[np.float64]:
    """Turn a network's outputs into probabilities, the logit divided by the temperature.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 4.2.

    Parameters
    ----------
    outputs : (n,) array_like
        Logits or probabilities, as the contract says.
    contract : OutputContract

    Returns
    -------
    (n,) float64
    """
    values = np.asarray(outputs, np.float64)
    if contract.kind == "probability":
        # int8 probabilities reach 0 and 1, whose logits are infinite.
        inner = np.clip(values, 1e-6, 1 - 1e-6)
        values = np.log(inner) - np.log1p(-inner)
    # tanh does not overflow where exp would.
    return 0.5 * (1 + np.tanh((values / contract.temperature + contract.bias) / 2))


def decide(probability: float, area: float, contract: OutputContract, envelope: Envelope) -> Prediction:
    """Apply the envelope, the abstention band and the threshold, in that order."""
    low, high = envelope.area_um2
    if not low <= area <= high:
        reason = f"area {area:.0f} um2 is outside the training cells' {low:.0f} to {high:.0f}"
        return Prediction(Decision.UNCERTAIN, probability, reason)
    low, high = contract.abstain
    if low < probability < high:
        return Prediction(Decision.UNCERTAIN, probability, f"probability between {low:.2f} and {high:.2f}")
    return Prediction(
        Decision.BLAST if probability >= contract.threshold else Decision.NORMAL, probability, None
    )


def area_um2(crop: CellCrop) -> float:
    """Return the area of the cell in square micrometres."""
    return int(np.count_nonzero(crop.mask)) / crop.px_per_um**2
