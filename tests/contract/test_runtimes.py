"""What every runtime keeps to, run on each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from edgeleuk.bundle.golden import golden_crops_of
from edgeleuk.bundle.manifest import MODEL_FILES
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.classifier.classifier import open_network, open_networks
from edgeleuk.errors import BundleError, MissingDependencyError, UsageError
from edgeleuk.inference import RUNTIMES, available_runtimes, open_runtime
from edgeleuk.inference.preprocessing import to_batch
from edgeleuk.inference.runtime import RuntimeEntry

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from edgeleuk.bundle.contents import Bundle
    from edgeleuk.inference import ModelRuntime

GPU = ("cuda", "tensorrt")
# What a GPU runs is tested in unit/edgeleuk/inference/test_providers.py.
MEMBERS = [
    (name, runtime)
    for name in read_bundle("default").manifest.model_names
    for runtime in MODEL_FILES[name].runtimes
    if runtime not in GPU
]


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return read_bundle("default")


@pytest.fixture(scope="module")
def tensors(bundle: Bundle) -> npt.NDArray[np.uint8]:
    return to_batch(golden_crops_of(bundle), bundle.manifest.input)


@pytest.fixture(params=MEMBERS)
def runtime(request: pytest.FixtureRequest, bundle: Bundle) -> Iterator[ModelRuntime]:
    member, name = request.param
    opened = open_network(bundle.members, member, bundle.manifest.input, runtime=name)
    assert opened.name == name
    yield opened
    opened.close()


def test_a_batch_is_its_cells(runtime: ModelRuntime, tensors: npt.NDArray[np.uint8]) -> None:
    batch = runtime.predict(tensors).outputs
    single = np.concatenate([runtime.predict(tensor[None]).outputs for tensor in tensors])
    assert batch.shape == (len(tensors), 1)
    assert batch.dtype == np.float32
    np.testing.assert_allclose(batch, single, atol=1e-4)


def test_asking_twice_gives_the_same(runtime: ModelRuntime, tensors: npt.NDArray[np.uint8]) -> None:
    assert np.array_equal(runtime.predict(tensors).outputs, runtime.predict(tensors).outputs)


def test_the_input_is_left_as_it_was(runtime: ModelRuntime, tensors: npt.NDArray[np.uint8]) -> None:
    before = tensors.copy()
    runtime.predict(tensors)
    assert np.array_equal(tensors, before)


def test_no_cell_gives_no_answer(runtime: ModelRuntime, tensors: npt.NDArray[np.uint8]) -> None:
    assert runtime.predict(tensors[:0]).outputs.shape == (0, 1)


@pytest.mark.parametrize("name", GPU)
def test_a_provider_that_is_not_there_is_named(name: str, bundle: Bundle) -> None:
    told = f"the runtime {name} is not installed: got an onnxruntime without libonnxruntime_providers_{name}"
    with pytest.raises(MissingDependencyError, match=told) as caught:
        open_runtime(name, bundle.members["model.int8.onnx"], bundle.manifest.input)
    assert caught.value.exit_code == 5
    assert name not in available_runtimes()


def test_int8_is_near_float(bundle: Bundle, tensors: npt.NDArray[np.uint8]) -> None:
    outputs = {
        key: network.predict(tensors).outputs
        for key, network in open_networks(bundle.members, bundle.manifest.input).items()
    }
    spread = float(np.ptp(outputs["reference"])) + 1e-6
    for key in ("tflite_int8", "onnx_int8"):
        assert np.abs(outputs[key] - outputs["reference"]).max() < 0.25 * spread + 0.25


@pytest.mark.parametrize("name", sorted(set(RUNTIMES) - set(GPU)))
def test_garbage_is_no_network(name: str, bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="model cannot be loaded"):
        open_runtime(name, b"\x00garbage" * 50, bundle.manifest.input)


@pytest.mark.parametrize(("member", "name"), MEMBERS)
def test_a_network_of_another_shape_is_refused(member: str, name: str, bundle: Bundle) -> None:
    contract = msgspec.structs.replace(bundle.manifest.input, height=64)
    with pytest.raises(BundleError, match="does not fit the manifest"):
        open_runtime(name, bundle.members[member], contract)


def test_an_unknown_runtime_is_refused_with_the_known_ones(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="unknown runtime: got tflite, allowed litert, onnxruntime"):
        open_runtime("tflite", b"", bundle.manifest.input)


@pytest.mark.parametrize("threads", [0, 65])
def test_odd_thread_counts_are_refused(threads: int, bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="threads is out of range"):
        open_runtime("litert", b"", bundle.manifest.input, threads=threads)


def test_a_missing_runtime_comes_with_its_cure(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = RUNTIMES["onnxruntime"]
    monkeypatch.setitem(RUNTIMES, "onnxruntime", RuntimeEntry(entry.target, ("no_such_package",), entry.cure))
    with pytest.raises(
        MissingDependencyError, match=r"allowed litert, openvino; install it with: pip install"
    ) as caught:
        open_runtime("onnxruntime", b"", bundle.manifest.input)
    assert caught.value.exit_code == 5
