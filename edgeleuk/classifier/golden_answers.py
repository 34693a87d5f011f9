"""What comes of a network's answers to the golden cells: probabilities, calls, and how far they may differ.

The workstation makes golden vectors of networks; a device makes them anew where a bundle gets new heads: the
trunk answers as before, and what is made of its features is computed again.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.bundle.contracts import Answer
from edgeleuk.bundle.golden import (
    GoldenAnswer,
    GoldenVectors,
    MadeWith,
    Tolerance,
    decode_golden,
    encode_golden,
)
from edgeleuk.bundle.heads import kind_probabilities
from edgeleuk.bundle.manifest import BLAST, FEATURES, FOREST, GOLDEN, KIND, LABELS, MODEL_FILES, SUPPORT
from edgeleuk.classifier.appearance import CellAppearance
from edgeleuk.classifier.decision import answered_by, calibrated, decide, evidence_of
from edgeleuk.classifier.golden_cells import FOREST_TOLERANCE, measure_golden

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from edgeleuk.bundle.contents import Bundle
    from edgeleuk.bundle.heads import HeadAnswers, KernelHead
    from edgeleuk.bundle.manifest import InputContract
    from edgeleuk.classifier.decision import CellEvidence, Rules
    from edgeleuk.classifier.golden_cells import GoldenCells

    Floats = npt.NDArray[np.float64]
    # (K,) probabilities of kinds, and the distance from the nearest cell that taught them.
    Named = tuple[Floats | None, float | None]

# All that answers hang on, beside the contracts.
GIVES_ANSWERS = frozenset({*MODEL_FILES, BLAST, FOREST, FEATURES, KIND, LABELS, SUPPORT})
# Colour, sharpness and distance of a golden cell have to be this far from their limits to fix its call.
CALL_MARGIN = 0.03
# Directions in which the features that a head judges are moved.
_DRAWS = 8
# Single features may differ by the largest tolerance; all of them, by this part of it, as pooled ones do from
# kernel to kernel. Float networks' differ by far less than 0.001.
_OF_LARGEST, _OF_FLOAT = 1 / 25, 1e-3
_HEADROOM = 1.5
# By so much of their spread hand-crafted features may move: OpenCV's colours and blurs differ in their last
# bits from machine to machine.
NUMBERS_TOLERANCE = 0.01
# float32 sums of a head come out differently in their last bits.
LEAST_MOVE = 1e-5


def golden_answer(
    answer: Answer, cells: GoldenCells, rules: Rules, outputs: Tolerance, features: Tolerance
) -> GoldenAnswer:
    """Store an answer with the probabilities and the calls that come of it.

    Parameters
    ----------
    answer : Answer
    cells : GoldenCells
    rules : Rules
    outputs, features : Tolerance
        Of the answer, in its units.

    Returns
    -------
    GoldenAnswer
        Without the calls that a difference within the tolerances could change.

    Raises
    ------
    BundleError
        The answer's features are not those that the rules' heads or statistics are of.
    """
    seen = evidence_of(answer, cells.areas_um2, cells.looks, rules, cells.numbers)
    probabilities = np.array([evidence.probability for evidence in seen])
    low, high = _extremes(answer, cells, rules, outputs, features)
    named = _named_within(answer, cells, rules, features)
    calls = []
    for index, evidence in enumerate(seen):
        of_cell: list[Named] = [(shares[index], float(away[index])) for shares, away in named]
        of_cell = of_cell or [(None, None)]
        around = {
            decide(_off_by(evidence, float(probability), factor, kinds), rules).decision.value
            for probability in (low[index], probabilities[index], high[index])
            for factor in (1 - CALL_MARGIN, 1.0, 1 + CALL_MARGIN)
            for kinds in of_cell
        }
        calls.append(around.pop() if len(around) == 1 else "")
    return GoldenAnswer(
        answer,
        outputs,
        features,
        probabilities,
        # The last bits of exp and log are each machine's own.
        np.maximum(high - probabilities, probabilities - low) + 1e-9,
        tuple(calls),
        *_kinds_within([shares for shares, _ in named]),
    )


def made_with(members: Mapping[str, bytes], contract: InputContract, rules: Rules) -> MadeWith:
    """Tell what golden answers are made with, so that the self-test can name what is no longer the same."""
    return MadeWith(
        input=contract,
        output=rules.output,
        envelope=rules.envelope,
        gate=rules.gate,
        kind=rules.kind,
        members={
            name: hashlib.sha256(members[name]).hexdigest() for name in sorted(GIVES_ANSWERS & members.keys())
        },
    )


def golden_anew(bundle: Bundle, members: Mapping[str, bytes], rules: Rules) -> bytes:
    """Return ``golden.npz`` of a bundle with other heads: cells, tensors and features stay as they are.

    Parameters
    ----------
    bundle : Bundle
        As it was.
    members : mapping of str to bytes
        Its networks as they were, and what judges their features from now on.
    rules : Rules
        Made of these members.

    Returns
    -------
    bytes
        The same for the same bundle, members and rules.

    Raises
    ------
    BundleError
        The stored answers have no features, or others than the heads judge.
    """
    rules = replace(rules, abstain="band")
    stored, contract = decode_golden(bundle.members[GOLDEN]), bundle.manifest.input
    cells = measure_golden(stored, contract, rules)
    log_odds = None
    if rules.forest is not None and cells.numbers is not None:
        log_odds = rules.forest.log_odds(cells.numbers)
    # What judged the pooled features is gone: then the network's output is 0.
    is_map = SUPPORT in bundle.members and SUPPORT not in members
    networks = {
        name: {
            kernel: _judged_again(golden, cells, rules, is_map=is_map) for kernel, golden in kernels.items()
        }
        for name, kernels in stored.networks.items()
    }
    return encode_golden(
        GoldenVectors(stored.crops, stored.tensors, networks, log_odds, made_with(members, contract, rules))
    )


def _judged_again(golden: GoldenAnswer, cells: GoldenCells, rules: Rules, *, is_map: bool) -> GoldenAnswer:
    answer, outputs = golden.answer, golden.outputs
    if is_map and answer.features is not None:
        answer = Answer(np.zeros((len(answer.features), 1), np.float32), answer.features)
        outputs = Tolerance(0.0, 0.0)
    return golden_answer(answer, cells, rules, outputs, golden.features)


def _extremes(
    answer: Answer, cells: GoldenCells, rules: Rules, outputs: Tolerance, features: Tolerance
) -> tuple[Floats, Floats]:
    """Return the least and the greatest probability of each cell that the tolerances leave room for."""
    found = answer.outputs.astype(np.float64)
    within = np.full(len(found), outputs.largest)
    if rules.blast_head is not None:
        found, *moved = [one.scores for one in _moved(rules.blast_head, answer, cells, features)]
        within = np.maximum(np.abs(np.array(moved) - found).max(axis=(0, 2)), LEAST_MOVE)
    log_odds = None
    if rules.forest is not None and cells.numbers is not None:
        log_odds = rules.forest.log_odds(cells.numbers)
    reached = []
    for column in range(found.shape[1]):
        # One class goes one way while all others go the other.
        for sign in (-1, 1):
            ends = found - sign * within[:, None]
            ends[:, column] += 2 * sign * within
            reached += [
                calibrated(
                    ends[:, 0] if ends.shape[1] == 1 else ends,
                    rules.output,
                    None if log_odds is None else log_odds + by,
                )
                for by in (-FOREST_TOLERANCE, FOREST_TOLERANCE)
            ]
    return np.min(reached, axis=0), np.max(reached, axis=0)


def _named_within(
    answer: Answer, cells: GoldenCells, rules: Rules, features: Tolerance
) -> list[tuple[Floats, Floats]]:
    """Return (n, K) kinds and (n,) distances, then those that the features' tolerances leave room for."""
    if rules.kind is None or rules.kind_head is None:
        return []
    return [
        (kind_probabilities(one.scores, rules.kind.sharpness), one.distances)
        for one in _moved(rules.kind_head, answer, cells, features)
    ]


def _kinds_within(ways: list[Floats]) -> tuple[Floats | None, Floats | None]:
    if not ways:
        return None, None
    kinds, *moved = ways
    tolerances = np.maximum(np.abs(np.array(moved) - kinds).max(axis=0), LEAST_MOVE)
    return kinds, np.minimum(tolerances, 1.0)


def _moved(head: KernelHead, answer: Answer, cells: GoldenCells, features: Tolerance) -> list[HeadAnswers]:
    """Let a head judge the golden cells, then again with what it judges moved within its tolerances."""
    said, numbers = [answered_by(head, answer, cells.numbers or ())], np.array(cells.numbers or ())
    found = np.empty((len(numbers), 0), np.float32) if answer.features is None else answer.features
    largest = features.largest
    by = np.float32(_HEADROOM * max(_OF_LARGEST * largest, min(largest, _OF_FLOAT)))
    numbers_by = NUMBERS_TOLERANCE * head.deviation[head.features :]
    rng = np.random.default_rng(0)
    for _ in range(_DRAWS):
        signs, number_signs = (rng.choice((-1, 1), of.shape) for of in (found, numbers))
        near = Answer(answer.outputs, (found + signs * by).astype(np.float32))
        said.append(answered_by(head, near, list(numbers + number_signs * numbers_by)))
    return said


def _off_by(evidence: CellEvidence, probability: float, factor: float, named: Named) -> CellEvidence:
    look, distance = evidence.look, evidence.distance
    kinds, kind_distance = named
    return evidence._replace(
        probability=probability,
        look=None if look is None else CellAppearance(*(value * factor for value in look)),
        distance=None if distance is None else distance * factor,
        kinds=kinds,
        kind_distance=None if kind_distance is None else kind_distance * factor,
    )
