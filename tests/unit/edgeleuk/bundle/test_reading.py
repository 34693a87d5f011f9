"""A bundle is what its manifest says, or it is refused by name."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleuk.bundle.contents import Bundle
from edgeleuk.bundle.features import FeatureStatistics, encode_features
from edgeleuk.bundle.forest import Forest, encode_forest
from edgeleuk.bundle.golden import GoldenVectors, encode_golden
from edgeleuk.bundle.heads import HAND_CRAFTED, KernelHead, encode_head
from edgeleuk.bundle.manifest import (
    BLAST,
    CALIBRATION,
    FEATURES,
    FOREST,
    GOLDEN,
    KIND,
    MANIFEST,
    REFERENCE,
    SUPPORT,
    TRAINING,
    VALIDATION,
)
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.bundle.reference import Reference, encode_reference
from edgeleuk.bundle.support_vectors import SupportVectors, encode_support
from edgeleuk.bundle.writing import bundle_bytes, describe_members, write_bundle
from edgeleuk.classifier.self_test import replay
from edgeleuk.errors import BundleError, UsageError
from edgeleuk.frames import CellCrop

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from outcome import Outcome

Members = dict[str, bytes]


@pytest.fixture(scope="module")
def shipped() -> Bundle:
    return read_bundle("default")


def packed(members: Members, compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def members_of(bundle: Bundle) -> Members:
    with zipfile.ZipFile(bundle.path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def manifest_with(members: Members, change: Callable[[dict[str, object]], None]) -> Members:
    manifest = json.loads(members[MANIFEST])
    change(manifest)
    return members | {MANIFEST: json.dumps(manifest).encode()}


def without(members: Members, name: str) -> Members:
    return {key: data for key, data in members.items() if key != name}


def unnamed(members: Members, name: str, change: Callable[[dict[str, object]], None]) -> Members:
    """Take a member away, from the manifest's list too."""

    def forget(manifest: dict[str, object]) -> None:
        manifest["members"].pop(name, None)  # type: ignore[attr-defined]
        change(manifest)

    return manifest_with(without(members, name), forget)


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def encrypted(data: bytes) -> bytes:
    """Mark the last member as encrypted."""
    flags = data.rindex(b"PK\x01\x02") + 8
    return data[:flags] + bytes([data[flags] | 1]) + data[flags + 1 :]


def twice(members: Members) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in (*members, MANIFEST):
            archive.writestr(name, members[name])
    return buffer.getvalue()


def with_member(members: Members, name: str, data: bytes, **changes: object) -> Members:
    """Put a member in, and into the manifest's list, too."""

    def know(manifest: dict[str, object]) -> None:
        described = describe_members({name: data})[name]
        manifest["members"][name] = msgspec.to_builtins(described)  # type: ignore[index]
        for key, value in changes.items():
            old = manifest.get(key)
            manifest[key] = old | value if isinstance(old, dict) and isinstance(value, dict) else value

    return manifest_with(members | {name: data}, know)


def head(features: int, answers: int) -> KernelHead:
    ones = np.ones(features + HAND_CRAFTED, np.float32)
    weights = np.ones((1, answers), np.float32)
    return KernelHead(ones, ones, ones[None].astype(np.float16), weights, weights[0], 1.0)


def reference(width: int) -> Reference:
    return Reference.compact(np.ones((1, width)), ["blast"], ["drawn"], [0], {"drawn": "by the project"})


KINDS = {
    "kinds": ["lymphocyte", "neutrophil"], "sharpness": 8.0, "least": 0.5, "area_um2": [10.0, 500.0],
    "distances": [2.0, 2.0], "cells": 24, "slides": 4,
}  # fmt: skip
GATE = {
    "appearance": dict.fromkeys(("red_to_green", "blue_to_green", "red_to_blue", "sharpness"), (0.5, 2.0)),
    "features": {"limit": 1.5, "cells": 100, "subjects": 10},
}
DAMAGE: dict[str, tuple[Callable[[Members], bytes], str]] = {
    "empty file": (lambda _: b"", "is no bundle, or a truncated one"),
    "no zip": (lambda _: b"hello" * 100, "is no bundle, or a truncated one"),
    "truncated": (lambda m: packed(m)[:-2000], "is no bundle, or a truncated one"),
    "another zip": (lambda _: packed({"readme.txt": b"hello"}), "is no bundle: got no manifest.json in it"),
    "compressed": (lambda m: packed(m, zipfile.ZIP_DEFLATED), "got compressed members"),
    "encrypted": (lambda m: encrypted(packed(m)), "is no bundle, or a truncated one: got File"),
    "two members of one name": (twice, "got two members of one name"),
    "one byte of a network": (
        lambda m: packed(m | {"model.int8.tflite": flipped(m["model.int8.tflite"])}),
        "model.int8.tflite in x.edgeleuk has the wrong hash",
    ),
    "a missing member": (lambda m: packed(without(m, GOLDEN)), "lacks golden.npz"),
    "a smuggled member": (lambda m: packed(m | {"run.py": b"print()"}), "does not name: got run.py"),
    "newer schema": (
        lambda m: packed(manifest_with(m, lambda man: man.update(schema_version=99))),
        "another schema version: got 99, allowed 1 or 2 or 3 or 4 or 5 or 6; update edgeleuk",
    ),
    "older schema": (
        lambda m: packed(manifest_with(m, lambda man: man.update(schema_version=0))),
        "got 0, allowed 1 or 2 or 3 or 4 or 5 or 6; convert the network again",
    ),
    "unknown field": (
        lambda m: packed(manifest_with(m, lambda man: man.update(surprise=1))),
        "unknown field `surprise`",
    ),
    "nonsense in a contract": (
        lambda m: packed(manifest_with(m, lambda man: man["input"].update(height=0))),  # type: ignore[attr-defined]
        "height from 8 to 4096, got 0",
    ),
    "a gate without its statistics": (
        lambda m: packed(unnamed(m, FEATURES, lambda man: man.update(gate=GATE))),
        "lacks features.npz",
    ),
    "a weight without its forest": (
        lambda m: packed(unnamed(m, FOREST, lambda man: man["output"].update(forest_weight=0.5))),  # type: ignore[attr-defined]
        "lacks forest.npz",
    ),
    "kinds without their head": (
        lambda m: packed(unnamed(m, KIND, lambda man: man.update(kind=KINDS))),
        "lacks kind.npz",
    ),
    "a head for kinds that the manifest does not know": (
        lambda m: packed(with_member(m, KIND, encode_head(head(448, 2)), kind=None)),
        "kind.npz in x.edgeleuk and the bundle do not fit: got 2 scores, allowed 0; teach it again",
    ),
    "a head for kinds of other features": (
        lambda m: packed(with_member(m, KIND, encode_head(head(447, 2)), kind=KINDS)),
        "kind.npz in x.edgeleuk and the bundle do not fit: got 447 features, allowed 448",
    ),
    "a head for blasts of other features": (
        lambda m: packed(with_member(m, BLAST, encode_head(head(1, 1)))),
        "blast.npz in x.edgeleuk and the bundle do not fit: got 1 features, allowed 448",
    ),
    "a head for blasts of two answers": (
        lambda m: packed(with_member(m, BLAST, encode_head(head(448, 2)))),
        "blast.npz in x.edgeleuk and the bundle do not fit: got 2 scores, allowed 1",
    ),
    "a head for blasts whose scores are to be probabilities": (
        lambda m: packed(with_member(m, BLAST, encode_head(head(448, 1)), output={"kind": "probability"})),
        "blast.npz in x.edgeleuk and its manifest do not fit: got output of kind probability",
    ),
    "a damaged head": (
        lambda m: packed(with_member(m, BLAST, b"hello")),
        "blast.npz in x.edgeleuk cannot be read: got File is not a zip file; teach it again",
    ),
    "cells for teaching of other features": (
        lambda m: packed(with_member(m, REFERENCE, encode_reference(reference(30)))),
        "reference.npz in x.edgeleuk and the bundle do not fit: got 16 features, allowed 448",
    ),
    "cells for teaching that are too many": (
        lambda m: packed(with_member(m, REFERENCE, bytes(1_000_001))),
        "reference.npz in x.edgeleuk is too large: got 1000001, allowed 1000000; teach it again",
    ),
    "manifest is no JSON": (lambda m: packed(m | {MANIFEST: b"{"}), "cannot be read"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_refused_by_name(shipped: Bundle, tmp_path: Path, damage: str) -> None:
    make, sentence = DAMAGE[damage]
    path = tmp_path / "x.edgeleuk"
    path.write_bytes(make(members_of(shipped)))
    with pytest.raises(BundleError) as caught:
        read_bundle(path)
    assert sentence in str(caught.value)


@pytest.fixture(scope="module")
def short(shipped: Bundle) -> tuple[Bundle, bytes]:
    """A bundle of small members, most of them the beginnings of networks: as a file it is like any other."""
    rows = np.zeros((1, *shipped.manifest.input.shape), np.uint8)
    crop = CellCrop.on_black(np.full((8, 8, 3), 9, np.uint8), 18.5)
    kept = shipped.members.keys() - {KIND, REFERENCE}
    members = {name: shipped.members[name][:2000] for name in sorted(kept)} | {
        VALIDATION: b'{"verdict": "pass"}',
        CALIBRATION: b'{"strategy": "random", "seed": 0, "images": []}',
        TRAINING: b"{}",
        GOLDEN: encode_golden(GoldenVectors((crop,), rows)),
        FEATURES: encode_features(
            FeatureStatistics(np.zeros(2, np.float32), np.eye(2, dtype=np.float32), 1.0)
        ),
        FOREST: encode_forest(
            Forest(
                np.array([-1], np.int16), np.zeros(1), np.zeros(1, np.int32), np.zeros(1, np.int32),
                np.ones(1, np.float32), np.zeros(1, np.int32),
            )
        ),
        SUPPORT: encode_support(
            SupportVectors(
                np.zeros(1, np.float32), np.ones(1, np.float32), np.zeros((1, 1), np.float16),
                np.ones(1, np.float32), 0.0,
            )
        ),
    }  # fmt: skip
    manifest = msgspec.structs.replace(shipped.manifest, members=describe_members(members), kind=None)
    return Bundle(shipped.path, shipped.sha256, manifest, members), bundle_bytes(manifest, members)


def test_the_small_bundle_is_one(short: tuple[Bundle, bytes], tmp_path: Path) -> None:
    path = tmp_path / "x.edgeleuk"
    path.write_bytes(short[1])
    assert read_bundle(path).manifest == short[0].manifest


@given(st.data())
def test_whatever_byte_changes_it_is_refused_or_says_the_same(
    short: tuple[Bundle, bytes], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    bundle, whole = short
    # Half of them in the zip's directory, where a reader believes what it reads.
    directory = whole.index(b"PK\x01\x02")
    start = data.draw(st.sampled_from([0, directory]))
    damaged = bytearray(whole)
    for place in data.draw(st.lists(st.integers(start, len(whole) - 1), min_size=1, max_size=3)):
        damaged[place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "x.edgeleuk"
    path.write_bytes(damaged)
    try:
        found = read_bundle(path)
    except BundleError:
        return
    assert (found.manifest, found.members) == (bundle.manifest, bundle.members)


@given(st.data())
def test_wherever_it_is_cut_off_it_is_refused(
    short: tuple[Bundle, bytes], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    _, whole = short
    path = tmp_path_factory.mktemp("cut") / "x.edgeleuk"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(BundleError, match="is no bundle, or a truncated one"):
        read_bundle(path)


COMMANDS = [
    ("verify",),
    ("inspect",),
    ("classify", "none.png", "--bundle"),
    ("run", "--camera", "virtual://?width=320&height=240", "--frames", "1", "--session", "s.db", "--bundle"),
    ("validate", "--data", ".", "--"),
    ("evaluate", "--data", ".", "--"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
@pytest.mark.parametrize("damage", ["truncated", "one byte of a network", "newer schema", "a missing member"])
def test_every_command_refuses_damage_and_writes_nothing(
    edgeleuk: Callable[..., Outcome], shipped: Bundle, tmp_path: Path, damage: str, words: tuple[str, ...]
) -> None:
    make, sentence = DAMAGE[damage]
    path = tmp_path / "x.edgeleuk"
    path.write_bytes(make(members_of(shipped)))
    outcome = edgeleuk(*words, path.with_suffix(".edgeleuk"))
    assert (outcome.code, outcome.out) == (7, ""), outcome
    assert sentence in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == [path]


def with_record(bundle: Bundle, record: bytes, path: Path) -> Path:
    members = dict(bundle.members) | {TRAINING: record}
    write_bundle(path, msgspec.structs.replace(bundle.manifest, members=describe_members(members)), members)
    return path


def test_inspect_shows_the_stamp_of_a_training_that_leaked(
    edgeleuk: Callable[..., Outcome], shipped: Bundle, tmp_path: Path
) -> None:
    record = json.loads(shipped.members[TRAINING]) | {"stamp": "LEAKAGE ALLOWED: 3 of 9 test cells."}
    path = with_record(shipped, json.dumps(record).encode(), tmp_path / "x.edgeleuk")
    stamp = "LEAKAGE ALLOWED IN TRAINING: 3 of 9 test cells."
    assert edgeleuk("inspect", path).out.splitlines()[1] == stamp
    assert json.loads(edgeleuk("inspect", path, "--json").out)["stamp"] == stamp
    assert json.loads(edgeleuk("inspect", "--json").out)["stamp"] is None
    assert "LEAKAGE" not in edgeleuk("inspect").out


def test_inspect_refuses_a_training_record_that_cannot_be_read(
    edgeleuk: Callable[..., Outcome], shipped: Bundle, tmp_path: Path
) -> None:
    outcome = edgeleuk("inspect", with_record(shipped, b"[", tmp_path / "x.edgeleuk"))
    assert (outcome.code, outcome.out) == (7, "")
    assert "training.json in x.edgeleuk cannot be read" in outcome.err


def test_a_network_in_the_place_of_another_is_refused(
    edgeleuk: Callable[..., Outcome], shipped: Bundle, tmp_path: Path
) -> None:
    members = dict(shipped.members) | {"model.int8.tflite": shipped.members["model.int8.onnx"]}
    path = tmp_path / "x.edgeleuk"
    write_bundle(path, msgspec.structs.replace(shipped.manifest, members=describe_members(members)), members)
    outcome = edgeleuk("verify", path)
    assert (outcome.code, outcome.out) == (7, "")
    assert "the TFLite model cannot be loaded" in outcome.err


def test_a_bundle_that_cannot_be_written_leaves_nothing(shipped: Bundle, tmp_path: Path) -> None:
    taken = tmp_path / "taken.edgeleuk"
    taken.mkdir()
    for path in (taken, tmp_path / "no" / "x.edgeleuk"):
        with pytest.raises(UsageError, match="cannot be written"):
            write_bundle(path, shipped.manifest, shipped.members)
    assert sorted(tmp_path.iterdir()) == [taken]


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such bundle"):
        read_bundle(tmp_path / "none.edgeleuk")


def test_a_folder_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a bundle is a file"):
        read_bundle(tmp_path)


def test_what_is_written_is_read_back_and_gives_the_same_bytes(shipped: Bundle, tmp_path: Path) -> None:
    path, again = tmp_path / "one.edgeleuk", tmp_path / "two.edgeleuk"
    write_bundle(path, shipped.manifest, shipped.members)
    read = read_bundle(path)
    assert (read.manifest, read.members) == (shipped.manifest, shipped.members)
    write_bundle(again, read.manifest, read.members)
    assert again.read_bytes() == path.read_bytes()
    assert sorted(tmp_path.iterdir()) == [path, again]


def test_the_order_of_members_does_not_matter(shipped: Bundle) -> None:
    backwards = dict(reversed(shipped.members.items()))
    assert bundle_bytes(shipped.manifest, backwards) == bundle_bytes(shipped.manifest, shipped.members)


def test_the_shipped_golden_vectors_replay(shipped: Bundle) -> None:
    assert {result.status for result in replay(shipped)} == {"ok"}


def test_a_bundle_of_the_first_schema_is_one_without_what_the_second_added(
    shipped: Bundle, tmp_path: Path
) -> None:
    def first(manifest: dict[str, object]) -> None:
        manifest["schema_version"] = 1
        manifest.pop("gate", None)
        for name in ("bias", "conformal"):
            manifest["output"].pop(name, None)  # type: ignore[attr-defined]

    path = tmp_path / "first.edgeleuk"
    path.write_bytes(packed(manifest_with(members_of(shipped), first)))
    manifest = read_bundle(path).manifest
    assert (manifest.gate, manifest.output.bias, manifest.output.conformal) == (None, 0.0, None)


def test_a_network_that_is_not_there_is_named(shipped: Bundle) -> None:
    with pytest.raises(
        UsageError, match="carries no float32 network for onnxruntime: allowed int8 for litert"
    ):
        shipped.model_name("onnxruntime", "float32")


def test_the_shipped_bundle_is_small(shipped: Bundle) -> None:
    size = {name: entry.size_bytes for name, entry in shipped.manifest.members.items()}
    assert shipped.path.stat().st_size < 12e6
    # A quarter of the float file's, and 24 bytes of scales and zero points for each of 9,400 channels.
    assert size["model.int8.tflite"] < 0.35 * size["model.float32.tflite"]
    assert size["model.int8.onnx"] < 0.35 * size["model.float32.tflite"]


def test_the_shipped_card_says_how_it_was_made_and_cites_the_data(shipped: Bundle) -> None:
    card = shipped.members["card.md"].decode()
    assert "edgeleuk train --data DIR" in card
    assert "edgeleuk convert" in card
    assert "10.7937/tcia.2019.dc64i46r" in card
    assert shipped.manifest.intended_use in card
