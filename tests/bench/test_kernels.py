"""The parts of a run, timed one by one beside kernels that show how fast the machine is today."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from edgeleuk.bundle.golden import golden_crops_of
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.classify import open_classifier
from edgeleuk.preprocessing import to_batch
from edgeleuk.selftest import open_tested_classifier
from edgeleuk.virtual.render import VirtualSlide
from edgeleuk.vision.scale import estimate_px_per_um
from edgeleuk.vision.segmentation import segment
from edgeleuk.vision.tracking import FieldTracker

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from edgeleuk.classify import Classifier


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    cv2.setNumThreads(1)


@pytest.fixture(scope="module")
def field() -> np.ndarray:
    return VirtualSlide(seed=1).field(0, 0).pixels


def test_reference_png_decode(benchmark: BenchmarkFixture, field: np.ndarray) -> None:
    data = cv2.imencode(".png", field)[1]
    assert benchmark(cv2.imdecode, data, cv2.IMREAD_COLOR).shape == field.shape


def test_reference_matrix_product(benchmark: BenchmarkFixture) -> None:
    matrix = np.random.default_rng(0).standard_normal((512, 512)).astype(np.float32)
    assert benchmark(lambda: matrix @ matrix).shape == (512, 512)


def test_bundle_load(benchmark: BenchmarkFixture) -> None:
    assert benchmark(read_bundle, "default").manifest.name == "default"


def test_preprocess_a_cell(benchmark: BenchmarkFixture) -> None:
    bundle = read_bundle("default")
    crops = golden_crops_of(bundle)[:1]
    assert benchmark(to_batch, crops, bundle.manifest.input).shape[0] == 1


@pytest.mark.parametrize(
    ("runtime", "precision"), [("litert", "int8"), ("litert", "float32"), ("onnxruntime", "int8")]
)
def test_invoke_the_network(benchmark: BenchmarkFixture, runtime: str, precision: str) -> None:
    bundle = read_bundle("default")
    classifier = open_classifier(bundle, runtime=runtime, precision=precision)
    tensors = to_batch(golden_crops_of(bundle)[:1], bundle.manifest.input)
    assert benchmark(classifier.runtime.predict, tensors).outputs.shape == (1, 1)


@pytest.mark.parametrize("runtime", ["litert", "onnxruntime"])
def test_self_test_at_the_start_of_run(benchmark: BenchmarkFixture, runtime: str) -> None:
    """Reading and hashing the bundle, loading the network, and the golden cells."""

    def start() -> Classifier:
        return open_tested_classifier(
            read_bundle("default"), runtime=runtime, precision="int8", threads=1, abstain="band"
        )

    assert benchmark(start).runtime.name == runtime


def test_segment_a_field(benchmark: BenchmarkFixture, field: np.ndarray) -> None:
    assert isinstance(benchmark(lambda: segment(field, px_per_um=13.0)), list)


def test_estimate_the_scale_of_a_field(benchmark: BenchmarkFixture, field: np.ndarray) -> None:
    assert benchmark(estimate_px_per_um, field).px_per_um == pytest.approx(13, rel=0.2)


def test_track_a_field(benchmark: BenchmarkFixture, field: np.ndarray) -> None:
    tracker, cells = FieldTracker(), segment(field, px_per_um=13.0)
    assert len(benchmark(tracker.update, field, cells)) == len(cells)
