"""Decisions: which check doubts a cell, in which order, with which words; and what is refused."""

from __future__ import annotations

import math
from contextlib import closing
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from edgeleuk.bundle.features import FeatureStatistics
from edgeleuk.bundle.forest import Forest
from edgeleuk.bundle.golden import golden_crops_of
from edgeleuk.bundle.manifest import (
    Appearance,
    Conformal,
    Envelope,
    FeatureLimit,
    OutOfDistribution,
    OutputContract,
)
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.classifier.appearance import CellAppearance
from edgeleuk.classifier.classifier import Classifier, open_classifier
from edgeleuk.classifier.decision import CellEvidence, Rules, calibrated, decide, doubt_of, probabilities_of
from edgeleuk.errors import BundleError, UsageError
from edgeleuk.inference import Answer
from edgeleuk.results import Check, Decision, check_of

if TYPE_CHECKING:
    import numpy.typing as npt

OUTPUT = OutputContract(
    kind="logit",
    threshold=0.5,
    abstain=(0.4, 0.6),
    conformal=Conformal(alpha=0.1, limits=(0.7, 0.5), subjects=(20, 20)),
)
GATE = OutOfDistribution(
    appearance=Appearance(
        red_to_green=(1.8, 3.1), blue_to_green=(1.8, 3.8), red_to_blue=(0.7, 1.0), sharpness=(0.25, 0.95)
    ),
    features=FeatureLimit(limit=1.5, cells=1000, subjects=40),
)
RULES = Rules(OUTPUT, Envelope(area_um2=(40, 170)), GATE)
USUAL = CellEvidence(0.9, 100, CellAppearance(2.4, 2.8, 0.86, 0.5), 1.0)
ODD = USUAL._replace
LOOK = CellAppearance(2.4, 2.8, 0.86, 0.5)._replace

# In the order in which they are asked: each of these also fails every later check.
FEATURES = ODD(distance=3.0, probability=0.5)
SHARPNESS = FEATURES._replace(look=LOOK(sharpness=0.1))
COLOUR = SHARPNESS._replace(look=LOOK(red_to_blue=1.2, sharpness=0.1))
AREA = COLOUR._replace(area_um2=20)
DOUBTS = [
    (AREA, Check.AREA, "area 20 um2 is outside the training cells' 40 to 170"),
    (COLOUR, Check.COLOUR, "colour: red/blue 1.20 is outside the training cells' 0.70 to 1.00"),
    (
        ODD(look=LOOK(red_to_green=1.1)),
        Check.COLOUR,
        "colour: red/green 1.10 is outside the training cells' 1.80 to 3.10",
    ),
    (
        ODD(look=LOOK(blue_to_green=1.0)),
        Check.COLOUR,
        "colour: blue/green 1.00 is outside the training cells' 1.80 to 3.80",
    ),
    (SHARPNESS, Check.SHARPNESS, "sharpness 0.10 is outside the training cells' 0.25 to 0.95"),
    (FEATURES, Check.FEATURES, "features are 3.00 away from the training cells', allowed 1.50"),
    (ODD(distance=math.nan), Check.FEATURES, "features are nan away from the training cells', allowed 1.50"),
    (ODD(probability=0.5), Check.PROBABILITY, "probability between 0.40 and 0.60"),
]


@pytest.mark.parametrize(("evidence", "check", "reason"), DOUBTS)
def test_the_first_check_that_doubts_names_itself(evidence: CellEvidence, check: Check, reason: str) -> None:
    assert doubt_of(evidence, RULES) == (check, reason)
    prediction = decide(evidence, RULES)
    assert (prediction.decision, prediction.probability) == (Decision.UNCERTAIN, evidence.probability)
    assert prediction.reason == reason
    # What is recorded tells the check again.
    assert check_of(reason) is check


@pytest.mark.parametrize(
    ("abstain", "probability", "decision"),
    [
        ("band", 0.4, Decision.NORMAL),
        ("band", 0.41, Decision.UNCERTAIN),
        ("band", 0.59, Decision.UNCERTAIN),
        ("band", 0.6, Decision.BLAST),
        ("off", 0.49, Decision.NORMAL),
        ("off", 0.5, Decision.BLAST),
        ("conformal", 0.49, Decision.NORMAL),
        ("conformal", 0.5, Decision.UNCERTAIN),
        ("conformal", 0.7, Decision.UNCERTAIN),
        ("conformal", 0.71, Decision.BLAST),
    ],
)
def test_a_probability_is_called(abstain: str, probability: float, decision: Decision) -> None:
    rules = Rules(OUTPUT, RULES.envelope, GATE, abstain=abstain)  # type: ignore[arg-type]
    assert decide(ODD(probability=probability), rules).decision is decision


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ((0.7, 0.5), "both classes are in the 90% conformal set at probability 0.60"),
        ((0.4, 0.3), "no class is in the 90% conformal set at probability 0.60"),
    ],
)
def test_a_set_of_both_or_of_none_is_uncertain(limits: tuple[float, float], reason: str) -> None:
    conformal = Conformal(alpha=0.1, limits=limits, subjects=(20, 20))
    rules = Rules(
        msgspec.structs.replace(OUTPUT, conformal=conformal), RULES.envelope, GATE, abstain="conformal"
    )
    assert decide(ODD(probability=0.6), rules).reason == reason


def test_foreign_cells_stay_uncertain_whatever_is_asked_of_the_probability() -> None:
    rules = Rules(OUTPUT, RULES.envelope, GATE, abstain="off")
    assert decide(COLOUR, rules).decision is Decision.UNCERTAIN


def test_a_bundle_without_a_gate_asks_for_the_area_alone() -> None:
    rules = Rules(OUTPUT, RULES.envelope)
    assert decide(ODD(look=None, distance=None), rules).decision is Decision.BLAST
    assert decide(AREA, rules).decision is Decision.UNCERTAIN


@pytest.mark.parametrize(
    ("temperature", "bias", "expected"), [(1, 0, 0.5), (2, 1, 0.7310585786), (0.5, -1000 / 100, 0.0000453979)]
)
def test_the_bias_is_added_after_the_temperature(temperature: float, bias: float, expected: float) -> None:
    contract = OutputContract(kind="logit", temperature=temperature, bias=bias)
    assert calibrated([0.0], contract)[0] == pytest.approx(expected)
    assert calibrated([2.0], contract)[0] == pytest.approx(1 / (1 + math.exp(-(2 / temperature + bias))))


def stump() -> Forest:
    """Answer log odds of 1 for cells of more than e^4 um2, else -1."""
    share = 1 / (1 + math.exp(-1))
    return Forest(
        np.array([0, -1, -1], np.int16), np.array([4.0, 0, 0]), np.array([1, -1, -1], np.int32),
        np.array([2, -1, -1], np.int32), np.array([0, 1 - share, share], np.float32), np.zeros(1, np.int32),
    )  # fmt: skip


def test_the_forest_s_log_odds_are_weighed_and_added() -> None:
    contract = OutputContract(kind="logit", temperature=2, bias=0.5, forest_weight=0.75)
    rules = Rules(contract, RULES.envelope, forest=stump())
    numbers = np.zeros((2, 14))
    numbers[:, 0] = 3.9, 4.1
    found = probabilities_of(Answer(np.array([[1.0], [1.0]], np.float32)), rules, list(numbers))
    expected = [1 / (1 + math.exp(-(0.5 + 0.5 + 0.75 * odds))) for odds in (-1, 1)]
    assert found == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ValueError, match="expected the forest's log odds"):
        calibrated([0.0], contract)


def test_a_weight_without_a_forest_is_refused() -> None:
    with pytest.raises(BundleError, match="to be joined by a forest, and there is none"):
        Rules(OutputContract(kind="logit", forest_weight=0.5), RULES.envelope)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: OutputContract(kind="logit", forest_weight=-1), "forest_weight from 0 to 10, got -1"),
        (lambda: OutputContract(kind="logit", bias=10.5), "bias from -10 to 10, got 10.5"),
        (lambda: Conformal(alpha=1, limits=(0, 1), subjects=(1, 1)), "0 < alpha < 1"),
        (lambda: Conformal(alpha=0.1, limits=(0, 1.5), subjects=(1, 1)), "limits from 0 to 1"),
        (lambda: FeatureLimit(limit=0, cells=1, subjects=1), "a limit above 0, got 0"),
        (
            lambda: Appearance(
                red_to_green=(1, 2), blue_to_green=(1, 2), red_to_blue=(2, 1), sharpness=(0, 1)
            ),
            r"red_to_blue as \(low, high\), got \(2, 1\)",
        ),
    ],
)
def test_nonsense_in_a_contract_is_refused(make: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()  # type: ignore[operator]


def test_conformal_sets_that_a_bundle_lacks_are_refused_with_a_cure() -> None:
    with pytest.raises(UsageError, match="no conformal limits: got abstain = conformal, allowed band, off"):
        Rules(msgspec.structs.replace(OUTPUT, conformal=None), RULES.envelope, abstain="conformal")


class Network:
    """Stands in for a network: the same answer for every cell."""

    name = "litert"

    def __init__(self, features: int | None) -> None:
        self._features = features

    def predict(self, tensors: npt.NDArray[np.uint8]) -> Answer:
        n = len(tensors)
        features = None if self._features is None else np.full((n, self._features), 0.5, np.float32)
        return Answer(np.full((n, 1), 3.0, np.float32), features)

    def close(self) -> None:
        pass


STATISTICS = FeatureStatistics(np.full(4, 0.5, np.float32), np.eye(2, 4, dtype=np.float32), 1.0)


@pytest.mark.parametrize(("features", "got"), [(None, "got 0 features"), (3, "got 3 features")])
def test_a_network_without_the_features_of_its_gate_is_refused(features: int | None, got: str) -> None:
    manifest = read_bundle("default").manifest
    rules = Rules(OUTPUT, manifest.envelope, GATE, STATISTICS)
    with pytest.raises(BundleError, match=f"does not give the features.*{got}, allowed 4; convert"):
        Classifier(Network(features), manifest, rules)


def test_a_classifier_asks_the_gate() -> None:
    bundle = read_bundle("default")
    crops = golden_crops_of(bundle)[:1] * 2
    rules = Rules(OUTPUT, bundle.manifest.envelope, GATE, STATISTICS)
    predictions = Classifier(Network(4), bundle.manifest, rules).classify(crops)
    assert [prediction.decision for prediction in predictions] == [Decision.BLAST] * 2
    far = FeatureStatistics(STATISTICS.mean + 9, STATISTICS.basis, 1.0)
    rules = Rules(OUTPUT, bundle.manifest.envelope, GATE, far)
    predictions = Classifier(Network(4), bundle.manifest, rules).classify(crops)
    assert all((prediction.reason or "").startswith("features are ") for prediction in predictions)


def test_no_crop_gives_no_prediction() -> None:
    assert open_classifier(read_bundle("default")).classify([]) == []


def test_a_cell_is_judged_alike_alone_and_among_others() -> None:
    """What is done of one cell while the network runs on another does not get mixed up."""
    crops = golden_crops_of(read_bundle("default"))
    with closing(open_classifier(read_bundle("default"))) as classifier:
        together = classifier.classify([*crops, *crops[::-1]])
        alone = [classifier.classify([crop])[0] for crop in crops]
    assert together == [*alone, *alone[::-1]]
