"""The device's self-test: replay the golden cells of a bundle and compare every step with what is stored.

Hashes tell that no byte of a bundle changed; the self-test, that this machine makes the same of it. Crops go
through the device's own preprocessing (equal to the last bit), the stored tensors through the network
(within a step of int8), the answers through calibration and decision (the same probability and call).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edgeleuk.bundle.golden import USUAL, decode_golden
from edgeleuk.bundle.manifest import FOREST, GOLDEN, MODEL_FILES
from edgeleuk.classifier.classifier import bundle_rules, open_classifier, open_network
from edgeleuk.classifier.decision import decide, evidence_of
from edgeleuk.classifier.golden_cells import FOREST_TOLERANCE, measure_golden
from edgeleuk.classifier.provider_tolerance import widened
from edgeleuk.errors import BundleError, CheckFailedError, MissingDependencyError
from edgeleuk.inference import available_runtimes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from edgeleuk.bundle.contents import Bundle
    from edgeleuk.bundle.golden import GoldenAnswer, GoldenVectors, Tolerance
    from edgeleuk.bundle.manifest import Abstain
    from edgeleuk.classifier.classifier import Classifier
    from edgeleuk.classifier.decision import CellEvidence, Rules
    from edgeleuk.classifier.golden_cells import GoldenCells
    from edgeleuk.inference import Answer, ModelRuntime

OK, MOVED, NOT_INSTALLED, UNUSABLE = "ok", "moved", "not installed", "unusable"


@dataclass(frozen=True, slots=True)
class GoldenResult:
    """How one step of one network compares with the golden vectors.

    Attributes
    ----------
    model : str
        ``contract``, ``preprocessing``, or a member of the bundle; with ``features`` or ``decisions`` behind
        it, those of the network.
    runtime : str
    status : str
        ``ok``, ``moved`` or ``not installed``; ``unusable`` where a runtime has moved that the bundle was not
        validated with: the bundle is none the worse for it.
    largest_difference, tolerance : float
        In units of what is compared.
    detail : str
        What differs; or which kernels the runtime has, where they are not the usual ones.
    """

    model: str
    runtime: str
    status: str
    largest_difference: float = 0.0
    tolerance: float = 0.0
    detail: str = ""


def replay(bundle: Bundle, *, by_name: bool = False) -> list[GoldenResult]:
    """Run the golden cells through this machine's preprocessing and the bundle's runtimes that it has.

    Parameters
    ----------
    bundle : Bundle
    by_name : bool
        Also through those runtimes that are only used by who names them.

    Raises
    ------
    BundleError
        The vectors, or a network, cannot be read.
    """
    vectors, rules = decode_golden(bundle.members[GOLDEN]), bundle_rules(bundle)
    cells = measure_golden(vectors, bundle.manifest.input, rules)
    results = _before_networks(bundle, vectors, cells, rules)
    there = available_runtimes()
    for name in bundle.manifest.model_names:
        model = MODEL_FILES[name]
        if model.runtime not in there:
            results.append(GoldenResult(name, model.runtime, NOT_INSTALLED))
        for runtime in (each for each in model.runtimes if each in there):
            if runtime != model.runtime and not by_name:
                continue
            try:
                network = open_network(bundle.members, name, bundle.manifest.input, runtime=runtime)
            except MissingDependencyError as error:
                # Installed, without what it needs of this machine.
                results.append(GoldenResult(name, runtime, NOT_INSTALLED, detail=str(error)))
                continue
            with network:
                found = _of_network(name, network, _expected(vectors, name), vectors, cells, rules)
            if runtime != model.runtime:
                found = [replace(one, status=UNUSABLE) if one.status == MOVED else one for one in found]
            results += found
    return results


def open_tested_classifier(
    bundle: Bundle, *, runtime: str, precision: str, threads: int, abstain: Abstain
) -> Classifier:
    """Load one of a bundle's networks and let it pass the self-test before it sees a cell.

    Raises
    ------
    CheckFailedError
        Something comes out differently on this machine.
    EdgeleukError
        As `open_classifier`.
    """
    classifier = open_classifier(
        bundle, runtime=runtime, precision=precision, threads=threads, abstain=abstain
    )
    try:
        results = self_test(bundle, bundle.model_name(runtime, precision), classifier)
        require_unmoved(bundle, results)
    except BaseException:
        classifier.close()
        raise
    return classifier


def require_unmoved(bundle: Bundle, results: Sequence[GoldenResult]) -> None:
    """Refuse a bundle of which something comes out differently on this machine.

    Raises
    ------
    CheckFailedError
        See above.
    """
    if moved := [result for result in results if result.status == MOVED]:
        raise CheckFailedError(
            f"the self-test of {bundle.path.name} failed",
            got="; ".join(result_text(result) for result in moved),
            cure="look at all of it with `edgeleuk verify`, then copy or convert the bundle again, or install"
            " the version of the runtime that it names",
        )


def self_test(bundle: Bundle, name: str, classifier: Classifier) -> list[GoldenResult]:
    """Replay the golden cells for the network `name` that is loaded already.

    Raises
    ------
    BundleError
        The vectors cannot be read.
    """
    vectors = decode_golden(bundle.members[GOLDEN])
    # The decisions are stored as the bundle's own band makes them.
    rules = replace(classifier.rules, abstain="band")
    cells = measure_golden(vectors, bundle.manifest.input, rules)
    return [
        *_before_networks(bundle, vectors, cells, rules),
        *_of_network(name, classifier.runtime, _expected(vectors, name), vectors, cells, rules),
    ]


def result_text(result: GoldenResult) -> str:
    """Say in a few words what moved."""
    figures = f"differs by up to {result.largest_difference:.4g}, allowed {result.tolerance:.4g}"
    return f"{result.model} on {result.runtime}: {result.detail or figures}"


def _before_networks(
    bundle: Bundle, vectors: GoldenVectors, cells: GoldenCells, rules: Rules
) -> list[GoldenResult]:
    results = [_contract_result(bundle, vectors)] if vectors.made_with is not None else []
    results.append(_preprocessing_result(cells.tensors, vectors.tensors))
    if vectors.log_odds is not None and rules.forest is not None and cells.numbers is not None:
        difference = _largest(rules.forest.log_odds(cells.numbers), vectors.log_odds)
        status = OK if difference <= FOREST_TOLERANCE else MOVED
        results.append(GoldenResult(FOREST, "numpy", status, difference, FOREST_TOLERANCE))
    return results


def _contract_result(bundle: Bundle, vectors: GoldenVectors) -> GoldenResult:
    """Name what the manifest says otherwise than when the answers were made."""
    manifest, made_with = bundle.manifest, vectors.made_with
    assert made_with is not None
    found: dict[str, Any] = {
        "members": {
            name: entry.sha256 for name, entry in manifest.members.items() if name in made_with.members
        }
    }
    for part in ("input", "output", "envelope", "gate", "kind"):
        found[part] = msgspec.to_builtins(getattr(manifest, part))
    changed = _changes(found, msgspec.to_builtins(made_with), "")
    detail = "; ".join(changed)
    return GoldenResult("contract", "manifest", MOVED if changed else OK, float(len(changed)), 0.0, detail)


def _changes(found: Any, stored: Any, place: str) -> list[str]:
    if isinstance(found, dict) and isinstance(stored, dict):
        keys = sorted(found.keys() | stored.keys())
        return [
            change
            for key in keys
            for change in _changes(found.get(key), stored.get(key), f"{place}.{key}" if place else str(key))
        ]
    if found == stored:
        return []
    if place.startswith("members."):
        return [f"{place.removeprefix('members.')} is another file than the one that gave the answers"]
    return [f"{place} is {found}, was {stored}"]


def _preprocessing_result(tensors: npt.NDArray[np.uint8], expected: npt.NDArray[np.uint8]) -> GoldenResult:
    if tensors.shape != expected.shape:
        detail = f"tensors of shape {tensors.shape[1:]}, stored are {expected.shape[1:]}"
        return GoldenResult("preprocessing", "numpy", MOVED, float("inf"), 0.0, detail)
    differences = np.abs(tensors.astype(np.int16) - expected.astype(np.int16))
    largest = int(differences.max(initial=0))
    if not largest:
        return GoldenResult("preprocessing", "numpy", OK)
    cells = int(differences.any(axis=(1, 2, 3)).sum())
    detail = (
        f"the input tensors of {cells} of {len(tensors)} golden cells differ from the stored ones by up to"
        f" {largest}, allowed 0 (scale, resizing or channels are not those of the workstation)"
    )
    return GoldenResult("preprocessing", "numpy", MOVED, float(largest), 0.0, detail)


def _expected(vectors: GoldenVectors, name: str) -> dict[str, GoldenAnswer]:
    try:
        return vectors.networks[name]
    except KeyError:
        raise BundleError(
            "the golden vectors cannot be read",
            got=f"no answers of {name}",
            cure="convert the network again",
        ) from None


def _of_network(
    name: str,
    model: ModelRuntime,
    kernels: Mapping[str, GoldenAnswer],
    vectors: GoldenVectors,
    cells: GoldenCells,
    rules: Rules,
) -> list[GoldenResult]:
    """Compare a network's answers to the stored tensors with those of the kernels that come closest."""
    found = model.predict(vectors.tensors)
    if MODEL_FILES[name].precision == "int8":
        kernels = {kernel: widened(golden, model.name, cells, rules) for kernel, golden in kernels.items()}
    kernel = min(kernels, key=lambda one: _mean_distance(found, kernels[one].answer))
    golden = kernels[kernel]
    results = [
        _compared(name, model.name, found.outputs, golden.answer.outputs, golden.outputs),
    ]
    if golden.answer.features is not None:
        title = f"{name} features"
        results.append(_compared(title, model.name, found.features, golden.answer.features, golden.features))
    if kernel != USUAL and all(result.status == OK for result in results):
        results[0] = replace(results[0], detail=f"by the {kernel} kernels of the runtime")
    return [*results, *_decision_result(name, model.name, found, golden, cells, rules)]


def _mean_distance(found: Answer, golden: Answer) -> float:
    """Tell kernels apart: a fault is far smaller than what lies between two ways to round a whole network."""
    one, other = found.outputs, golden.outputs
    if found.features is not None and golden.features is not None:
        one, other = found.features, golden.features
    distance = float(np.abs(one - other).mean()) if one.shape == other.shape else float("inf")
    return distance if np.isfinite(distance) else float("inf")


def _compared(
    title: str,
    runtime: str,
    found: npt.NDArray[np.floating[Any]] | None,
    expected: npt.NDArray[np.floating[Any]],
    tolerance: Tolerance,
) -> GoldenResult:
    largest = _largest(found, expected)
    # `not <=` also catches NaN.
    if found is None or not largest <= tolerance.largest:
        detail = f"differs by up to {largest:.4g}, allowed {tolerance.largest:.4g}"
        return GoldenResult(title, runtime, MOVED, largest, tolerance.largest, detail)
    mean = float(np.abs(found - expected).mean())
    if mean > tolerance.mean:
        detail = f"differs by {mean:.4g} on average, allowed {tolerance.mean:.4g}"
        return GoldenResult(title, runtime, MOVED, largest, tolerance.largest, detail)
    return GoldenResult(title, runtime, OK, largest, tolerance.largest)


def _largest(found: npt.NDArray[Any] | None, expected: npt.NDArray[Any]) -> float:
    if found is None or found.shape != expected.shape:
        return float("inf")
    return float(np.abs(found - expected).max(initial=0))


def _same_shape(found: npt.NDArray[Any] | None, expected: npt.NDArray[Any]) -> bool:
    return found is not None and found.shape == expected.shape


def _decision_result(
    name: str, runtime: str, found: Answer, golden: GoldenAnswer, cells: GoldenCells, rules: Rules
) -> list[GoldenResult]:
    """Compare probabilities and calls, where they are stored and the answer has their shape."""
    if golden.probabilities is None or golden.probability_tolerances is None:
        return []
    if not _same_shape(found.outputs, golden.answer.outputs):
        return []
    if golden.answer.features is not None and not _same_shape(found.features, golden.answer.features):
        return []
    seen = evidence_of(found, cells.areas_um2, cells.looks, rules, cells.numbers)
    differences = np.abs([one.probability for one in seen] - golden.probabilities)
    calls = [decide(evidence, rules).decision.value for evidence in seen]
    wrong = [
        f"golden cell {index} is called {call}, was {stored}"
        for index, (call, stored) in enumerate(zip(calls, golden.decisions, strict=True))
        if stored and call != stored
    ]
    far = ~(differences <= golden.probability_tolerances)
    if far.any():
        cell = int(np.argmax(np.where(far, differences, -1)))
        wrong.append(
            f"golden cell {cell} has probability {seen[cell].probability:.4f},"
            f" was {golden.probabilities[cell]:.4f}"
        )
    wrong += _kinds_moved(seen, golden)
    largest = int(np.argmax(differences - golden.probability_tolerances))
    return [
        GoldenResult(
            f"{name} decisions",
            runtime,
            MOVED if wrong else OK,
            float(differences[largest]),
            float(golden.probability_tolerances[largest]),
            "; ".join(wrong),
        )
    ]


def _kinds_moved(seen: Sequence[CellEvidence], golden: GoldenAnswer) -> list[str]:
    """Name the cell whose probabilities of kinds are furthest from those stored, if they are too far."""
    if golden.kinds is None or golden.kind_tolerances is None:
        return []
    found = np.array([[] if one.kinds is None else one.kinds for one in seen])
    if found.shape != golden.kinds.shape:
        return [f"{found.shape[1]} kinds are named, were {golden.kinds.shape[1]}"]
    differences = np.abs(found - golden.kinds)
    far = ~(differences <= golden.kind_tolerances)
    if not far.any():
        return []
    cell, kind = np.unravel_index(int(np.argmax(np.where(far, differences, -1))), far.shape)
    return [
        f"golden cell {cell} is of kind {kind + 1} with probability {found[cell, kind]:.4f},"
        f" was {golden.kinds[cell, kind]:.4f}"
    ]
