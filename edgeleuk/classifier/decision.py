"""What a cell is called, from its numbers alone: the temperature, the threshold, and when to abstain.

A cell is ``uncertain`` for one reason, the first that applies: its area, its colour, its sharpness, its
features, its probability.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgeleuk.bundle.heads import HAND_CRAFTED, kind_probabilities
from edgeleuk.errors import BundleError, UsageError
from edgeleuk.inference.log_odds import log_odds
from edgeleuk.results import Check, Decision, Prediction, reasons
from edgeleuk.results.kinds import LYMPHOID, Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from edgeleuk.bundle.features import FeatureStatistics
    from edgeleuk.bundle.forest import Forest
    from edgeleuk.bundle.heads import HeadAnswers, KernelHead
    from edgeleuk.bundle.manifest import (
        Abstain,
        Conformal,
        Envelope,
        KindContract,
        OutOfDistribution,
        OutputContract,
    )
    from edgeleuk.classifier.appearance import CellAppearance
    from edgeleuk.frames import CellCrop
    from edgeleuk.inference import Answer


_LEAST_P = 1e-9


class Doubt(NamedTuple):
    """Why a cell is ``uncertain``.

    Attributes
    ----------
    check : Check
    reason : str
        For people, with the figures.
    """

    check: Check
    reason: str


class CellEvidence(NamedTuple):
    """What is known of one cell when it is judged.

    Attributes
    ----------
    probability : float
        Calibrated, of the positive class.
    area_um2 : float
        Of the whole cell.
    look : CellAppearance or None
        None where nobody asks for it.
    distance : float or None
        Of the features; None where the network gives none.
    kinds : (K,) float64 or None
        Probability of each kind; None where the bundle has no head for them.
    kind_distance : float or None
        From the nearest cell that taught that head.
    """

    probability: float
    area_um2: float
    look: CellAppearance | None = None
    distance: float | None = None
    kinds: npt.NDArray[np.float64] | None = None
    kind_distance: float | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """All that a cell is judged by, once its numbers are known.

    Attributes
    ----------
    output : OutputContract
    envelope : Envelope
    gate : Gate, optional
    statistics : FeatureStatistics, optional
        Of the training cells' features; where the gate has a limit for them.
    abstain : str
        What makes a cell uncertain by its probability: ``band``, ``conformal`` or ``off``.
    forest : Forest, optional
        On the cell's plain numbers; where the output contract gives it a weight.
    kind : KindContract, optional
    kind_head : KernelHead, optional
        Names kinds; where there is a contract for it.
    blast_head : KernelHead, optional
        Its score takes the place of the network's output.

    Raises
    ------
    UsageError
        ``conformal`` is asked for where there are no conformal limits.
    BundleError
        The forest has a weight, or the kinds have a contract, and is not there.
    """

    output: OutputContract
    envelope: Envelope
    gate: OutOfDistribution | None = None
    statistics: FeatureStatistics | None = None
    abstain: Abstain = "band"
    forest: Forest | None = None
    kind: KindContract | None = None
    kind_head: KernelHead | None = None
    blast_head: KernelHead | None = None

    @property
    def wants_numbers(self) -> bool:
        """Whether a cell is judged by its hand-crafted features, too."""
        return any(one is not None for one in (self.forest, self.kind_head, self.blast_head))

    def __post_init__(self) -> None:
        if (self.kind is None) != (self.kind_head is None):
            raise BundleError("the head for kinds and its contract do not come together")
        if self.output.forest_weight and self.forest is None:
            raise BundleError("the network is to be joined by a forest, and there is none")
        if self.abstain == "conformal" and self.output.conformal is None:
            raise UsageError(
                "the bundle has no conformal limits",
                got="abstain = conformal",
                allowed="band, off",
                cure="pass --abstain band, or train and convert the network again",
            )


def probabilities_of(
    answer: Answer, rules: Rules, numbers: Sequence[npt.NDArray[np.float64]] | None
) -> npt.NDArray[np.float64]:
    """Return the (n,) probabilities of n cells from a network's answer and their (14,) numbers.

    Raises
    ------
    BundleError
        The answer's features are not those that the head for blasts judges.
    """
    of_forest, outputs = None, answer.outputs
    if rules.forest is not None and numbers is not None:
        of_forest = rules.forest.log_odds(numbers)
    if rules.blast_head is not None:
        outputs = answered_by(rules.blast_head, answer, numbers or []).scores.astype(np.float32)
    return calibrated(outputs, rules.output, of_forest)


def answered_by(head: KernelHead, answer: Answer, numbers: Sequence[npt.NDArray[np.float64]]) -> HeadAnswers:
    """Let a head judge n cells by a network's answer and their (14,) numbers.

    Raises
    ------
    BundleError
        The network does not give the features that the head judges.
    """
    of_cells = np.asarray(numbers, np.float32).reshape(-1, HAND_CRAFTED)
    features = np.empty((len(of_cells), 0), np.float32) if answer.features is None else answer.features
    if features.shape[1] != head.features:
        raise BundleError(
            "the network does not give the features that a head judges",
            got=f"{features.shape[1]} features",
            allowed=head.features,
            cure="teach the bundle again, or convert the network again",
        )
    return head.answer(np.hstack([features, of_cells]))


def calibrated(
    outputs: npt.ArrayLike, contract: OutputContract, forest: npt.ArrayLike | None = None
) -> npt.NDArray[np.float64]:
    """Turn outputs into probabilities: ``sigmoid(logit / temperature + forest_weight * forest + bias)``.

    Sources: Platt, "Probabilistic Outputs for Support Vector Machines", 1999; Guo et al., "On Calibration of
    Modern Neural Networks", ICML 2017, section 4.2.

    Parameters
    ----------
    outputs : (n,) or (n, K) array_like
        What the contract says; (n,) where that is one number.
    contract : OutputContract
    forest : (n,) array_like, optional
        Log odds of the forest, where the contract gives it a weight.

    Raises
    ------
    ValueError
        The forest has a weight and did not answer.

    Returns
    -------
    (n,) float64
    """
    joined = log_odds(outputs, contract) / contract.temperature + contract.bias
    if contract.forest_weight:
        if forest is None:
            msg = "expected the forest's log odds, for the contract gives them a weight; got none"
            raise ValueError(msg)
        joined = joined + contract.forest_weight * np.asarray(forest, np.float64)
    # tanh does not overflow where exp would.
    return 0.5 * (1 + np.tanh(joined / 2))


def evidence_of(
    answer: Answer,
    areas_um2: Sequence[float],
    looks: Sequence[CellAppearance | None],
    rules: Rules,
    numbers: Sequence[npt.NDArray[np.float64]] | None = None,
) -> list[CellEvidence]:
    """Put together what is known of n cells, from a network's answer and their measures.

    `numbers` are those of the cells, (14,) each, where the rules want them.

    Raises
    ------
    BundleError
        The answer's features are not those of the rules' statistics, or of the head for kinds.
    """
    probabilities = probabilities_of(answer, rules, numbers)
    distances: Sequence[float | None] = [None] * len(areas_um2)
    if rules.statistics is not None:
        distances = feature_distances(answer, rules.statistics)
    found = [
        CellEvidence(float(p), area, seen, distance)
        for p, area, seen, distance in zip(probabilities, areas_um2, looks, distances, strict=True)
    ]
    if rules.kind is None or rules.kind_head is None or numbers is None:
        return found
    answers = answered_by(rules.kind_head, answer, numbers)
    shares = kind_probabilities(answers.scores, rules.kind.sharpness)
    return [
        evidence._replace(kinds=row, kind_distance=float(distance))
        for evidence, row, distance in zip(found, shares, answers.distances, strict=True)
    ]


def decide(evidence: CellEvidence, rules: Rules) -> Prediction:
    """Name a cell's kind, if the bundle knows any; call a lymphoid one blast or normal.

    A cell is called by the threshold, or by its conformal set, unless something makes it uncertain.
    """
    kind = share = None
    if rules.kind is not None and evidence.kinds is not None:
        named = _named(evidence, rules.kind)
        if isinstance(named, Doubt):
            foreign = named.check is not Check.KIND
            return Prediction(Decision.UNCERTAIN, math.nan, named.reason, foreign=foreign)
        kind, share = named
        if kind not in LYMPHOID:
            return Prediction(Decision.OTHER, math.nan, kind=kind, kind_probability=share)
    probability = evidence.probability
    doubt = doubt_of(evidence, rules)
    if doubt is None:
        return replace(_called(probability, rules), kind=kind, kind_probability=share)
    foreign = doubt.check is not Check.PROBABILITY
    return Prediction(Decision.UNCERTAIN, probability, doubt.reason, foreign, kind, share)


def _named(evidence: CellEvidence, contract: KindContract) -> tuple[Kind, float] | Doubt:
    """Name a cell's kind, or say why it cannot be named."""
    assert evidence.kinds is not None
    order = np.argsort(-evidence.kinds)
    best, second = (contract.kinds[index] for index in order[:2])
    share = float(evidence.kinds[order[0]])
    # Lymphoid kinds may be hard to tell from each other; that a cell is one of them is what matters.
    lymphoid = math.fsum(
        float(p) for kind, p in zip(contract.kinds, evidence.kinds, strict=True) if kind in LYMPHOID
    )
    if best in LYMPHOID and lymphoid >= contract.least:
        # Whether it is like those that taught the head for blasts is asked of it next.
        return best, share
    return _unlike_kinds(evidence, contract, order[0]) or (
        (best, share)
        if share >= contract.least
        else Doubt(
            Check.KIND,
            f"{reasons.KIND} is {best.value} at {share:.2f} or {second.value} at"
            f" {evidence.kinds[order[1]]:.2f}, told from {contract.least:.2f} on",
        )
    )


def _unlike_kinds(evidence: CellEvidence, contract: KindContract, most: int) -> Doubt | None:
    """Ask whether the head for kinds was taught such cells at all; `most` is the most probable kind."""
    low, high = contract.area_um2
    if not low <= evidence.area_um2 <= high:
        return Doubt(
            Check.AREA,
            f"{reasons.AREA} {evidence.area_um2:.0f} um2 is outside that of all cells that taught the kinds,"
            f" {low:.0f} to {high:.0f}",
        )
    distance, limit = evidence.kind_distance, contract.distances[most]
    # `not <=` also catches NaN.
    if distance is None or not distance <= limit:
        return Doubt(
            Check.FEATURES,
            f"{reasons.FEATURES} are {math.nan if distance is None else distance:.2f} away from all cells"
            f" that taught the kinds, allowed {limit:.2f} of {contract.kinds[most].value}",
        )
    return None


def consensus(views: Sequence[Prediction], rules: Rules) -> Prediction:
    """Judge one cell from several views of it: by the mean of their log odds.

    The geometric mean of odds is what views of equal weight pool to (Satopaa et al., "Combining multiple
    probability predictions using a simple logit model", International Journal of Forecasting 30, 2014).

    Parameters
    ----------
    views : sequence of Prediction
        At least one, the best focused first. One without a probability (no scale) has no say beside others.
    rules : Rules

    Returns
    -------
    Prediction
        One view's own, if there is but one; foreign if most views are, or half of them with the first.
    """
    views = _of_one_kind(views)
    known = [view for view in views if not math.isnan(view.probability)]
    if len(known) < 2:
        return (known or views)[0]
    foreign = [view for view in known if view.foreign]
    if 2 * len(foreign) > len(known) or (2 * len(foreign) == len(known) and known[0].foreign):
        return foreign[0]
    own_views = [view for view in known if not view.foreign]
    own, first = [view.probability for view in own_views], own_views[0]
    share = first.kind_probability
    # 1 and 0 are as sure as float64 can be, not infinitely sure.
    odds = [math.log(p / (1 - p)) for p in (min(max(p, _LEAST_P), 1 - _LEAST_P) for p in own)]
    probability = 0.5 * (1 + math.tanh(math.fsum(odds) / len(odds) / 2))
    doubt = _undecided(probability, rules.output, rules.abstain)
    if doubt is not None:
        return Prediction(
            Decision.UNCERTAIN, probability, doubt.reason, kind=first.kind, kind_probability=share
        )
    return replace(_called(probability, rules), kind=first.kind, kind_probability=share)


def _of_one_kind(views: Sequence[Prediction]) -> Sequence[Prediction]:
    """Keep the views that agree on a cell's kind, that of the largest sum of probabilities.

    Lymphoid kinds count as one. Views without a kind are left out, where there are others.
    """
    told: dict[Kind, float] = {}
    for view in views:
        if view.kind is not None:
            group = _group_of(view.kind)
            told[group] = told.get(group, 0.0) + (view.kind_probability or 0.0)
    if not told:
        return views
    most = max(told, key=lambda kind: told[kind])
    return [view for view in views if view.kind is not None and _group_of(view.kind) is most]


def _group_of(kind: Kind) -> Kind:
    return Kind.LYMPHOCYTE if kind in LYMPHOID else kind


def doubt_of(evidence: CellEvidence, rules: Rules) -> Doubt | None:
    """Return the first reason for which a cell is uncertain; None where it can be called."""
    return _foreign(evidence, rules) or _undecided(evidence.probability, rules.output, rules.abstain)


def _called(probability: float, rules: Rules) -> Prediction:
    """Call a cell that nothing makes uncertain."""
    output = rules.output
    if rules.abstain == "conformal" and output.conformal is not None:
        # Nothing was doubted, so that the set holds one class.
        positive = _conformal_set(probability, output.conformal)[1]
    else:
        positive = probability >= output.threshold
    return Prediction(Decision.BLAST if positive else Decision.NORMAL, probability)


def area_um2(crop: CellCrop) -> float:
    """Return the area of the cell in square micrometres."""
    return int(np.count_nonzero(crop.mask)) / crop.px_per_um**2


def _foreign(evidence: CellEvidence, rules: Rules) -> Doubt | None:
    """Ask whether the network was trained on such cells at all."""
    low, high = rules.envelope.area_um2
    if not low <= evidence.area_um2 <= high:
        return Doubt(
            Check.AREA,
            f"{reasons.AREA} {evidence.area_um2:.0f} um2 is outside the training cells'"
            f" {low:.0f} to {high:.0f}",
        )
    gate = rules.gate
    if gate is None:
        return None
    if evidence.look is not None:
        for name, title, check in _LOOKS:
            low, high = getattr(gate.appearance, name)
            value = getattr(evidence.look, name)
            if not low <= value <= high:
                return Doubt(
                    check, f"{title} {value:.2f} is outside the training cells' {low:.2f} to {high:.2f}"
                )
    if gate.features is not None and evidence.distance is not None:
        limit = gate.features.limit
        # `not <=` also catches NaN.
        if not evidence.distance <= limit:
            return Doubt(
                Check.FEATURES,
                f"{reasons.FEATURES} are {evidence.distance:.2f} away from the training cells',"
                f" allowed {limit:.2f}",
            )
    return None


_LOOKS = (
    ("red_to_green", f"{reasons.COLOUR} red/green", Check.COLOUR),
    ("blue_to_green", f"{reasons.COLOUR} blue/green", Check.COLOUR),
    ("red_to_blue", f"{reasons.COLOUR} red/blue", Check.COLOUR),
    ("sharpness", reasons.SHARPNESS, Check.SHARPNESS),
)


def _undecided(probability: float, output: OutputContract, abstain: Abstain) -> Doubt | None:
    """Ask whether the probability is clear enough."""
    low, high = output.abstain
    if abstain == "band" and low < probability < high:
        return Doubt(Check.PROBABILITY, f"{reasons.BETWEEN} {low:.2f} and {high:.2f}")
    if abstain == "conformal" and output.conformal is not None:
        inside = _conformal_set(probability, output.conformal)
        if inside[0] == inside[1]:
            named = reasons.BOTH_CLASSES if inside[0] else reasons.NO_CLASS
            share = 1 - output.conformal.alpha
            return Doubt(
                Check.PROBABILITY,
                f"{named} in the {share:.0%} conformal set at probability {probability:.2f}",
            )
    return None


def _conformal_set(probability: float, conformal: Conformal) -> tuple[bool, bool]:
    """Tell whether the negative and the positive class are in the set."""
    negative, positive = conformal.limits
    return probability <= negative, 1 - probability <= positive


def feature_distances(answer: Answer, statistics: FeatureStatistics) -> list[float]:
    """Return how far each cell's features lie from the training cells'.

    Raises
    ------
    BundleError
        The network gives no features, or others than the statistics are of.
    """
    features = answer.features
    width = 0 if features is None else features.shape[1]
    if features is None or width != statistics.mean.size:
        raise BundleError(
            "the network does not give the features that the bundle has statistics of",
            got=f"{width} features",
            allowed=statistics.mean.size,
            cure="convert the network again",
        )
    distances: list[float] = statistics.distance(features).tolist()
    return distances
