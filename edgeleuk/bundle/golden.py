"""Golden vectors: cells drawn by the project, and what each network answered when it was packed.

Replaying them on the device tests its preprocessing, its runtime and the model file together.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edgeleuk.bundle.forest import decode_forest
from edgeleuk.bundle.manifest import FOREST, GOLDEN, MODEL_FILES
from edgeleuk.errors import BundleError
from edgeleuk.frames import CellCrop
from edgeleuk.morphology import numbers_of
from edgeleuk.preprocessing import scaled_cell, to_batch
from edgeleuk.runtimes import Answer, available_runtimes, open_runtime

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from edgeleuk.bundle.forest import Forest
    from edgeleuk.bundle.manifest import InputContract
    from edgeleuk.bundle.reading import Bundle

# Two int8 kernels may differ by one step of the output; floats by rounding.
FLOAT_TOLERANCE = 1e-3
# In log odds. OpenCV's colours and blurs differ in their last bits from machine to machine; a number close
# to a limit then goes the other way in a few of the trees.
FOREST_TOLERANCE = 0.25


@dataclass(frozen=True, slots=True)
class GoldenResult:
    """How one network answered the golden vectors.

    Attributes
    ----------
    model : str
        Member of the bundle, or ``preprocessing``; with ``features`` behind it, those that the network gives
        beside its output.
    runtime : str
    status : str
        ``ok``, ``moved`` or ``not installed``.
    largest_difference, tolerance : float
        In units of the network's output.
    """

    model: str
    runtime: str
    status: str
    largest_difference: float = 0.0
    tolerance: float = 0.0


class Tolerance(NamedTuple):
    """By how much a network's answer may differ from machine to machine.

    Attributes
    ----------
    outputs, features : float
        In the units of each.
    """

    outputs: float
    features: float


def encode_golden(
    crops: Sequence[CellCrop],
    contract: InputContract,
    answers: Mapping[str, Answer],
    tolerances: Mapping[str, Tolerance],
    forest: Forest | None = None,
) -> bytes:
    """Pack crops, their tensors, and each member's answer into ``golden.npz``."""
    arrays: dict[str, npt.NDArray[np.generic]] = {"tensors": to_batch(crops, contract)}
    for index, crop in enumerate(crops):
        arrays[f"crop{index}.pixels"] = crop.pixels
        arrays[f"crop{index}.px_per_um"] = np.float64(crop.px_per_um).reshape(1)
    if forest is not None:
        arrays[FOREST] = _log_odds(crops, contract, forest)
    for name, answer in answers.items():
        arrays[f"{name}.output"] = answer.outputs
        arrays[f"{name}.tolerance"] = np.array([tolerances[name].outputs])
        if answer.features is not None:
            arrays[f"{name}.features"] = answer.features
            arrays[f"{name}.features.tolerance"] = np.array([tolerances[name].features])
    buffer = io.BytesIO()
    # savez writes members with a fixed time, so that the bytes depend on the arrays alone.
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def replay(bundle: Bundle, *, threads: int = 1) -> list[GoldenResult]:
    """Run the golden vectors through this machine's preprocessing and every runtime it has.

    Raises
    ------
    BundleError
        The vectors cannot be read.
    """
    contract = bundle.manifest.input
    arrays = _arrays(bundle)
    try:
        crops = _crops(arrays)
        expected = {name: _expected(name, arrays) for name in bundle.manifest.model_names}
    except (ValueError, KeyError) as error:
        raise BundleError("the golden vectors cannot be read", got=str(error)) from error
    tensors = to_batch(crops, contract)
    results = [_preprocessing_result(tensors, arrays["tensors"])]
    if FOREST in arrays:
        log_odds = _log_odds(crops, contract, decode_forest(bundle.members[FOREST]))
        results.append(_compared(FOREST, "numpy", log_odds, arrays[FOREST], FOREST_TOLERANCE))
    for name, (answer, tolerance) in expected.items():
        runtime = MODEL_FILES[name].runtime
        if runtime not in available_runtimes():
            results.append(GoldenResult(name, runtime, "not installed"))
            continue
        model = open_runtime(runtime, bundle.members[name], contract, threads=threads)
        found = model.predict(tensors)
        model.close()
        results.append(_compared(name, runtime, found.outputs, answer.outputs, tolerance.outputs))
        if answer.features is not None:
            results.append(
                _compared(f"{name} features", runtime, found.features, answer.features, tolerance.features)
            )
    return results


def golden_crops_of(bundle: Bundle) -> list[CellCrop]:
    """Return the drawn cells that a bundle carries."""
    return _crops(_arrays(bundle))


def _arrays(bundle: Bundle) -> dict[str, Any]:
    try:
        with np.load(io.BytesIO(bundle.members[GOLDEN]), allow_pickle=False) as golden:
            return dict(golden)
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise BundleError("the golden vectors cannot be read", got=str(error)) from error


def _log_odds(crops: Sequence[CellCrop], contract: InputContract, forest: Forest) -> npt.NDArray[np.float64]:
    return forest.log_odds([numbers_of(scaled_cell(crop, contract), contract.px_per_um) for crop in crops])


def _crops(arrays: Mapping[str, Any]) -> list[CellCrop]:
    return [
        CellCrop.on_black(arrays[f"crop{index}.pixels"], float(arrays[f"crop{index}.px_per_um"][0]))
        for index in range(len(arrays["tensors"]))
    ]


def _expected(name: str, arrays: Mapping[str, Any]) -> tuple[Answer, Tolerance]:
    features = arrays.get(f"{name}.features")
    of_features = 0.0 if features is None else float(arrays[f"{name}.features.tolerance"][0])
    tolerance = Tolerance(float(arrays[f"{name}.tolerance"][0]), of_features)
    return Answer(arrays[f"{name}.output"], features), tolerance


def _compared(
    title: str,
    runtime: str,
    found: npt.NDArray[np.floating[Any]] | None,
    expected: npt.NDArray[np.floating[Any]],
    tolerance: float,
) -> GoldenResult:
    if found is None or found.shape != expected.shape:
        return GoldenResult(title, runtime, "moved", float("inf"), tolerance)
    difference = float(np.abs(found - expected).max())
    # `not <=` also catches NaN.
    return GoldenResult(title, runtime, "ok" if difference <= tolerance else "moved", difference, tolerance)


def _preprocessing_result(tensors: npt.NDArray[np.uint8], expected: npt.NDArray[np.uint8]) -> GoldenResult:
    if tensors.shape != expected.shape:
        return GoldenResult("preprocessing", "numpy", "moved", float("inf"))
    difference = float(np.abs(tensors.astype(np.int16) - expected.astype(np.int16)).max(initial=0))
    return GoldenResult("preprocessing", "numpy", "ok" if difference == 0 else "moved", difference)
