"""Crops become decisions: the network, the temperature, the threshold, and when to abstain.

A cell is ``uncertain`` for one reason, the first that applies: its area, its colour, its sharpness, its
features, its probability.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgeleuk.bundle.acceptance import refuse_rejected
from edgeleuk.bundle.features import decode_features
from edgeleuk.bundle.forest import decode_forest
from edgeleuk.bundle.manifest import FEATURES, FOREST, MODEL_FILES, SUPPORT
from edgeleuk.bundle.support_vectors import decode_support
from edgeleuk.classifier.appearance import appearance_of
from edgeleuk.classifier.cell_features import numbers_of
from edgeleuk.errors import BundleError, UsageError
from edgeleuk.inference import Answer, open_runtime
from edgeleuk.inference.log_odds import log_odds
from edgeleuk.inference.pooled import PooledRuntime
from edgeleuk.inference.preprocessing import cell_and_tensor
from edgeleuk.io.closing import Closing
from edgeleuk.results import Check, Decision, Prediction
from edgeleuk.vision.crops import crop_cell, crop_with_surroundings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from edgeleuk.bundle.contents import Bundle
    from edgeleuk.bundle.features import FeatureStatistics
    from edgeleuk.bundle.forest import Forest
    from edgeleuk.bundle.manifest import (
        Abstain,
        Conformal,
        Envelope,
        InputContract,
        Manifest,
        OutOfDistribution,
        OutputContract,
    )
    from edgeleuk.classifier.appearance import CellAppearance
    from edgeleuk.frames import Cell, CellCrop, RgbImage
    from edgeleuk.inference import ModelRuntime
    from edgeleuk.inference.preprocessing import ScaledCell


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
    """

    probability: float
    area_um2: float
    look: CellAppearance | None = None
    distance: float | None = None


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

    Raises
    ------
    UsageError
        ``conformal`` is asked for where there are no conformal limits.
    BundleError
        The forest has a weight and is not there.
    """

    output: OutputContract
    envelope: Envelope
    gate: OutOfDistribution | None = None
    statistics: FeatureStatistics | None = None
    abstain: Abstain = "band"
    forest: Forest | None = None

    def __post_init__(self) -> None:
        if self.output.forest_weight and self.forest is None:
            raise BundleError("the network is to be joined by a forest, and there is none")
        if self.abstain == "conformal" and self.output.conformal is None:
            raise UsageError(
                "the bundle has no conformal limits",
                got="abstain = conformal",
                allowed="band, off",
                cure="pass --abstain band, or train and convert the network again",
            )


class Classifier(Closing):
    """A network with the contracts it was packed with.

    Parameters
    ----------
    runtime : ModelRuntime
    manifest : Manifest
    rules : Rules

    Raises
    ------
    BundleError
        The network's answer has another width than the output contract's, or its features are not those of
        the statistics.
    """

    def __init__(
        self,
        runtime: ModelRuntime,
        manifest: Manifest,
        rules: Rules,
    ) -> None:
        self.runtime = runtime
        # One is enough: the network takes longer than all the rest.
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="beside-the-network")
        self.manifest = manifest
        self.rules = rules
        # Asked of no cell, so that a network of another bundle is refused when it is opened.
        answer = runtime.predict(np.empty((0, *manifest.input.shape), np.uint8))
        if (width := answer.outputs.shape[1]) != rules.output.width:
            raise BundleError(
                "the network's answer does not fit the manifest",
                got=f"{width} numbers",
                allowed=f"{rules.output.width} as {rules.output.kind}",
                cure="convert the network again",
            )
        if rules.statistics is not None:
            _distances(answer, rules.statistics)

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
        cells, answer = self._answered(crops)
        seen = evidence_of(
            answer,
            [cell.area_um2 for cell in cells],
            [cell.look for cell in cells],
            self.rules,
            _numbers(cells),
        )
        return [decide(sighting, self.rules) for sighting in seen]

    def crop(self, pixels: RgbImage, cell: Cell, px_per_um: float) -> CellCrop:
        """Cut a cell out of its field as the network wants to see it: alone, or with what is around it."""
        contract = self.manifest.input
        if contract.surroundings == "black":
            return crop_cell(pixels, cell, px_per_um)
        height, width = contract.picture_px or (0, 0)
        size_um = height / contract.crop_px_per_um, width / contract.crop_px_per_um
        return crop_with_surroundings(pixels, cell, px_per_um, size_um)

    def consensus(self, views: Sequence[Prediction]) -> Prediction:
        """Judge one cell from several views of it, the best focused first; see `consensus`."""
        return consensus(views, self.rules)

    def probabilities(self, crops: Sequence[CellCrop]) -> npt.NDArray[np.float64]:
        """Return the (n,) calibrated probabilities of the positive class."""
        if not crops:
            return np.empty(0)
        cells, answer = self._answered(crops)
        return probabilities_of(answer.outputs, self.rules, _numbers(cells))

    def close(self) -> None:
        """Free the network."""
        self._aside.shutdown()
        self.runtime.close()

    def _answered(self, crops: Sequence[CellCrop]) -> tuple[list[_Measured], Answer]:
        """Run the network on each crop; all else is done on a thread of its own while it runs."""
        network, judge = _parts(self.runtime)
        cells, answers = [], []
        ready = self._aside.submit(self._ready, crops[0])
        for index, crop in enumerate(crops):
            cell, tensor = ready.result()
            # The next tensor comes first, so that the network never waits for what only the judgement needs.
            if index + 1 < len(crops):
                ready = self._aside.submit(self._ready, crops[index + 1])
            cells.append(self._aside.submit(self._measured, crop, cell))
            answers.append(self._aside.submit(judge, network.predict(tensor), tensor))
        return [cell.result() for cell in cells], Answer.stacked([answer.result() for answer in answers])

    def _ready(self, crop: CellCrop) -> tuple[ScaledCell, npt.NDArray[np.uint8]]:
        """Return a cell at the network's scale, and what the network wants of it, (1, H, W, C)."""
        cell, tensor = cell_and_tensor(crop, self.manifest.input)
        return cell, tensor[None]

    def _measured(self, crop: CellCrop, cell: ScaledCell) -> _Measured:
        """Return what gate and forest want of a crop."""
        return _Measured(
            area_um2(crop),
            appearance_of(cell) if self.rules.gate else None,
            None if self.rules.forest is None else numbers_of(cell, self.manifest.input.px_per_um),
        )


class _Measured(NamedTuple):
    """A crop as the gate and the forest see it."""

    area_um2: float
    look: CellAppearance | None
    numbers: npt.NDArray[np.float64] | None


def _parts(
    runtime: ModelRuntime,
) -> tuple[ModelRuntime, Callable[[Answer, npt.NDArray[np.uint8]], Answer]]:
    """Return the network itself, and what is then made of its answer to some tensors."""
    if isinstance(runtime, PooledRuntime):
        return runtime.network, runtime.judge
    return runtime, lambda answer, _: answer


def _numbers(cells: Sequence[_Measured]) -> list[npt.NDArray[np.float64]] | None:
    numbers = [cell.numbers for cell in cells if cell.numbers is not None]
    return numbers or None


def open_classifier(
    bundle: Bundle,
    *,
    runtime: str = "litert",
    precision: str = "int8",
    threads: int = 1,
    abstain: Abstain = "band",
) -> Classifier:
    """Load one of a bundle's networks for use.

    Raises
    ------
    GateFailedError
        The bundle was rejected when it was made.
    UsageError, BundleError, MissingDependencyError
        As in `open_runtime`, `Bundle.model_name` and `Rules`.
    """
    refuse_rejected(bundle)
    name, manifest = bundle.model_name(runtime, precision), bundle.manifest
    rules = bundle_rules(bundle, abstain)
    network = open_network(bundle.members, name, manifest.input, threads=threads)
    try:
        return Classifier(network, manifest, rules)
    except BaseException:
        network.close()
        raise


def bundle_rules(bundle: Bundle, abstain: Abstain = "band") -> Rules:
    """Return what a bundle judges cells by."""
    manifest = bundle.manifest
    features = manifest.gate is not None and manifest.gate.features is not None
    statistics = decode_features(bundle.members[FEATURES]) if features else None
    forest = decode_forest(bundle.members[FOREST]) if manifest.output.forest_weight else None
    return Rules(manifest.output, manifest.envelope, manifest.gate, statistics, abstain, forest)


class OpenNetworks(dict[str, "ModelRuntime"], Closing):
    """Networks by their keys (``reference``, ``tflite_int8``, ...); closed together."""

    def close(self) -> None:
        """Free them all."""
        for network in self.values():
            network.close()


def open_networks(members: Mapping[str, bytes], contract: InputContract, *, threads: int = 1) -> OpenNetworks:
    """Load every network among a bundle's members, by its key (``reference``, ``tflite_int8``, ...)."""
    opened = OpenNetworks()
    try:
        for name, model in MODEL_FILES.items():
            if name in members:
                opened[model.key] = open_network(members, name, contract, threads=threads)
    except BaseException:
        opened.close()
        raise
    return opened


def open_network(
    members: Mapping[str, bytes], name: str, contract: InputContract, *, threads: int = 1
) -> ModelRuntime:
    """Load one network of a bundle's members, with the support vectors that judge its map, if there are any.

    Raises
    ------
    BundleError, MissingDependencyError, UsageError
        As in `open_runtime` and `PooledRuntime`.
    """
    network = open_runtime(MODEL_FILES[name].runtime, members[name], contract, threads=threads)
    if SUPPORT not in members:
        return network
    try:
        return PooledRuntime(network, decode_support(members[SUPPORT]), contract)
    except BaseException:
        network.close()
        raise


def probabilities_of(
    outputs: npt.NDArray[np.float32], rules: Rules, numbers: Sequence[npt.NDArray[np.float64]] | None
) -> npt.NDArray[np.float64]:
    """Return the (n,) probabilities of n cells from a network's (n, K) outputs and their (14,) numbers."""
    of_forest = None
    if rules.forest is not None and numbers is not None:
        of_forest = rules.forest.log_odds(numbers)
    return calibrated(outputs, rules.output, of_forest)


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

    `numbers` are those of the cells, (14,) each, where the rules have a forest.

    Raises
    ------
    BundleError
        The answer's features are not those of the rules' statistics.
    """
    probabilities = probabilities_of(answer.outputs, rules, numbers)
    distances: Sequence[float | None] = [None] * len(areas_um2)
    if rules.statistics is not None:
        distances = _distances(answer, rules.statistics)
    return [
        CellEvidence(float(p), area, seen, distance)
        for p, area, seen, distance in zip(probabilities, areas_um2, looks, distances, strict=True)
    ]


def decide(sighting: CellEvidence, rules: Rules) -> Prediction:
    """Call a cell by the threshold, or by its conformal set, unless something makes it uncertain."""
    probability = sighting.probability
    doubt = doubt_of(sighting, rules)
    if doubt is not None:
        foreign = doubt.check is not Check.PROBABILITY
        return Prediction(Decision.UNCERTAIN, probability, doubt.reason, foreign=foreign)
    return _called(probability, rules)


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
    known = [view for view in views if not math.isnan(view.probability)]
    if len(known) < 2:
        return (known or views)[0]
    foreign = [view for view in known if view.foreign]
    if 2 * len(foreign) > len(known) or (2 * len(foreign) == len(known) and known[0].foreign):
        return foreign[0]
    own = [view.probability for view in known if not view.foreign]
    # 1 and 0 are as sure as float64 can be, not infinitely sure.
    odds = [math.log(p / (1 - p)) for p in (min(max(p, _LEAST_P), 1 - _LEAST_P) for p in own)]
    probability = 0.5 * (1 + math.tanh(math.fsum(odds) / len(odds) / 2))
    doubt = _undecided(probability, rules.output, rules.abstain)
    if doubt is not None:
        return Prediction(Decision.UNCERTAIN, probability, doubt.reason)
    return _called(probability, rules)


def doubt_of(sighting: CellEvidence, rules: Rules) -> Doubt | None:
    """Return the first reason for which a cell is uncertain; None where it can be called."""
    return _foreign(sighting, rules) or _undecided(sighting.probability, rules.output, rules.abstain)


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


def _foreign(sighting: CellEvidence, rules: Rules) -> Doubt | None:
    """Ask whether the network was trained on such cells at all."""
    low, high = rules.envelope.area_um2
    if not low <= sighting.area_um2 <= high:
        return Doubt(
            Check.AREA,
            f"area {sighting.area_um2:.0f} um2 is outside the training cells' {low:.0f} to {high:.0f}",
        )
    gate = rules.gate
    if gate is None:
        return None
    if sighting.look is not None:
        for name, title, check in _LOOKS:
            low, high = getattr(gate.appearance, name)
            value = getattr(sighting.look, name)
            if not low <= value <= high:
                return Doubt(
                    check, f"{title} {value:.2f} is outside the training cells' {low:.2f} to {high:.2f}"
                )
    if gate.features is not None and sighting.distance is not None:
        limit = gate.features.limit
        # `not <=` also catches NaN.
        if not sighting.distance <= limit:
            return Doubt(
                Check.FEATURES,
                f"features are {sighting.distance:.2f} away from the training cells', allowed {limit:.2f}",
            )
    return None


_LOOKS = (
    ("red_to_green", "colour: red/green", Check.COLOUR),
    ("blue_to_green", "colour: blue/green", Check.COLOUR),
    ("red_to_blue", "colour: red/blue", Check.COLOUR),
    ("sharpness", "sharpness", Check.SHARPNESS),
)


def _undecided(probability: float, output: OutputContract, abstain: Abstain) -> Doubt | None:
    """Ask whether the probability is clear enough."""
    low, high = output.abstain
    if abstain == "band" and low < probability < high:
        return Doubt(Check.PROBABILITY, f"probability between {low:.2f} and {high:.2f}")
    if abstain == "conformal" and output.conformal is not None:
        inside = _conformal_set(probability, output.conformal)
        if inside[0] == inside[1]:
            named = "both classes are" if inside[0] else "no class is"
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


def _distances(answer: Answer, statistics: FeatureStatistics) -> list[float]:
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
