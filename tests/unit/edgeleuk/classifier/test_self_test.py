"""The self-test catches each fault that is put in for real, in `verify` and at the start of `run`."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import msgspec
import numpy as np
import pytest
from weights import flipped, some_weights, tflite_tensors, with_zero_point

from edgeleuk.bundle.contents import Bundle
from edgeleuk.bundle.golden import MADE_WITH, PLAIN, USUAL, decode_golden, encode_golden
from edgeleuk.bundle.manifest import GOLDEN, LABELS, MODEL_FILES
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.bundle.writing import describe_members, write_bundle
from edgeleuk.classifier import decision
from edgeleuk.classifier.classifier import bundle_rules
from edgeleuk.classifier.self_test import replay
from edgeleuk.errors import BundleError
from edgeleuk.inference import litert, preprocessing
from edgeleuk.inference.litert import LiteRtRuntime
from edgeleuk.inference.pooled import PooledRuntime
from edgeleuk.inference.preprocessing import to_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeleuk.inference import Answer

INT8 = ("model.int8.tflite", "model.int8.onnx")


Call = Any
Change = Any


@pytest.fixture(scope="module")
def proven() -> Bundle:
    """The shipped networks with golden vectors of this version."""
    from edgeleuk_convert.bundling.golden import make_golden

    shipped = read_bundle("default")
    golden = make_golden(shipped.members, shipped.manifest.input, bundle_rules(shipped))
    return with_members(shipped, {GOLDEN: golden})


@pytest.fixture(scope="module")
def proven_path(proven: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(proven, tmp_path_factory.mktemp("proven"))


def with_members(bundle: Bundle, members: dict[str, bytes], **changes: object) -> Bundle:
    """Put other members and other words of the manifest in, all hashes right."""
    everything = dict(bundle.members) | members
    manifest = msgspec.structs.replace(bundle.manifest, members=describe_members(everything), **changes)
    return Bundle(bundle.path, bundle.sha256, manifest, everything)


def written(bundle: Bundle, folder: Path) -> Path:
    path = folder / "x.edgeleuk"
    write_bundle(path, bundle.manifest, bundle.members)
    return path


def with_contract(bundle: Bundle, part: str, **changes: object) -> Bundle:
    return with_members(
        bundle, {}, **{part: msgspec.structs.replace(getattr(bundle.manifest, part), **changes)}
    )


def unaware(bundle: Bundle) -> Bundle:
    """Let the golden vectors forget what they were made with: what is left is the replay alone."""
    vectors = replace(decode_golden(bundle.members[GOLDEN]), made_with=None)
    return with_members(bundle, {GOLDEN: encode_golden(vectors)})


def moved(bundle: Bundle) -> set[str]:
    return {result.model for result in replay(bundle) if result.status == "moved"}


def refuses(edgeleuk: Call, bundle: Path, *named: str, runtime: str = "litert") -> None:
    """Both commands exit with 3 and name what differs, and nothing is recorded."""
    verified = edgeleuk("verify", bundle)
    assert verified.code == 3, verified.err
    session = Path("s.db").absolute()
    ran = edgeleuk(
        "run", "--camera", "virtual://?width=320&height=240", "--bundle", bundle, "--runtime", runtime,
        "--session", session, "--frames", 1,
    )  # fmt: skip
    assert ran.code == 3, ran.err
    assert "the self-test of x.edgeleuk failed" in ran.err
    assert "Traceback" not in ran.err
    for name in named:
        assert name in verified.out
        assert name in ran.err
    assert list(session.parent.glob("s.*")) == []


def test_everything_is_replayed(proven: Bundle) -> None:
    results = replay(proven, by_name=True)
    networks = [
        (f"{name}{part}", runtime)
        for name in proven.manifest.model_names
        for runtime in MODEL_FILES[name].runtimes
        if runtime not in ("cuda", "tensorrt")
        for part in ("", " features", " decisions")
    ]
    first = [("contract", "manifest"), ("preprocessing", "numpy"), ("forest.npz", "numpy")]
    assert [(result.model, result.runtime) for result in results] == [*first, *networks]
    assert {result.status for result in results} == {"ok"}


def test_run_and_classify_go_on_after_the_self_test(edgeleuk: Call, proven_path: Path) -> None:
    crop = decode_golden(read_bundle(proven_path).members[GOLDEN]).crops[0]
    cv2.imwrite("cell.png", crop.pixels[:, :, ::-1])
    assert edgeleuk("classify", "cell.png", "--bundle", proven_path).code == 0
    camera = "virtual://?width=320&height=240"
    words = ("--camera", camera, "--bundle", proven_path, "--session", "s.db", "--frames", 1)
    for runtime in ("litert", "onnxruntime"):
        Path("s.db").unlink(missing_ok=True)
        assert edgeleuk("run", *words, "--runtime", runtime).code == 0


def test_the_golden_cells_are_called_both_ways_and_cover_every_step_of_resizing(proven: Bundle) -> None:
    vectors = decode_golden(proven.members[GOLDEN])
    for kernels in vectors.networks.values():
        assert set(kernels[USUAL].decisions) >= {"blast", "normal"}
    assert set(vectors.networks["model.int8.tflite"]) == {USUAL, PLAIN}
    factors = [proven.manifest.input.px_per_um / crop.px_per_um for crop in vectors.crops]
    assert min(factors) < 0.5
    assert max(factors) > 1
    # No two channels show the same: each swap shows.
    channels = np.moveaxis(vectors.tensors, -1, 0).reshape(vectors.tensors.shape[-1], -1)
    assert len(np.unique(channels, axis=0)) == len(channels)


def test_golden_vectors_are_read_as_they_were_written(proven: Bundle) -> None:
    data = proven.members[GOLDEN]
    assert encode_golden(decode_golden(data)) == data


# --- the device -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(2, 1, 0), (1, 0, 2)])
def test_swapped_channels(
    edgeleuk: Call, proven_path: Path, monkeypatch: pytest.MonkeyPatch, order: tuple[int, int, int]
) -> None:
    channel = preprocessing._channel
    monkeypatch.setattr(
        preprocessing,
        "_channel",
        lambda pixels, name: channel(np.ascontiguousarray(pixels[..., order]), name),
    )
    refuses(edgeleuk, proven_path, "preprocessing on numpy", "8 of 8 golden cells differ")


@pytest.mark.parametrize("method", ["INTER_NEAREST", "INTER_LINEAR", "INTER_AREA", "INTER_CUBIC"])
def test_another_way_to_resize(
    edgeleuk: Call, proven_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(cv2, "INTER_LINEAR_EXACT", getattr(cv2, method))
    refuses(edgeleuk, proven_path, "preprocessing on numpy", "golden cells differ from the stored ones")


def test_no_halving_before_the_last_step(
    edgeleuk: Call, proven_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        preprocessing,
        "_resized",
        lambda image, size: cv2.resize(image, size, interpolation=cv2.INTER_LINEAR_EXACT),
    )
    refuses(edgeleuk, proven_path, "1 of 8 golden cells differ")


def test_calibration_the_wrong_way_round(
    edgeleuk: Call, proven_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrated = decision.calibrated
    monkeypatch.setattr(decision, "calibrated", lambda *of: 1 - calibrated(*of))
    refuses(
        edgeleuk,
        proven_path,
        "decisions on litert",
        "is called blast, was normal",
        "golden cell 0 has probability",
    )


def by_a_step(answer: Answer, step: float) -> Answer:
    return replace(answer, outputs=answer.outputs + np.float32(step))


PERTURBED: dict[str, tuple[Callable[[Answer], Answer], str]] = {
    "two steps of the output": (lambda a: by_a_step(a, 0.1014), ""),
    "one step of the output": (lambda a: by_a_step(a, 0.0507), ""),
    "NaN": (lambda a: by_a_step(a, float("nan")), ""),
    "the other way round": (lambda a: replace(a, outputs=-a.outputs), ""),
    "a cell's answer to the next cell": (lambda a: replace(a, outputs=np.roll(a.outputs, 1, axis=0)), ""),
    "features off by a hundredth": (
        lambda a: replace(a, features=a.features * np.float32(1.01)),
        " features",
    ),
    "no features": (lambda a: replace(a, features=None), " features"),
}


@pytest.mark.parametrize("runtime", ["litert", "onnxruntime"])
@pytest.mark.parametrize("fault", PERTURBED)
def test_a_runtime_whose_results_moved(
    edgeleuk: Call, proven_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, runtime: str
) -> None:
    name = INT8[("litert", "onnxruntime").index(runtime)]
    predict = PooledRuntime.predict
    change, part = PERTURBED[fault]

    def perturbed(self: PooledRuntime, tensors: np.ndarray) -> Answer:
        answer = predict(self, tensors)
        # Opening a classifier asks about no cell, and is no part of the fault.
        return change(answer) if len(tensors) and self.name == runtime else answer

    monkeypatch.setattr(PooledRuntime, "predict", perturbed)
    refuses(edgeleuk, proven_path, f"{name}{part} on {runtime}", runtime=runtime)


def test_kernels_without_xnnpack_are_known(proven: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeleuk_convert.bundling.golden import PlainLiteRt

    monkeypatch.setattr(LiteRtRuntime, "open_interpreter", PlainLiteRt.open_interpreter)
    results = {result.model: result for result in replay(proven)}
    assert {result.status for result in results.values()} == {"ok"}
    assert results[INT8[0]].detail == "by the plain kernels of the runtime"


def with_labels(bundle: Bundle) -> Bundle:
    """Turn the names round in ``labels.json``; where the manifest does not do so too, no reader takes it."""
    turned = {"negative": "blast", "positive": "normal"}
    return with_members(bundle, {LABELS: json.dumps(turned).encode()})


# --- the manifest -----------------------------------------------------------------------------------------

MANIFESTS: dict[str, tuple[Callable[[Bundle], Bundle], str]] = {
    "px/um": (lambda b: with_contract(b, "input", px_per_um=11.0), "input.px_per_um is 11.0, was 18.5"),
    "px/um of a crop": (lambda b: with_contract(b, "input", crop_px_per_um=17.0), "input.crop_px_per_um is"),
    "rim": (lambda b: with_contract(b, "input", rim_um=0.0), "input.rim_um is 0.0, was 0.27"),
    "input scale": (lambda b: with_contract(b, "input", scale=0.0106), "input.scale is 0.0106, was"),
    "input offset": (lambda b: with_contract(b, "input", offset=-1.31), "input.offset is -1.31, was"),
    "order of channels": (
        lambda b: with_contract(b, "input", channels=b.manifest.input.channels[::-1]),
        "input.channels is ('nucleus', 'mask', 'blue', 'green', 'red'), was ('red', 'green', 'blue', 'mask',",
    ),
    "labels": (
        lambda b: with_contract(with_labels(b), "output", labels=b.manifest.output.labels[::-1]),
        "output.labels is ('blast', 'normal'), was ('normal', 'blast')",
    ),
    "labels.json": (
        lambda b: with_contract(with_labels(b), "output", labels=b.manifest.output.labels[::-1]),
        "labels.json is another file than the one that gave the answers",
    ),
    "temperature": (lambda b: with_contract(b, "output", temperature=1.5), "output.temperature is 1.5"),
    "threshold": (lambda b: with_contract(b, "output", threshold=0.65), "output.threshold is 0.65, was 0.6"),
    "envelope": (lambda b: with_contract(b, "envelope", area_um2=(1.0, 900.0)), "envelope.area_um2 is (1.0"),
    "no gate": (lambda b: with_members(b, {}, gate=None), "gate is None"),
}  # fmt: skip


@pytest.mark.parametrize("fault", MANIFESTS)
def test_a_rewritten_manifest(edgeleuk: Call, proven: Bundle, tmp_path: Path, fault: str) -> None:
    change, named = MANIFESTS[fault]
    refuses(edgeleuk, written(change(proven), tmp_path), "contract on manifest", named)


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ("px/um", "preprocessing"),
        ("rim", "preprocessing"),
        ("order of channels", "preprocessing"),
        ("input scale", "model.int8.tflite"),
        ("input scale", "model.int8.onnx"),
        ("input offset", "model.int8.tflite"),
        ("input offset", "model.int8.onnx"),
        ("temperature", "model.int8.tflite decisions"),
    ],
)
def test_the_replay_alone_notices_what_changes_an_answer(proven: Bundle, fault: str, named: str) -> None:
    found = moved(unaware(MANIFESTS[fault][0](proven)))
    assert {name.removesuffix(" features") for name in found} >= {named}


# --- the networks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("place", "by"), [("input", 1), ("middle", 8), ("output", 1)])
def test_a_wrong_zero_point(edgeleuk: Call, proven: Bundle, tmp_path: Path, place: str, by: int) -> None:
    model = proven.members[INT8[0]]
    wrong = with_zero_point(model, tflite_tensors(model)[place], by)
    changed = with_members(proven, {INT8[0]: wrong})
    refuses(
        edgeleuk, written(changed, tmp_path), f"{INT8[0]} is another file than the one that gave the answers"
    )
    # The last kernel and the reader of its output agree on a wrong zero point, so that no answer changes.
    # Where they do not agree, that is a step of the output, as among the perturbed runtimes.
    if place != "output":
        assert {name.removesuffix(" features") for name in moved(unaware(changed))} >= {INT8[0]}


def test_a_zero_point_out_of_range_is_refused(edgeleuk: Call, proven: Bundle, tmp_path: Path) -> None:
    model = proven.members[INT8[0]]
    wrong = with_zero_point(model, tflite_tensors(model)["output"], 300)
    outcome = edgeleuk("verify", written(with_members(proven, {INT8[0]: wrong}), tmp_path))
    assert (outcome.code, outcome.out) == (7, "")
    # XNNPACK refuses it when it loads; where it is off, the reader of the output does.
    assert "the TFLite model" in outcome.err
    with pytest.raises(BundleError, match=r"quantization cannot be used: got expected a zero point"):
        litert._affine({"quantization": (0.1, 300), "dtype": np.int8})


def test_a_wrong_zero_point_in_onnx(proven: Bundle) -> None:
    import onnx
    import onnx.numpy_helper

    model = onnx.load_from_string(proven.members[INT8[1]])
    first = next(node for node in model.graph.node if node.op_type == "QuantizeLinear")
    (zero_point,) = (one for one in model.graph.initializer if one.name == first.input[2])
    moved_by_one = onnx.numpy_helper.to_array(zero_point) + np.uint8(1)
    zero_point.CopyFrom(onnx.numpy_helper.from_array(moved_by_one, zero_point.name))
    changed = with_members(proven, {INT8[1]: model.SerializeToString()})
    assert {name.removesuffix(" features") for name in moved(unaware(changed))} >= {INT8[1]}


@pytest.mark.parametrize("name", INT8)
def test_a_flipped_weight_byte(edgeleuk: Call, proven: Bundle, tmp_path: Path, name: str) -> None:
    model = proven.members[name]
    (offset,) = some_weights(name, model, 1)
    path = tmp_path / "flipped.edgeleuk"
    broken = dict(proven.members) | {name: flipped(model, offset)}
    write_bundle(path, proven.manifest, broken)
    for words in (("verify", path), ("run", "--camera", "virtual://", "--bundle", path, "--session", "s.db")):
        outcome = edgeleuk(*words)
        assert outcome.code == 7
        assert f"{name} in flipped.edgeleuk has the wrong hash" in outcome.err
    # The same with a manifest that was made to fit.
    changed = with_members(proven, {name: broken[name]})
    assert moved(changed) >= {"contract"}
    refuses(
        edgeleuk, written(changed, tmp_path), f"{name} is another file than the one that gave the answers"
    )


# Of sixteen: ONNX Runtime rounds otherwise on aarch64, which its tolerance has to allow.
LEAST_NOTICED = {"model.int8.tflite": 12, "model.int8.onnx": 6}


@pytest.mark.parametrize("name", INT8)
def test_many_flipped_weight_bytes_change_the_answers_too_much(proven: Bundle, name: str) -> None:
    model, nothing_else = proven.members[name], unaware(proven)
    offsets = some_weights(name, model, 16)
    noticed = 0
    for offset in offsets:
        changed = with_members(nothing_else, {name: flipped(model, offset)})
        noticed += bool({f"{name}{part}" for part in ("", " features", " decisions")} & moved(changed))
    # tests/bench/weight_flips.py measures the share; sixteen are no measurement.
    assert noticed >= LEAST_NOTICED[name]


# --- the vectors ------------------------------------------------------------------------------------------


def with_golden(bundle: Bundle, change: Change) -> Bundle:
    with np.load(io.BytesIO(bundle.members[GOLDEN])) as golden:
        arrays = dict(golden)
    change(arrays)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return with_members(bundle, {GOLDEN: buffer.getvalue()})


@pytest.mark.parametrize("name", ["model.int8.tflite", "model.int8.onnx", "model.float32.tflite"])
def test_a_network_that_answers_otherwise_is_noticed(proven: Bundle, name: str) -> None:
    def move(arrays: dict[str, np.ndarray]) -> None:
        arrays[f"{name}.output"] = arrays[f"{name}.output"] + 1.0

    assert moved(with_golden(proven, move)) == {name}


def test_preprocessing_that_differs_by_one_grey_level_is_noticed(proven: Bundle) -> None:
    def move(arrays: dict[str, np.ndarray]) -> None:
        arrays["tensors"][0, 64, 64, 0] ^= 1

    assert "preprocessing" in moved(with_golden(proven, move))


def test_features_that_a_network_no_longer_gives_are_noticed(proven: Bundle) -> None:
    def expect(arrays: dict[str, np.ndarray]) -> None:
        for prefix in ("model.int8.tflite", "model.int8.tflite.plain"):
            arrays[f"{prefix}.features"] = np.zeros((len(arrays["tensors"]), 4), np.float32)

    assert moved(with_golden(proven, expect)) == {"model.int8.tflite features"}


def test_a_forest_that_answers_otherwise_is_noticed(proven: Bundle) -> None:
    def move(arrays: dict[str, np.ndarray]) -> None:
        arrays["forest.npz"] = arrays["forest.npz"] + 0.3

    assert moved(with_golden(proven, move)) == {"forest.npz"}


@pytest.mark.parametrize("lost", ["tensors", "model.int8.onnx.output", "crop3.px_per_um"])
def test_golden_vectors_that_cannot_be_read_are_refused(proven: Bundle, lost: str) -> None:
    with pytest.raises(BundleError, match="golden vectors cannot be read"):
        replay(with_golden(proven, lambda arrays: arrays.pop(lost)))


def test_older_vectors_are_replayed_as_far_as_they_go(proven: Bundle) -> None:
    def forget(arrays: dict[str, np.ndarray]) -> None:
        for key in list(arrays):
            if ".plain" in key or ".probability" in key or key.endswith(".decision") or key == MADE_WITH:
                del arrays[key]
            elif key.endswith(".tolerance"):
                arrays[key] = arrays[key][:1]

    older = with_golden(proven, forget)
    names = {result.model for result in replay(older)}
    assert moved(older) == set()
    assert not {"contract", "model.int8.tflite decisions"} & names


# --- the same bits everywhere -----------------------------------------------------------------------------


def test_resizing_gives_the_same_bits_on_every_machine() -> None:
    # The hash is of x86-64, and the same came out on aarch64 (Cortex-A72 and A76, emulated). Plain bilinear
    # resizing gives another one there.
    rng = np.random.default_rng(5)
    digest = hashlib.sha256()
    for height, width in ((450, 450), (333, 217), (64, 640)):
        coarse = rng.integers(0, 256, (height // 8, width // 8, 3)).astype(np.uint8)
        image = coarse.repeat(8, axis=0).repeat(8, axis=1) ^ rng.integers(
            0, 32, (height // 8 * 8, width // 8 * 8, 3)
        ).astype(np.uint8)
        for factor in (0.17, 0.24, 0.37, 0.49, 0.5, 0.65, 0.93, 1.3):
            size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
            digest.update(preprocessing._resized(image, size).tobytes())
    assert digest.hexdigest() == "2c0bc46e0aaf0a8696a29d6a64bfb5c48eefd1e0eac12ce51eba61c09a760749"


def test_the_tensors_of_a_bundle_are_those_of_its_crops(proven: Bundle) -> None:
    vectors = decode_golden(proven.members[GOLDEN])
    assert np.array_equal(to_batch(vectors.crops, proven.manifest.input), vectors.tensors)
    assert set(vectors.networks) == set(MODEL_FILES) & set(proven.members)
