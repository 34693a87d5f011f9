"""Every number of a bundle is in its range, or the bundle is refused when it is read."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from edgeleuk.bundle.arrays import arrays_of
from edgeleuk.bundle.checking import require_plausible
from edgeleuk.bundle.features import decode_features
from edgeleuk.bundle.forest import decode_forest
from edgeleuk.bundle.golden import decode_golden, require_fitting
from edgeleuk.bundle.heads import KernelHead, decode_head, encode_head
from edgeleuk.bundle.manifest import (
    CALIBRATION,
    FEATURES,
    FOREST,
    GOLDEN,
    KIND,
    LABELS,
    MANIFEST,
    REFERENCE,
    SUPPORT,
    TRAINING,
    VALIDATION,
)
from edgeleuk.bundle.reading import decode_manifest, read_bundle
from edgeleuk.bundle.reference import Reference, decode_reference, encode_reference
from edgeleuk.bundle.support_vectors import decode_support
from edgeleuk.bundle.validation import decode_validation
from edgeleuk.bundle.writing import describe_members, write_bundle
from edgeleuk.errors import BundleError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from outcome import Outcome

    from edgeleuk.bundle.contents import Bundle

DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.fixture(scope="module")
def shipped() -> Bundle:
    return read_bundle("default")


def changed(data: bytes, place: str, value: object) -> bytes:
    """Set one field of JSON; `place` is its way, with dots."""
    found = json.loads(data)
    *way, last = place.split(".")
    inside: Any = found
    for step in way:
        inside = inside[int(step) if isinstance(inside, list) else step]
    inside[last] = value
    return json.dumps(found).encode()


def manifest_of(bundle: Bundle) -> bytes:
    with zipfile.ZipFile(bundle.path) as archive:
        return archive.read(MANIFEST)


# --- the manifest -----------------------------------------------------------------------------------------

TAUGHT = {
    "parent_sha256": "ab" * 32, "parent_name": "default", "laboratory": "lab", "labels_sha256": "cd" * 32,
    "cells": 24, "slides": 4, "choice": "a new head",
}  # fmt: skip
KINDS = {
    "kinds": ["lymphocyte", "neutrophil"], "sharpness": 8.0, "least": 0.5, "area_um2": [10.0, 500.0],
    "distances": [2.0, 2.0], "cells": 24, "slides": 4,
}  # fmt: skip
MANIFEST_VALUES: dict[str, tuple[object, ...]] = {
    "schema_version": (-1, 4.5, "4", 10**30),
    "name": ("", "x" * 2000, 5),
    "licence": ("x" * 20_000,),
    "input.height": (0, 7, 5000, -304, 304.5),
    "input.width": (0, 4097, 1e300),
    "input.channels": ([], ["red"] * 33, ["infrared"], ["red"] * 100_000),
    "input.px_per_um": (0, -18.5, 0.01, 1000, 1e300),
    "input.crop_px_per_um": (0, 1e-9, 300),
    "input.rim_um": (-0.1, 2.1),
    "input.scale": (0, -1e300, 1e300, [1.0, 0.0, 1.0, 1.0, 1.0], [1.0]),
    "input.offset": (1e300, -1e10),
    "output.labels": ([], ["blast"], ["blast", "blast"], ["", "blast"]),
    "output.temperature": (0, -1, 1e-308, 1e308),
    "output.bias": (11, -1e300),
    "output.forest_weight": (-0.1, 11),
    "output.threshold": (0, 1, 1.5, -0.5),
    "output.abstain": ([0.7, 0.5], [-0.1, 0.5], [0.5, 1.1], [0.5]),
    "output.conformal.alpha": (0, 1, 1.5, -0.1),
    "output.conformal.limits": ([1.1, 0.5], [-0.1, 0.5]),
    "output.conformal.subjects": ([-1, 5], [1.5, 2]),
    "envelope.area_um2": ([200, 100], [-1, 100], [40, 1e7], [-1e308, 1e308]),
    "gate.appearance.red_to_green": ([3.0, 1.0], [-1.0, 1.0], [1.0, 1e300]),
    "gate.appearance.sharpness": ([0.5, 0.1],),
    "gate.features.limit": (0, -1, 1e308),
    "gate.features.cells": (-1, 1.5),
    "gate.features.subjects": (-1, 1001),
    "provenance.parameters": (-1, 10**18, 1.5),
    "kind": (
        KINDS | {"kinds": []}, KINDS | {"kinds": ["lymphocyte"]}, KINDS | {"kinds": ["lymphocyte"] * 2},
        KINDS | {"kinds": ["lymphocyte", "blast"]}, KINDS | {"sharpness": 0}, KINDS | {"sharpness": 1e300},
        KINDS | {"least": 1.5}, KINDS | {"area_um2": [500.0, 10.0]}, KINDS | {"slides": 25},
        KINDS | {"distances": [-1, 1]}, KINDS | {"distances": [1.0]}, KINDS | {"surprise": 1},
    ),
    "descent": (
        5, [5], [TAUGHT] * 1001, [TAUGHT | {"parent_sha256": "ab"}], [TAUGHT | {"labels_sha256": "x" * 64}],
        [TAUGHT | {"laboratory": ""}], [TAUGHT | {"cells": -1}], [TAUGHT | {"slides": 25}],
        [TAUGHT | {"at": "yesterday"}], [TAUGHT | {"choice": None}], [TAUGHT | {"heads": [""]}],
        [TAUGHT | {"forced": "no"}], [TAUGHT | {"surprise": 1}],
    ),
}  # fmt: skip


def refused_values(table: dict[str, tuple[object, ...]]) -> list[Any]:
    return [
        pytest.param(place, value, id=f"{place}={str(value)[:30]}")
        for place, values in table.items()
        for value in values
    ]


@pytest.mark.parametrize(("place", "value"), refused_values(MANIFEST_VALUES))
def test_a_number_of_the_manifest(shipped: Bundle, place: str, value: object) -> None:
    with pytest.raises(BundleError) as caught:
        decode_manifest(changed(manifest_of(shipped), place, value), shipped.path)
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("at", [None, "2026-11-29", "2026-11-29T12:00:00+00:00", "2026-11-29T12:00:00Z"])
def test_a_line_of_descent_is_read(shipped: Bundle, at: str | None) -> None:
    manifest = decode_manifest(
        changed(changed(manifest_of(shipped), "descent", [TAUGHT, TAUGHT | {"at": at}]), "kind", KINDS),
        shipped.path,
    )
    assert [step.at for step in manifest.descent] == [None, at]
    assert manifest.kind is not None


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" + "0" * 5000, "1e", "0x10"]
)
def test_what_is_no_number_in_json(shipped: Bundle, number: str) -> None:
    manifest = changed(manifest_of(shipped), "output.temperature", 123456789).replace(
        b"123456789", number.encode()
    )
    with pytest.raises(BundleError, match="cannot be read"):
        decode_manifest(manifest, shipped.path)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"{", b"null", b'{"schema_version": 4, "name": "\xff\xfe"}',
        b'{"schema_version":' + DEEP + b"}",
    ],
    ids=["nothing", "a list", "torn", "null", "no UTF-8", "deep"],
)  # fmt: skip
def test_what_is_no_manifest(shipped: Bundle, data: bytes) -> None:
    with pytest.raises(BundleError, match="cannot be read"):
        decode_manifest(data, shipped.path)


def test_deep_json_in_an_unknown_field(shipped: Bundle) -> None:
    with pytest.raises(BundleError, match="cannot be read"):
        decode_manifest(manifest_of(shipped)[:-1].rstrip()[:-1] + b',"zzz":' + DEEP + b"}", shipped.path)


# --- the validation ---------------------------------------------------------------------------------------

SHARES = (
    "weighted_f1", "accuracy", "auroc", "sensitivity", "specificity", "subject_sensitivity_mean",
    "subject_specificity_mean", "ece", "baseline_area_auroc", "uncertain", "flip_rate",
    "max_probability_change", "mean_probability_change",
)  # fmt: skip
DROPS = (
    "weighted_f1_drop", "accuracy_drop", "auroc_drop_upper_95", "sensitivity_drop", "ece_change",
    "specificity_drop_upper_95", "subject_sensitivity_mean_drop", "ece_change_upper_95",
    "subject_specificity_mean_drop_upper_95",
)  # fmt: skip
VALIDATION_VALUES: dict[str, tuple[object, ...]] = {
    "verdict": ("PASS", 1, None),
    "threshold": (-0.1, 1.1, "0.6"),
    "images_needed": (-1, 1.5),
    **{f"tflite_int8.{name}": (2.0, -1.0, 1e308, "x", True) for name in SHARES},
    **{f"onnx_int8.{name}": (1.5, -1.5) for name in DROPS},
    **{f"reference.{name}": (-10, 0, 1.5, 10**15) for name in ("cells", "groups")},
    # As many groups as cells at most, and the same of every network.
    "tflite_int8.groups": (1459, 8),
    "tflite_int8.subjects": (0, -1, 1459, 13),
    "tflite_int8.cells": (1459, 100),
    # The counts that the shares are of do not add up to the cells.
    "tflite_int8.accuracy": (0.5, 0.95, 0.8896),
    "tflite_int8.sensitivity": (0.9188, 0.8),
    "tflite_int8.specificity": (0.9, 0.8241),
    "tflite_int8.interval_95.sensitivity": ([1.0, 0.0], [0.1, 0.2], [-0.1, 1.0], [0.9, 1.1], [0.5], 3),
    "tflite_int8.interval_95.specificity": ([0.9, 0.95],),
    "tflite_int8.interval_95.accuracy": ([0.0, 0.5],),
    "tflite_int8.interval_95.ece": ([0.2, 0.1],),
    "tflite_int8.uncertain": (0.5,),
    "tflite_int8.uncertain_by_reason.area": (1.5, -0.1, 0.5),
    "tflite_int8.mcnemar.lost": (-1, 5967),
    "tflite_int8.mcnemar.p": (1.5, -0.1),
    "tflite_int8.flips": (-1, 5967, 12),
    "tflite_int8.flip_rate": (0.5,),
    "tflite_int8.mean_probability_change": (0.5,),
    "tflite_int8.flipped.0.probability_int8": (1.5, -0.1),
    "tflite_int8.flipped.0.margin": (2.0,),
    "tflite_int8.most_changed.probability_float": (-1,),
    "tflite_int8.worst_subject.cells": (-1, 0),
    "tflite_int8.worst_subject.accuracy_int8": (1.5, 0.1),
    "tflite_int8.worst_subject.drop": (-2, 0.5),
    "limits.flips": (-0.1, 1.1),
    "limits.probability_change": (5,),
    "repair.tried.0.networks.onnx_int8.correlation": (1.5, -2),
    "repair.tried.0.networks.onnx_int8.rms_difference": (-1,),
    "repair.cost.onnx_int8.size_bytes": (-1, 1.5),
    "repair.cost.onnx_int8.size_ratio": (-1,),
    "audit.0.operations.ADD": (-1, 1.5),
    "audit.1.input_error_bytes": (-1,),
}


@pytest.mark.parametrize(("place", "value"), refused_values(VALIDATION_VALUES))
def test_a_number_of_the_validation(shipped: Bundle, place: str, value: object) -> None:
    with pytest.raises(BundleError, match=r"the validation in x.edgeleuk cannot be read") as caught:
        decode_validation(changed(shipped.members[VALIDATION], place, value), "x.edgeleuk")
    assert "\n" not in str(caught.value)


def test_a_validation_of_another_version_may_say_more_or_less(shipped: Bundle) -> None:
    more = changed(shipped.members[VALIDATION], "tflite_int8.later", {"figure": 7})
    assert (
        decode_validation(more, "x").tflite_int8
        == decode_validation(shipped.members[VALIDATION], "x").tflite_int8
    )
    assert decode_validation(b'{"schema_version": 1, "verdict": "fail"}', "x").networks() == []


@pytest.mark.parametrize("figures", [(0, 1, 1, 1, 1), (3, 4, 1, 1, 1), (10, 2, 0.55, 0.6, 0.5)])
def test_counts_that_cannot_be(figures: tuple[float, ...]) -> None:
    names = ("cells", "groups", "accuracy", "sensitivity", "specificity")
    said = {"verdict": "pass", "tflite_int8": dict(zip(names, figures, strict=True))}
    with pytest.raises(BundleError, match="expected"):
        decode_validation(json.dumps(said).encode(), "x")


def test_whole_counts_of_every_kind_are_taken() -> None:
    """Whatever counts a network is judged by, its shares are taken."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        positives, negatives = (int(count) for count in rng.integers(1, 3000, 2))
        right, kept = int(rng.integers(0, positives + 1)), int(rng.integers(0, negatives + 1))
        cells = positives + negatives
        network = {
            "cells": cells,
            "groups": int(rng.integers(1, cells + 1)),
            "accuracy": (right + kept) / cells,
            "sensitivity": right / positives,
            "specificity": kept / negatives,
        }
        said = {"verdict": "pass", "reference": network}
        found = decode_validation(json.dumps(said).encode(), "x").reference
        assert found is not None
        if abs(network["sensitivity"] - network["specificity"]) > 0.01:
            assert round(found.positives) == positives


# --- labels, calibration, training ------------------------------------------------------------------------

OTHERS: dict[str, tuple[str, str, object, str]] = {
    "labels turned round": (LABELS, "positive", "normal", "labels.json"),
    "labels without a name": (LABELS, "negative", "", "labels.json"),
    "another count of images": (CALIBRATION, "count", 99, "expected count from 100 to 100, got 99"),
    "a negative count": (CALIBRATION, "count", -1, "calibration.json"),
    "a seed that is none": (CALIBRATION, "seed", 1.5, "calibration.json"),
    "a hash that is none": (CALIBRATION, "images.0.sha256", "abc", "calibration.json"),
    "a contract out of range": (CALIBRATION, "input.height", 0, "calibration.json"),
    "no images": (CALIBRATION, "images", 5, "calibration.json"),
    "parameters below nothing": (TRAINING, "parameters", -1, "training.json"),
    "a temperature below nothing": (TRAINING, "output.temperature", -1, "training.json"),
    "a vast setting": (TRAINING, "settings.learning_rate", 1e300, "training.json"),
    "an envelope turned round": (TRAINING, "envelope.area_um2", [2, 1], "training.json"),
}


@pytest.mark.parametrize("fault", OTHERS)
def test_what_the_other_members_say(shipped: Bundle, fault: str) -> None:
    member, place, value, named = OTHERS[fault]
    members = dict(shipped.members) | {member: changed(shipped.members[member], place, value)}
    manifest = msgspec.structs.replace(shipped.manifest, members=describe_members(members))
    with pytest.raises(BundleError) as caught:
        require_plausible(manifest, members, "x.edgeleuk")
    assert named in str(caught.value)


def test_a_member_of_another_size_than_the_manifest_says(shipped: Bundle) -> None:
    entry = shipped.manifest.members[LABELS]
    members = shipped.manifest.members | {LABELS: msgspec.structs.replace(entry, size_bytes=7)}
    with pytest.raises(
        BundleError, match=r"labels.json in x has another size than the manifest says: got 40"
    ):
        require_plausible(msgspec.structs.replace(shipped.manifest, members=members), shipped.members, "x")


# --- arrays -----------------------------------------------------------------------------------------------


def arrays_in(data: bytes) -> dict[str, Any]:
    with np.load(io.BytesIO(data)) as found:
        return dict(found)


def packed(arrays: dict[str, Any], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Pack arrays; bytes stand for a whole ``.npy`` as it is."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, value in arrays.items():
            whole = io.BytesIO()
            if isinstance(value, bytes):
                whole.write(value)
            else:
                np.lib.format.write_array(whole, np.asarray(value), allow_pickle=True)
            archive.writestr(f"{name}.npy", whole.getvalue())
    return buffer.getvalue()


def header(shape: tuple[int, ...], kind: str = "<f8") -> bytes:
    """An array of which there is nothing but its header."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": kind, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def npy(words: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(words).to_bytes(2, "little") + words


def with_value(name: str, place: tuple[int, ...], value: float) -> Callable[[dict[str, Any]], Any]:
    def change(arrays: dict[str, Any]) -> None:
        found = arrays[name].copy()
        found[place] = value
        arrays[name] = found

    return change


def with_array(name: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda arrays: arrays.update({name: value})


NAN = float("nan")


def kinds_of_cells(change: Callable[[Any], Any]) -> Callable[[dict[str, Any]], Any]:
    def put(arrays: dict[str, Any]) -> None:
        kinds = np.full((8, 2), 0.5)
        arrays["model.int8.tflite.kinds"] = change(kinds)
        arrays["model.int8.tflite.kinds.tolerance"] = kinds / 10

    return put


def of_heads() -> dict[str, bytes]:
    """Return members that the shipped bundle may lack: a head of two answers and three cells for teaching."""
    ones = np.ones(20, np.float32)
    head = KernelHead(
        ones, ones, np.ones((4, 20), np.float16), np.ones((4, 2), np.float32), np.zeros(2, np.float32), 1.0
    )
    rows = np.arange(60.0).reshape(3, 20)
    cells = Reference.compact(rows, ["a", "b", "a"], ["s"] * 3, [7, 7, 8], {"s": "cited"})
    return {KIND: encode_head(head), REFERENCE: encode_reference(cells)}


ARRAYS: dict[str, dict[str, Callable[[dict[str, Any]], Any]]] = {
    FOREST: {
        "a limit that is no number": with_value("limit", (0,), NAN),
        "an endless limit": with_value("limit", (0,), float("inf")),
        "a share above 1": with_value("value", (0,), 1.5),
        "a share below 0": with_value("value", (0,), -0.5),
        "an unknown number": with_value("feature", (0,), 14),
        "a leaf of another kind": with_value("feature", (0,), -2),
        "a child beyond the list": with_value("left", (0,), 10**9),
        "a child before its parent": with_value("right", (0,), 0),
        "a root beyond the list": with_value("roots", (0,), 10**9),
        "no roots": with_array("roots", np.zeros(0, np.int32)),
        "children that wrap round": lambda a: a.update(left=a["left"].astype(np.int64) + 2**32),
        "numbers that wrap round": lambda a: a.update(feature=a["feature"].astype(np.int64) + 65536),
        "a size that is not there": with_array("limit", header((10**12,))),
        "a size beyond all": with_array("limit", header((2**40, 2**40))),
        "a size below nothing": with_array("limit", header((-1,))),
        "texts": with_array("limit", np.array(["x"] * 3)),
        "complex numbers": with_array("limit", np.zeros(3, complex)),
        "dates": with_array("limit", np.zeros(3, "M8[s]")),
        "records": with_array("limit", np.zeros(3, [("a", "f8"), ("b", "f8")])),
        "objects": with_array("limit", np.array([{}], object)),
        "a torn header": with_array("limit", npy(b"{'descr': '<f8', \n")),
        "a deep header": with_array("limit", npy(b"(" * 9000)),
        "a header that computes": with_array("limit", npy(b"{'descr': '<f8', 'shape': (9**9**9,)}\n")),
        "no array": with_array("limit", b"hello"),
        "an unknown version": with_array("limit", b"\x93NUMPY\x09\x09\x10\x00" + b" " * 100),
        "an array less": lambda a: a.pop("limit"),
        "a walk without end": lambda a: a.update(
            feature=np.r_[np.zeros(4999, np.int16), np.int16(-1)],
            limit=np.zeros(5000),
            value=np.zeros(5000, np.float32),
            left=np.minimum(np.arange(5000) + 1, 4999),
            right=np.minimum(np.arange(5000) + 1, 4999),
            roots=np.zeros(1, np.int32),
        ),
    },
    FEATURES: {
        "a mean that is no number": with_value("mean", (3,), NAN),
        "an endless basis": with_value("basis", (0, 3), float("inf")),
        "no residual": with_array("residual", np.zeros(1)),
        "a residual below 0": with_array("residual", -np.ones(1)),
        "an endless residual": with_array("residual", np.full(1, np.inf)),
        "a residual of two dimensions": with_array("residual", np.ones((1, 3))),
        "a residual of none": with_array("residual", np.float64(1)),
        "a residual in words": with_array("residual", np.array(["abc"])),
        "a mean of none": with_array("mean", np.array(5.0)),
        "a basis of another width": with_array("basis", np.ones((16, 4), np.float32)),
        "no basis": with_array("basis", np.ones((0, 448), np.float32)),
    },
    SUPPORT: {
        "a bias of two dimensions": with_array("bias", np.ones((1, 3))),
        "a bias that is no number": with_array("bias", np.full(1, NAN)),
        "a deviation of 0": with_value("deviation", (0,), 0),
        "a deviation below 0": with_value("deviation", (0,), -1),
        "an endless vector": with_value("vectors", (0, 0), float("inf")),
        "a vector beyond float16": lambda a: a.update(vectors=a["vectors"].astype(np.float64) * 1e9),
        "a weight that is no number": with_value("weights", (0,), NAN),
        "a weight beyond float32": lambda a: a.update(weights=np.full(2028, 1e300)),
        "other counts": with_array("weights", np.ones(3, np.float32)),
        "a projection to other directions": with_array("projection", np.ones((448, 7), np.float16)),
        "a projection of other features": with_array("projection", np.ones((7, 448), np.float16)),
        "a projection of one dimension": with_array("projection", np.ones(448, np.float16)),
        "a projection that is no number": with_array("projection", np.full((448, 448), NAN)),
        "a projection beyond float16": with_array("projection", np.full((448, 448), 1e9)),
    },
    KIND: {
        "a mean that is no number": with_value("mean", (3,), NAN),
        "an endless deviation": with_value("deviation", (3,), float("inf")),
        "a deviation of 0": with_value("deviation", (0,), 0),
        "a deviation next to nothing": with_value("deviation", (0,), 1e-30),
        "a deviation beyond all": with_value("deviation", (0,), 1e30),
        "a mean beyond all": with_value("mean", (0,), 1e30),
        "an endless vector": with_value("vectors", (0, 0), float("inf")),
        "a weight that is no number": with_value("weights", (0, 0), NAN),
        "a weight beyond all": with_value("weights", (0, 0), 1e20),
        "a bias that is no number": with_value("bias", (0,), NAN),
        "a bias for one answer less": with_array("bias", np.zeros(1, np.float32)),
        "weights of one dimension": with_array("weights", np.ones(4, np.float32)),
        "weights of other cells": with_array("weights", np.ones((3, 2), np.float32)),
        "no vectors": lambda a: a.update(
            vectors=np.zeros((0, 20), np.float16), weights=np.zeros((0, 2), np.float32)
        ),
        "no answers": lambda a: a.update(bias=np.zeros(0, np.float32), weights=np.zeros((4, 0), np.float32)),
        "vectors of another width": with_array("vectors", np.ones((4, 19), np.float16)),
        "a projection to other directions": with_array("projection", np.ones((20, 7), np.float16)),
        "an endless projection": with_array("projection", np.full((20, 20), np.inf)),
        "fewer features than are hand-crafted": lambda a: a.update(
            mean=a["mean"][:13], deviation=a["deviation"][:13], vectors=a["vectors"][:, :13]
        ),
        "no gamma": with_array("gamma", np.zeros(1)),
        "a gamma that is no number": with_array("gamma", np.full(1, NAN)),
        "a gamma beyond all": with_array("gamma", np.full(1, 1e30)),
        "two gammas": with_array("gamma", np.ones(2)),
        "a size that is not there": with_array("vectors", header((10**9, 462), "<f2")),
        "vectors in words": with_array("vectors", np.array([["x"]])),
        "an array less": lambda a: a.pop("bias"),
    },
    REFERENCE: {
        "a scale that is no number": with_value("scale", (0,), NAN),
        "a scale of 0": with_value("scale", (0,), 0),
        "a scale beyond all": with_value("scale", (0,), 1e30),
        "an offset beyond all": with_value("offset", (0,), -1e30),
        "an endless offset": with_value("offset", (0,), float("inf")),
        "features of another width": with_array("features", np.zeros((3, 19), np.int8)),
        "features of other cells": with_array("features", np.zeros((5, 20), np.int8)),
        "real features": with_array("features", np.zeros((3, 20))),
        "features beyond a byte": with_array("features", np.full((3, 20), 300)),
        "no cells": lambda a: a.update(
            {name: a[name][:0] for name in ("features", "labels", "sources", "groups")}
        ),
        "a label beyond the list": with_value("labels", (0,), 9),
        "a label before the list": with_value("labels", (0,), -1),
        "a source beyond the list": with_value("sources", (0,), 2**31 - 1),
        "a group below 0": with_value("groups", (0,), -1),
        "groups that wrap round": with_array("groups", np.full(3, 2**40)),
        "no texts": lambda a: a.pop("texts"),
        "texts that are no JSON": with_array("texts", np.frombuffer(b"{]", np.uint8)),
        "a source that nobody cites": with_array(
            "texts", np.frombuffer(b'{"labels":["a","b"],"sources":["s"],"citations":[]}', np.uint8)
        ),
        "one label twice": with_array(
            "texts", np.frombuffer(b'{"labels":["a","a"],"sources":["s"],"citations":["c"]}', np.uint8)
        ),
        "a label without a name": with_array(
            "texts", np.frombuffer(b'{"labels":["a",""],"sources":["s"],"citations":["c"]}', np.uint8)
        ),
        "a size that is not there": with_array("features", header((10**9, 20), "|i1")),
        "more cells than are allowed": lambda a: a.update(
            {name: np.zeros(100_001, np.int32) for name in ("labels", "sources", "groups")},
            features=np.zeros((100_001, 20), np.int8),
        ),
    },
    GOLDEN: {
        "no cells": with_array("tensors", np.zeros((0, 304, 304, 5), np.uint8)),
        "other tensors": with_array("tensors", np.zeros((8, 10, 10, 5), np.uint8)),
        "a number for tensors": with_array("tensors", np.uint8(3)),
        "real pixels": with_array("crop0.pixels", np.ones((10, 10, 3))),
        "a black cell": with_array("crop0.pixels", np.zeros((10, 10, 3), np.uint8)),
        "a grey cell": with_array("crop0.pixels", np.ones((10, 10), np.uint8)),
        "a cell less": lambda a: a.pop("crop3.pixels"),
        "no scale": with_array("crop0.px_per_um", np.zeros(1)),
        "a scale that is no number": with_array("crop0.px_per_um", np.full(1, NAN)),
        "a scale that makes it vast": with_array("crop0.px_per_um", np.full(1, 0.06)),
        "a scale below all": with_array("crop0.px_per_um", np.full(1, 1e-9)),
        "an answer that is no number": with_value("model.int8.tflite.output", (0, 0), NAN),
        "answers of other cells": with_array("model.int8.tflite.output", np.zeros((3, 1), np.float32)),
        "features that are no numbers": with_value("model.int8.onnx.features", (0, 0), NAN),
        "an endless tolerance": with_array("model.int8.tflite.tolerance", np.full(2, np.inf)),
        "a vast tolerance": with_array("model.int8.tflite.tolerance", np.full(2, 1e30)),
        "a tolerance below 0": with_array("model.int8.tflite.tolerance", np.full(2, -1.0)),
        "a mean above the largest": with_array("model.int8.tflite.tolerance", np.array([0.1, 0.2])),
        "three tolerances": with_array("model.int8.tflite.tolerance", np.ones(3)),
        "no tolerance": lambda a: a.pop("model.int8.tflite.tolerance"),
        "a probability above 1": with_value("model.int8.tflite.probability", (0,), 1.5),
        "a probability below 0": with_value("model.int8.tflite.probability", (0,), -0.5),
        "a tolerance above 1": with_value("model.int8.tflite.probability.tolerance", (0,), 1.5),
        "calls as numbers": with_array("model.int8.tflite.decision", np.zeros(8)),
        "an unknown call": with_array("model.int8.tflite.decision", np.array(["ill"] * 8)),
        "calls of other cells": with_array("model.int8.tflite.decision", np.array(["blast"])),
        "kinds that are no numbers": kinds_of_cells(lambda kinds: kinds * NAN),
        "kinds of other cells": kinds_of_cells(lambda kinds: kinds[:3]),
        "a kind above 1": kinds_of_cells(lambda kinds: kinds + 1),
        "kinds of one dimension": kinds_of_cells(lambda kinds: kinds[:, 0]),
        "log odds that are no numbers": with_value("forest.npz", (0,), NAN),
        "no JSON in it": with_array("made_with", np.frombuffer(b"{]", np.uint8)),
        "another JSON in it": with_array("made_with", np.frombuffer(b'{"input": 5}', np.uint8)),
        "floats for JSON": with_array("made_with", np.zeros(3)),
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("member", "fault"), [(member, fault) for member in ARRAYS for fault in ARRAYS[member]]
)
def test_a_number_in_an_array(shipped: Bundle, member: str, fault: str) -> None:
    arrays = arrays_in({**shipped.members, **of_heads()}[member])
    ARRAYS[member][fault](arrays)
    with pytest.raises(
        BundleError, match=r"cannot be read|do not fit the input contract|is too large"
    ) as caught:
        decoded(shipped, member, packed(arrays))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def decoded(bundle: Bundle, member: str, data: bytes) -> None:
    if member == GOLDEN:
        require_fitting(decode_golden(data), bundle.manifest.input)
    else:
        decode: dict[str, Callable[[bytes], object]] = {
            FOREST: decode_forest,
            FEATURES: decode_features,
            SUPPORT: decode_support,
            KIND: lambda head: decode_head(head, KIND),
            REFERENCE: decode_reference,
        }
        decode[member](data)


@pytest.mark.parametrize("member", list(ARRAYS))
def test_arrays_that_are_in_order_are_taken(shipped: Bundle, member: str) -> None:
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        decoded(shipped, member, packed(arrays_in({**shipped.members, **of_heads()}[member]), compression))


@pytest.mark.parametrize("member", list(ARRAYS))
@pytest.mark.parametrize("data", [b"", b"hello" * 100, b"\x93NUMPY" + bytes(100), npy(b"{}\n")])
def test_what_is_no_npz(shipped: Bundle, member: str, data: bytes) -> None:
    with pytest.raises(BundleError, match="cannot be read"):
        decoded(shipped, member, data)


def test_a_bomb_is_refused_by_its_size(shipped: Bundle) -> None:
    """More zeros than an array may hold, in a small zip, are never unpacked."""
    buffer = io.BytesIO(packed(arrays_in(shipped.members[FEATURES])))
    with (
        zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("zz.npy", "w") as member,
    ):
        member.write(header((17 << 24,), "|u1"))
        for _ in range(17):
            member.write(bytes(1 << 24))
    assert len(buffer.getvalue()) < 2e6
    with pytest.raises(BundleError, match="bytes of arrays, allowed 268435456"):
        decode_features(buffer.getvalue())


def test_every_kind_of_array_comes_back_as_numpy_wrote_it() -> None:
    rng = np.random.default_rng(0)
    wrote = {
        kind: (rng.random((3, 4)) * 100).astype(kind)
        for kind in ("u1", "i1", "<i2", "<i4", "<i8", "<u4", "<f2", "<f4", "<f8", "?")
    } | {
        "texts": np.array(["blast", ""]),
        "order": np.asfortranarray(rng.random((3, 4))),
        "none": np.zeros((0, 3)),
        "one": np.array(3.5),
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **wrote)
    with arrays_of(buffer.getvalue(), "the arrays") as found:
        assert set(found) == set(wrote)
        for name, array in wrote.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype


# --- the whole --------------------------------------------------------------------------------------------


def test_every_command_ends_with_one_sentence(
    edgeleuk: Callable[..., Outcome], shipped: Bundle, tmp_path: Path
) -> None:
    wrong = changed(shipped.members[VALIDATION], "tflite_int8.sensitivity", 2.0)
    members = dict(shipped.members) | {VALIDATION: wrong}
    path = tmp_path / "x.edgeleuk"
    write_bundle(path, msgspec.structs.replace(shipped.manifest, members=describe_members(members)), members)
    for words in (("verify",), ("inspect",), ("run", "--camera", "virtual://", "--frames", "1", "--bundle")):
        outcome = edgeleuk(*words, path)
        assert (outcome.code, outcome.out) == (7, ""), outcome
        assert "`$.tflite_int8.sensitivity`" in outcome.err
        assert len(outcome.err.splitlines()) == 1


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5])
def test_every_schema_is_read(shipped: Bundle, tmp_path: Path, version: int) -> None:
    members = {
        name: data for name, data in shipped.members.items() if version >= 2 or name not in (FEATURES, FOREST)
    }
    manifest = json.loads(manifest_of(shipped)) | {"schema_version": version}
    manifest["members"] = {name: manifest["members"][name] for name in members}
    if version < 2:
        manifest.pop("gate")
        for name in ("bias", "conformal", "forest_weight", "positive"):
            manifest["output"].pop(name)
        for name in ("framing", "picture_px", "surroundings"):
            manifest["input"].pop(name)
    path = tmp_path / "x.edgeleuk"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**members, MANIFEST: json.dumps(manifest).encode()}.items():
            archive.writestr(name, data)
    assert read_bundle(path).manifest.schema_version == version


def test_a_device_is_no_bundle() -> None:
    with pytest.raises(UsageError, match="which is a device or a pipe"):
        read_bundle("/dev/zero")
