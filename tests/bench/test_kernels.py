"""The parts of a run, timed one by one; see conftest.py for what they are compared with."""

from __future__ import annotations

import itertools
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgeleuk.bundle.golden import golden_crops_of
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.classifier.classifier import open_classifier
from edgeleuk.classifier.self_test import open_tested_classifier
from edgeleuk.frames import Box, Cell
from edgeleuk.inference.preprocessing import to_batch
from edgeleuk.inference.quantization import Affine, dequantize, quantize
from edgeleuk.results import CellResult, Decision, FrameResult, Prediction
from edgeleuk.session import JudgedCell, create_session
from edgeleuk.session.contours import MOST_BYTES, encode_contours
from edgeleuk.virtual.render import VirtualSlide
from edgeleuk.vision.crops import crop_cell
from edgeleuk.vision.quality import quality_check
from edgeleuk.vision.scale import estimate_px_per_um
from edgeleuk.vision.segmentation import segment
from edgeleuk.vision.stream import StreamWatch
from edgeleuk.vision.tracking import FieldTracker

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

    from edgeleuk.classifier.classifier import Classifier
    from edgeleuk.frames import CellCrop

BLAST = Prediction(Decision.BLAST, 0.75)


@pytest.fixture(scope="module")
def field() -> np.ndarray:
    return VirtualSlide(seed=1).field(0, 0).pixels


@pytest.fixture(scope="module")
def cells(field: np.ndarray) -> list[Cell]:
    return [cell for cell in segment(field, px_per_um=13.0) if not cell.touches_border]


@pytest.fixture(scope="module")
def crops(field: np.ndarray, cells: list[Cell]) -> list[CellCrop]:
    return [crop_cell(field, cell, 13.0) for cell in cells]


def test_start_of_the_command_line(benchmark: BenchmarkFixture) -> None:
    command = [sys.executable, "-m", "edgeleuk", "--help"]
    done = benchmark.pedantic(  # type: ignore[no-untyped-call]
        subprocess.run, (command,), {"capture_output": True, "check": True}, rounds=7, warmup_rounds=1
    )
    assert b"Usage" in done.stdout


def test_bundle_load(benchmark: BenchmarkFixture) -> None:
    assert benchmark(read_bundle, "default").manifest.name == "default"


@pytest.mark.parametrize("runtime", ["litert", "onnxruntime"])
def test_self_test_at_the_start_of_run(benchmark: BenchmarkFixture, runtime: str) -> None:
    """Reading and hashing the bundle, loading the network, and the golden cells."""

    def start() -> Classifier:
        return open_tested_classifier(
            read_bundle("default"), runtime=runtime, precision="int8", threads=1, abstain="band"
        )

    assert benchmark(start).runtime.name == runtime


def test_watch_a_stream(benchmark: BenchmarkFixture, field: np.ndarray) -> None:
    watch, other = StreamWatch(camera=True), np.ascontiguousarray(field[::-1])
    pictures = itertools.cycle([field, other])
    assert benchmark(lambda: watch.look(next(pictures))).reason is None


def test_gate_a_field(benchmark: BenchmarkFixture, field: np.ndarray) -> None:
    assert benchmark(quality_check, field) is None


def test_estimate_the_scale_of_a_field(benchmark: BenchmarkFixture, field: np.ndarray) -> None:
    assert benchmark(estimate_px_per_um, field).px_per_um == pytest.approx(13, rel=0.2)


def test_segment_a_field(benchmark: BenchmarkFixture, field: np.ndarray) -> None:
    assert isinstance(benchmark(lambda: segment(field, px_per_um=13.0)), list)


def test_track_a_field(benchmark: BenchmarkFixture, field: np.ndarray, cells: list[Cell]) -> None:
    tracker = FieldTracker()
    assert len(benchmark(tracker.update, field, cells)) == len(cells)


def test_crop_a_cell(benchmark: BenchmarkFixture, field: np.ndarray, cells: list[Cell]) -> None:
    assert benchmark(crop_cell, field, cells[0], 13.0).px_per_um == 13.0


def test_preprocess_a_cell(benchmark: BenchmarkFixture, crops: list[CellCrop]) -> None:
    contract = read_bundle("default").manifest.input
    assert benchmark(to_batch, crops[:1], contract).shape[0] == 1


def test_quantize_and_back(benchmark: BenchmarkFixture) -> None:
    affine = Affine(0.05, 3, "int8")
    values = np.linspace(-6, 6, 1 << 16, dtype=np.float32)
    back = benchmark(lambda: dequantize(quantize(values, affine), affine))
    assert np.abs(back - values).max() <= 0.026


@pytest.mark.parametrize(
    ("runtime", "precision"), [("litert", "int8"), ("litert", "float32"), ("onnxruntime", "int8")]
)
def test_invoke_the_network(benchmark: BenchmarkFixture, runtime: str, precision: str) -> None:
    bundle = read_bundle("default")
    classifier = open_classifier(bundle, runtime=runtime, precision=precision)
    tensors = to_batch(golden_crops_of(bundle)[:1], bundle.manifest.input)
    assert benchmark(classifier.runtime.predict, tensors).outputs.shape == (1, 1)


@pytest.mark.parametrize("count", [1, 32])
def test_classify_cells(benchmark: BenchmarkFixture, count: int) -> None:
    bundle = read_bundle("default")
    classifier = open_classifier(bundle)
    some = list(itertools.islice(itertools.cycle(golden_crops_of(bundle)), count))
    assert len(benchmark(classifier.classify, some)) == count


def test_record_a_frame_of_4_cells(
    benchmark: BenchmarkFixture, tmp_path: Path, crops: list[CellCrop]
) -> None:
    numbers = itertools.count()
    box, mask = Box(0, 0, *crops[0].mask.shape[::-1]), crops[0].mask
    with create_session(tmp_path / "session.db", {"camera": "test://"}) as session:

        def record() -> None:
            number = next(numbers)
            tracks = range(4 * number, 4 * number + 4)
            results = tuple(CellResult(track, True, box, 100.0, 60.0, BLAST) for track in tracks)
            found = (Cell(box, mask),) * 4
            result = FrameResult(number, 1e9, "test://", 1280, 960, 13.0, results, (), found, 12.5)
            judged = [
                JudgedCell(track, box, 10800, 7000, 100.0, 60.0, BLAST, crops[0], mask=mask)
                for track in tracks
            ]
            session.record_frame(result, judged)

        benchmark(record)
        assert session.counts().cells == 4 * next(numbers)


def test_encode_contours_of_a_field(benchmark: BenchmarkFixture, cells: list[Cell]) -> None:
    data = benchmark(lambda: [encode_contours(cell.mask) for cell in cells])
    assert max(map(len, data)) <= MOST_BYTES
