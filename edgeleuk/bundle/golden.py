"""``golden.npz``: cells drawn by the project, their input tensors, and what each network answered to them.

A device that makes the same tensors of the cells, gets the same answers from the network and decides the
same has the workstation's preprocessing, runtime, model file and contracts: see
`edgeleuk.classifier.self_test`.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from edgeleuk.bundle.arrays import Arrays, arrays_of
from edgeleuk.bundle.contracts import Answer
from edgeleuk.bundle.manifest import (
    FOREST,
    GOLDEN,
    MODEL_FILES,
    PX_PER_UM,
    Envelope,
    InputContract,
    KindContract,
    OutOfDistribution,
    OutputContract,
    Struct,
)
from edgeleuk.bundle.numbers import decode_json, require_ordered, require_range
from edgeleuk.errors import BundleError
from edgeleuk.frames import CellCrop
from edgeleuk.results import Decision

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeleuk.bundle.contents import Bundle

# Which of a runtime's kernels gave an answer: those that it takes by itself, or those it has for a machine
# where these are off (LiteRT without XNNPACK). They round differently, each the same way everywhere.
USUAL, PLAIN = "usual", "plain"
MADE_WITH = "made_with"
WHAT = "the golden vectors"
MOST_CELLS = 64
LARGEST_SIDE = 4096
# Of a cell at the network's scale; a large cell, finely seen, has 1,000.
LARGEST_SCALED = 8192
LARGEST_TOLERANCE = 1e6


class MadeWith(Struct, frozen=True):
    """All that the answers hang on, as it was when they were made.

    Attributes
    ----------
    input, output, envelope, gate, kind
        As in the manifest.
    members : dict of str to str
        sha256 of each network, of the forest, the heads, the statistics and the labels.
    """

    input: InputContract
    output: OutputContract
    envelope: Envelope
    gate: OutOfDistribution | None
    members: dict[str, str]
    kind: KindContract | None = None


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
        What the tolerances of the outputs, of the features and of the forest come to, for each cell.
    decisions : tuple of str
        ``blast``, ``normal``, ``other`` or ``uncertain``; empty where the cell lies so close to a limit that
        a rounding could decide.
    kinds, kind_tolerances : (n, K) float64 or None
        Probabilities of kinds, and what the tolerances of the features come to; None without a head for them.
    """

    answer: Answer
    outputs: Tolerance
    features: Tolerance
    probabilities: npt.NDArray[np.float64] | None = None
    probability_tolerances: npt.NDArray[np.float64] | None = None
    decisions: tuple[str, ...] = ()
    kinds: npt.NDArray[np.float64] | None = None
    kind_tolerances: npt.NDArray[np.float64] | None = None


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
            if golden.kinds is not None and golden.kind_tolerances is not None:
                arrays[f"{prefix}.kinds"] = golden.kinds
                arrays[f"{prefix}.kinds.tolerance"] = golden.kind_tolerances
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
    with arrays_of(data, WHAT) as arrays:
        tensors = arrays.integers("tensors", 4, np.uint8)
        cells = len(tensors)
        if not 1 <= cells <= MOST_CELLS:
            msg = f"tensors of {cells} cells, allowed 1 to {MOST_CELLS}"
            raise ValueError(msg)
        return GoldenVectors(
            tuple(_crop(f"crop{index}", arrays) for index in range(cells)),
            tensors,
            {name: _kernels(name, arrays, cells) for name in MODEL_FILES if f"{name}.output" in arrays},
            _of_each_cell(FOREST, arrays, cells) if FOREST in arrays else None,
            _made_with(arrays),
        )


def require_fitting(vectors: GoldenVectors, contract: InputContract) -> None:
    """Refuse golden cells that are not for such a network, or would become vast at its scale.

    Raises
    ------
    BundleError
    """
    if vectors.tensors.shape[1:] != contract.shape:
        raise BundleError(
            f"{WHAT} do not fit the input contract",
            got=f"tensors of shape {vectors.tensors.shape[1:]}",
            allowed=contract.shape,
            cure="convert the network again",
        )
    for crop in vectors.crops:
        scale = max(contract.px_per_um, contract.crop_px_per_um) / crop.px_per_um
        if (side := max(crop.pixels.shape[:2]) * scale) > LARGEST_SCALED:
            raise BundleError(
                f"{WHAT} do not fit the input contract",
                got=f"a cell of {side:.0f} px at the network's scale",
                allowed=LARGEST_SCALED,
                cure="convert the network again",
            )


def golden_crops_of(bundle: Bundle) -> list[CellCrop]:
    """Return the drawn cells that a bundle carries."""
    return list(decode_golden(bundle.members[GOLDEN]).crops)


def _crop(name: str, arrays: Arrays) -> CellCrop:
    pixels, px_per_um = arrays.integers(f"{name}.pixels", 3, np.uint8), arrays.number(f"{name}.px_per_um")
    if max(pixels.shape) > LARGEST_SIDE:
        msg = f"{name} has shape {pixels.shape}, allowed at most {LARGEST_SIDE} a side"
        raise ValueError(msg)
    require_range(f"{name}.px_per_um", px_per_um, *PX_PER_UM)
    crop = CellCrop.on_black(pixels, px_per_um)
    if not crop.mask.any():
        msg = f"{name} is all black"
        raise ValueError(msg)
    return crop


def _made_with(arrays: Arrays) -> MadeWith | None:
    if MADE_WITH not in arrays:
        return None
    return decode_json(arrays.integers(MADE_WITH, 1, np.uint8).tobytes(), MadeWith, f"{MADE_WITH} in {WHAT}")


def _of_each_cell(name: str, arrays: Arrays, cells: int, dimensions: int = 1, kind: Any = np.float64) -> Any:
    """Return finite numbers, a row for each cell."""
    found = arrays.floats(name, dimensions, kind)
    if len(found) != cells or not found.size:
        msg = f"{name} has shape {found.shape}, not a row for each of {cells} cells"
        raise ValueError(msg)
    return found


def _shares(name: str, arrays: Arrays, cells: int, dimensions: int = 1) -> Any:
    found = _of_each_cell(name, arrays, cells, dimensions)
    require_range(f"the least of {name}", float(found.min()), 0, 1)
    require_range(f"the largest of {name}", float(found.max()), 0, 1)
    return found


def _kernels(name: str, arrays: Arrays, cells: int) -> dict[str, GoldenAnswer]:
    return {
        kernel: _answer(_prefix(name, kernel), arrays, cells)
        for kernel in (USUAL, PLAIN)
        if f"{_prefix(name, kernel)}.output" in arrays
    }


def _prefix(name: str, kernel: str) -> str:
    return name if kernel == USUAL else f"{name}.{kernel}"


def _tolerance(name: str, arrays: Arrays) -> Tolerance:
    values = arrays.floats(name, 1)
    if values.size not in (1, 2):
        msg = f"{name} holds {values.size} numbers, allowed 1 or 2"
        raise ValueError(msg)
    # Older bundles have no limit for the mean; it cannot be above the largest.
    largest, mean = float(values[0]), float(values[-1])
    require_ordered(name, (mean, largest), 0, LARGEST_TOLERANCE)
    return Tolerance(largest, mean)


def _answer(prefix: str, arrays: Arrays, cells: int) -> GoldenAnswer:
    features, features_within = None, Tolerance(0.0, 0.0)
    if (name := f"{prefix}.features") in arrays:
        features = _of_each_cell(name, arrays, cells, 2, np.float32)
        features_within = _tolerance(f"{name}.tolerance", arrays)
    output = _of_each_cell(f"{prefix}.output", arrays, cells, 2, np.float32)
    golden = GoldenAnswer(
        Answer(output, features), _tolerance(f"{prefix}.tolerance", arrays), features_within
    )
    if (name := f"{prefix}.probability") not in arrays:
        return golden
    golden = replace(
        golden,
        probabilities=_shares(name, arrays, cells),
        probability_tolerances=_shares(f"{name}.tolerance", arrays, cells),
        decisions=_decisions(f"{prefix}.decision", arrays, cells),
    )
    if (name := f"{prefix}.kinds") not in arrays:
        return golden
    kinds, tolerances = (_shares(one, arrays, cells, 2) for one in (name, f"{name}.tolerance"))
    if kinds.shape != tolerances.shape:
        msg = f"{name} has shape {kinds.shape}, its tolerances {tolerances.shape}"
        raise ValueError(msg)
    return replace(golden, kinds=kinds, kind_tolerances=tolerances)


def _decisions(name: str, arrays: Arrays, cells: int) -> tuple[str, ...]:
    found = arrays[name] if name in arrays else np.empty(0)
    known = {"", *(decision.value for decision in Decision)}
    if found.shape != (cells,) or found.dtype.kind != "U" or not known.issuperset(found.tolist()):
        msg = f"{name} is not one of {', '.join(sorted(known - {''}))} or nothing for each of {cells} cells"
        raise ValueError(msg)
    return tuple(found.tolist())
