"""``golden.npz``: cells drawn by the project, their input tensors, and what each network answered to them.

A device that makes the same tensors of the cells, gets the same answers from the network and decides the
same has the workstation's preprocessing, runtime, model file and contracts: see `edgeleuk.selftest`.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from edgeleuk.bundle.arrays import arrays_of
from edgeleuk.bundle.manifest import (
    FOREST,
    GOLDEN,
    MODEL_FILES,
    Envelope,
    Gate,
    InputContract,
    OutputContract,
    Struct,
)
from edgeleuk.frames import CellCrop
from edgeleuk.runtimes import Answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from edgeleuk.bundle.reading import Bundle

# Which of a runtime's kernels gave an answer: those that it takes by itself, or those it has for a machine
# where these are off (LiteRT without XNNPACK). They round differently, each the same way everywhere.
USUAL, PLAIN = "usual", "plain"
MADE_WITH = "made_with"


class MadeWith(Struct, frozen=True):
    """All that the answers hang on, as it was when they were made.

    Attributes
    ----------
    input, output, envelope, gate
        As in the manifest.
    members : dict of str to str
        sha256 of each network, of the forest, the statistics and the labels.
    """

    input: InputContract
    output: OutputContract
    envelope: Envelope
    gate: Gate | None
    members: dict[str, str]


class Tolerance(NamedTuple):
    """By how much numbers may differ from the stored ones.

    Attributes
    ----------
    largest : float
        Of a single number.
    mean : float
        Of the absolute differences of all: a fault moves many numbers a little.
    """

    largest: float
    mean: float


@dataclass(frozen=True, slots=True)
class GoldenAnswer:
    """What one network said of the golden cells, and what was made of it.

    Attributes
    ----------
    answer : Answer
    outputs, features : Tolerance
        Of each, in its units.
    probabilities : (n,) float64 or None
        Calibrated; None in bundles that are older than they are.
    probability_tolerances : (n,) float64 or None
        What the tolerances of the outputs and of the forest come to, for each cell.
    decisions : tuple of str
        ``blast``, ``normal`` or ``uncertain``; empty where the cell lies so close to a limit that a rounding
        could decide.
    """

    answer: Answer
    outputs: Tolerance
    features: Tolerance
    probabilities: npt.NDArray[np.float64] | None = None
    probability_tolerances: npt.NDArray[np.float64] | None = None
    decisions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GoldenVectors:
    """All that ``golden.npz`` holds.

    Attributes
    ----------
    crops : tuple of CellCrop
    tensors : (n, H, W, C) uint8
    networks : dict of str to dict of str to GoldenAnswer
        By member, then by kernels: `USUAL`, and `PLAIN` where the runtime has such.
    log_odds : (n,) float64 or None
        The forest's, where there is one.
    made_with : MadeWith or None
        None in bundles that are older than it is.
    """

    crops: tuple[CellCrop, ...]
    tensors: npt.NDArray[np.uint8]
    networks: dict[str, dict[str, GoldenAnswer]] = field(default_factory=dict)
    log_odds: npt.NDArray[np.float64] | None = None
    made_with: MadeWith | None = None


def encode_golden(vectors: GoldenVectors) -> bytes:
    """Return ``golden.npz``; the same vectors give the same bytes."""
    arrays: dict[str, npt.NDArray[np.generic]] = {"tensors": vectors.tensors}
    for index, crop in enumerate(vectors.crops):
        arrays[f"crop{index}.pixels"] = crop.pixels
        arrays[f"crop{index}.px_per_um"] = np.float64(crop.px_per_um).reshape(1)
    if vectors.log_odds is not None:
        arrays[FOREST] = vectors.log_odds
    for name, kernels in vectors.networks.items():
        for kernel, golden in kernels.items():
            prefix = _prefix(name, kernel)
            arrays[f"{prefix}.output"] = golden.answer.outputs
            arrays[f"{prefix}.tolerance"] = np.array(golden.outputs)
            if golden.answer.features is not None:
                arrays[f"{prefix}.features"] = golden.answer.features
                arrays[f"{prefix}.features.tolerance"] = np.array(golden.features)
            if golden.probabilities is not None and golden.probability_tolerances is not None:
                arrays[f"{prefix}.probability"] = golden.probabilities
                arrays[f"{prefix}.probability.tolerance"] = golden.probability_tolerances
                arrays[f"{prefix}.decision"] = np.array(golden.decisions)
    if vectors.made_with is not None:
        arrays[MADE_WITH] = np.frombuffer(msgspec.json.encode(vectors.made_with, order="sorted"), np.uint8)
    buffer = io.BytesIO()
    # savez writes members with a fixed time, so that the bytes depend on the arrays alone.
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def decode_golden(data: bytes) -> GoldenVectors:
    """Read ``golden.npz``; nothing in it is executed.

    Raises
    ------
    BundleError
        It is damaged, or holds something else.
    """
    with arrays_of(data, "the golden vectors") as golden:
        arrays = dict(golden)
        return GoldenVectors(
            tuple(
                CellCrop.on_black(arrays[f"crop{index}.pixels"], float(arrays[f"crop{index}.px_per_um"][0]))
                for index in range(len(arrays["tensors"]))
            ),
            arrays["tensors"],
            {name: _kernels(name, arrays) for name in MODEL_FILES if f"{name}.output" in arrays},
            arrays.get(FOREST),
            msgspec.json.decode(arrays[MADE_WITH].tobytes(), type=MadeWith) if MADE_WITH in arrays else None,
        )


def golden_crops_of(bundle: Bundle) -> list[CellCrop]:
    """Return the drawn cells that a bundle carries."""
    return list(decode_golden(bundle.members[GOLDEN]).crops)


def _kernels(name: str, arrays: Mapping[str, Any]) -> dict[str, GoldenAnswer]:
    return {
        kernel: _answer(_prefix(name, kernel), arrays)
        for kernel in (USUAL, PLAIN)
        if f"{_prefix(name, kernel)}.output" in arrays
    }


def _prefix(name: str, kernel: str) -> str:
    return name if kernel == USUAL else f"{name}.{kernel}"


def _tolerance(values: Any) -> Tolerance:
    # Older bundles have no limit for the mean; it cannot be above the largest.
    return Tolerance(float(values[0]), float(values[-1]))


def _answer(prefix: str, arrays: Mapping[str, Any]) -> GoldenAnswer:
    features = arrays.get(f"{prefix}.features")
    golden = GoldenAnswer(
        Answer(arrays[f"{prefix}.output"], features),
        _tolerance(arrays[f"{prefix}.tolerance"]),
        Tolerance(0.0, 0.0) if features is None else _tolerance(arrays[f"{prefix}.features.tolerance"]),
    )
    if f"{prefix}.probability" not in arrays:
        return golden
    return replace(
        golden,
        probabilities=arrays[f"{prefix}.probability"],
        probability_tolerances=arrays[f"{prefix}.probability.tolerance"],
        decisions=tuple(str(decision) for decision in arrays[f"{prefix}.decision"]),
    )
