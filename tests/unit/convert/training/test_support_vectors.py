"""Support vectors on a pooled map: what scikit-learn finds is what NumPy runs, in Keras and out of it."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgeleuk.bundle.manifest import SUPPORT, Envelope, InputContract, OutputContract
from edgeleuk.bundle.support_vectors import (
    SupportVectors,
    decode_support,
    encode_support,
    pooled,
)
from edgeleuk.classifier.classifier import open_network, open_networks
from edgeleuk.errors import BundleError, UsageError
from edgeleuk.inference.preprocessing import to_batch
from edgeleuk.virtual.cells import single_cell
from edgeleuk_convert.bundling.converted import Recipe
from edgeleuk_convert.bundling.pack import convert_networks
from edgeleuk_convert.networks.architectures import build
from edgeleuk_convert.networks.architectures.support_vectors import (
    pooling,
    split_trunk_and_head,
    trunk_of,
    with_support_vectors,
)
from edgeleuk_convert.quantization.calibration_data import RealInput
from edgeleuk_convert.quantization.layer_noise import measure
from edgeleuk_convert.quantization.prepare import subset
from edgeleuk_convert.training.record import TrainingRecord
from edgeleuk_convert.training.support_vectors import PER_MARGIN, fit_support

if TYPE_CHECKING:
    from edgeleuk_convert.bundling.converted import Converted

# Keras 3.15 converts its variables in a way that NumPy 2.4 is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

NAME = "efficientnet-lite0-frozen"
CONTRACT = InputContract(
    height=64,
    width=64,
    channels=("red", "green", "blue", "mask", "nucleus"),
    normalise=True,
    px_per_um=4.5,
    crop_px_per_um=18.5,
    rim_um=0.27,
)
MAPS = arrays(np.float32, (2, 6, 3), elements=st.floats(-8, 8, width=32))
SHARES = arrays(np.float32, (2, 6, 2), elements=st.floats(0, 1, width=32))


def some(width: int = 12, count: int = 5, directions: int | None = None) -> SupportVectors:
    rng = np.random.default_rng(1)
    projection = None if directions is None else rng.normal(size=(width, directions)).astype(np.float16)
    return SupportVectors(
        mean=rng.normal(size=width).astype(np.float32),
        deviation=rng.uniform(0.5, 2, width).astype(np.float32),
        vectors=rng.normal(size=(count, directions or width)).astype(np.float16),
        weights=rng.normal(size=count).astype(np.float32),
        bias=0.25,
        projection=projection,
    )


class TestPooling:
    @given(maps=MAPS, shares=SHARES, order=st.permutations(range(6)))
    def test_where_a_place_lies_does_not_matter(
        self, maps: np.ndarray, shares: np.ndarray, order: list[int]
    ) -> None:
        expected = pooled(maps, shares)
        assert pooled(maps[:, order], shares[:, order]) == pytest.approx(expected, abs=1e-3)

    @given(maps=MAPS)
    def test_within_everything_it_is_mean_and_spread(self, maps: np.ndarray) -> None:
        found = pooled(maps, np.ones((2, 6, 1), np.float32))
        assert found[:, :3] == pytest.approx(maps.mean(axis=1), abs=0.01)
        assert found[:, 3:] == pytest.approx(maps.std(axis=1), abs=0.02)

    @given(maps=MAPS)
    def test_what_lies_outside_the_mask_is_not_seen(self, maps: np.ndarray) -> None:
        shares = np.zeros((2, 6, 1), np.float32)
        shares[:, :3] = 1
        other = maps.copy()
        other[:, 3:] = 5
        assert np.array_equal(pooled(maps, shares), pooled(other, shares))

    def test_an_empty_mask_gives_finite_numbers(self) -> None:
        assert np.isfinite(pooled(np.ones((1, 6, 3), np.float32), np.zeros((1, 6, 2), np.float32))).all()


class TestSupportVectors:
    @pytest.mark.parametrize("directions", [None, 3])
    def test_it_is_the_formula(self, directions: int | None) -> None:
        support = some(directions=directions)
        features = np.random.default_rng(2).normal(size=(7, 12)).astype(np.float32)
        z = (features - support.mean) / support.deviation
        if support.projection is not None:
            z = z @ support.projection.astype(np.float64)
        distances = ((z[:, None] - support.vectors.astype(np.float64)) ** 2).sum(axis=2)
        expected = np.exp(-distances / 12) @ support.weights + support.bias
        assert support.log_odds(features) == pytest.approx(expected, abs=1e-4)

    def test_it_answers_as_scikit_learn_does(self) -> None:
        from sklearn.svm import SVC

        rng = np.random.default_rng(3)
        truth = np.arange(200) % 2 == 0
        features = (rng.normal(size=(200, 10)) + truth[:, None]).astype(np.float32)
        weights = rng.uniform(0.5, 1.5, 200)
        support = fit_support(features, truth, weights)
        z = ((features - features.mean(axis=0)) / features.std(axis=0)).astype(np.float16)
        original = SVC(C=1.0, gamma=0.1).fit(z.astype(float), truth, sample_weight=weights)
        found = support.log_odds(features)
        assert found == pytest.approx(PER_MARGIN * original.decision_function(z.astype(float)), abs=0.01)
        assert np.mean((found > 0) == truth) > 0.9

    def test_a_feature_that_never_changes_does_no_harm(self) -> None:
        features = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
        features[:, 1] = 7
        support = fit_support(features, features[:, 0] > 0, np.ones(40))
        assert np.isfinite(support.log_odds(features)).all()

    def test_a_projection_onto_the_features_changes_nothing(self) -> None:
        support = some()
        same = replace(support, projection=np.eye(12, dtype=np.float16))
        features = np.random.default_rng(2).normal(size=(7, 12)).astype(np.float32)
        assert np.array_equal(same.log_odds(features), support.log_odds(features))

    def test_a_cell_is_judged_alike_in_any_company(self) -> None:
        support = some(directions=3)
        features = np.random.default_rng(2).normal(size=(7, 12)).astype(np.float32)
        alone = [support.log_odds(row)[0] for row in features]
        assert np.array_equal(support.log_odds(features), alone)

    @pytest.mark.parametrize("directions", [None, 3])
    def test_it_is_read_as_it_was_written(self, directions: int | None) -> None:
        support = some(directions=directions)
        data = encode_support(support)
        read = decode_support(data)
        assert encode_support(read) == data == encode_support(some(directions=directions))
        assert read.bias == support.bias
        assert (b"projection" in data) == (directions is not None)

    @pytest.mark.parametrize("damage", ["garbage", "lacks", "shape", "nan", "flat", "none"])
    def test_what_is_damaged_is_refused(self, damage: str) -> None:
        support = some()
        contents: dict[str, Any] = {
            "mean": support.mean,
            "deviation": support.deviation,
            "vectors": support.vectors,
            "weights": support.weights,
            "bias": np.zeros(1),
        }
        if damage == "lacks":
            del contents["weights"]
        elif damage == "shape":
            contents["vectors"] = support.vectors[:, :-1]
        elif damage == "nan":
            contents["mean"] = support.mean * np.nan
        elif damage == "flat":
            contents["deviation"] = support.deviation * 0
        elif damage == "none":
            contents |= {"vectors": support.vectors[:0], "weights": support.weights[:0]}
        buffer = io.BytesIO()
        np.savez(buffer, **contents)
        data = b"PK\x03\x04" + bytes(40) if damage == "garbage" else buffer.getvalue()
        with pytest.raises(BundleError, match="support vectors cannot be read"):
            decode_support(data)


@pytest.fixture(scope="module")
def tensors() -> npt.NDArray[np.uint8]:
    """Drawn cells, blasts and normal ones in turn."""
    return to_batch(
        [single_cell(label, seed) for seed in range(6) for label in ("blast", "normal")], CONTRACT
    )


@pytest.fixture(scope="module")
def network(tensors: npt.NDArray[np.uint8]) -> Any:
    """The frozen network, its support vectors found on the drawn cells."""
    blank = build(NAME, CONTRACT)
    features = np.asarray(pooling(blank)(tensors.astype(np.float32), training=False))
    support = fit_support(features, np.arange(len(tensors)) % 2 == 0, np.ones(len(tensors)))
    return with_support_vectors(trunk_of(blank), CONTRACT, support, NAME)


@pytest.fixture(scope="module")
def converted(network: Any, tensors: npt.NDArray[np.uint8]) -> Converted:
    record = TrainingRecord(
        architecture=NAME, parameters=network.count_params(), input=CONTRACT,
        output=OutputContract(kind="logit"), envelope=Envelope(area_um2=(20, 400)), settings={},
        training_subjects=(), held_out_subjects=(), training_hashes=(), tools={},
    )  # fmt: skip
    return convert_networks(
        network, record, tensors, progress=lambda _: None, recipe=Recipe(tensorrt=True, also=("float16",))
    )


class TestNetwork:
    def test_the_parts_answer_as_the_whole(
        self, network: Any, tensors: npt.NDArray[np.uint8], converted: Converted
    ) -> None:
        whole = np.asarray(network(tensors.astype(np.float32), training=False))
        assert np.ptp(whole) > 0.5
        runtimes = open_networks(converted.networks, converted.input)
        for key, runtime in runtimes.items():
            answer = runtime.predict(tensors)
            assert answer.outputs == pytest.approx(whole, abs=1e-3 if key == "reference" else 0.4), key
            assert answer.features is not None
            assert answer.features.shape == (len(tensors), 448)
            assert runtime.predict(tensors[:0]).outputs.shape == (0, 1)
        assert {found.member: found.float_operations for found in converted.audits}["model.int8.tflite"] == ()

    def test_it_is_saved_and_loaded(self, network: Any, tensors: Any, tmp_path: Any) -> None:
        from edgeleuk_convert.networks.loading import load_network

        network.save(tmp_path / "network.keras")
        loaded = load_network(tmp_path / "network.keras").model
        assert np.array_equal(loaded(tensors.astype(np.float32)), network(tensors.astype(np.float32)))
        _, support = split_trunk_and_head(loaded)
        assert support is not None
        _, first = split_trunk_and_head(network)
        assert first is not None
        assert np.array_equal(support.vectors, first.vectors)

    def test_landmarks_and_their_directions_are_parted_off(self, network: Any, tensors: Any) -> None:
        """Golden answers of Keras and of NumPy are the same with a projection in between."""
        trunk, exact = split_trunk_and_head(network)
        assert exact is not None
        rng = np.random.default_rng(0)
        projection = rng.normal(0, 0.05, (exact.mean.size, 8)).astype(np.float16)
        support = SupportVectors(
            exact.mean, exact.deviation, rng.normal(0, 8, (5, 8)).astype(np.float16),
            np.ones(5, np.float32), -1.5, projection,
        )  # fmt: skip
        few = with_support_vectors(trunk_of(network), CONTRACT, support, NAME)
        _, found = split_trunk_and_head(few)
        assert found is not None
        assert found.projection is not None
        assert np.array_equal(found.projection, projection)
        assert np.array_equal(found.vectors, support.vectors)
        features = np.asarray(pooling(few)(tensors.astype(np.float32), training=False))
        whole = np.asarray(few(tensors.astype(np.float32), training=False))[:, 0]
        assert np.ptp(whole) > 0.05
        assert found.log_odds(features) == pytest.approx(whole, abs=1e-3)
        assert few.count_params() - trunk.count_params() == 448 * (2 + 8) + 5 * (8 + 2) + 1

    def test_another_network_is_not_parted(self) -> None:
        other = build("baseline", CONTRACT)
        assert split_trunk_and_head(other) == (other, None)

    def test_what_belongs_together_stays_together(self, converted: Converted) -> None:
        assert set(subset(converted.networks, "model.int8.onnx")) == {"model.int8.onnx", SUPPORT}

    def test_its_layers_are_ranked(self, converted: Converted, tensors: npt.NDArray[np.uint8]) -> None:
        networks = converted.networks
        real = RealInput(tensors, converted.input)[:2]
        for member in ("model.int8.tflite", "model.int8.onnx"):
            measured = measure(networks["model.float32.tflite"], member, networks[member], real)
            names = [layer.name for layer in measured.worst_first()]
            assert any("block10_project" in name for name in names)

    def test_support_vectors_of_another_map_are_refused(self, converted: Converted) -> None:
        members = {**converted.networks, SUPPORT: encode_support(some())}
        with pytest.raises(BundleError, match="map does not fit the support vectors"):
            open_network(members, "model.int8.tflite", converted.input)

    @pytest.mark.parametrize(("size", "channels"), [(50, CONTRACT.channels), (64, ("red", "green", "blue"))])
    def test_an_input_that_does_not_suit_is_refused(self, size: int, channels: Any) -> None:
        unfit = InputContract(
            height=size, width=size, channels=channels, normalise=True, px_per_um=4, crop_px_per_um=18.5
        )
        with pytest.raises(UsageError, match="input does not suit"):
            build(NAME, unfit)
