"""Damaged and hostile bundles, found by atheris: whatever the bytes are, a bundle is read or refused.

    python tests/fuzz/fuzz_bundles.py --seconds 600

or by ``make fuzz``, with libFuzzer's own options; a file of an input alone is read again.

An input is a byte that says what of a small, sound bundle is replaced, and what replaces it: the whole file,
a member, or one array of a member. Hashes, sizes and checksums are made to fit, so that damage gets past
them. Anything but `BundleError` is a fault, and so are 10 s and 1 GB for one input. Needs atheris.
"""

from __future__ import annotations

import argparse
import io
import random
import re
import struct
import sys
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["edgeleuk.bundle"]):
    from edgeleuk.bundle.descent import Taught
    from edgeleuk.bundle.features import FeatureStatistics, encode_features
    from edgeleuk.bundle.forest import Forest, encode_forest
    from edgeleuk.bundle.golden import GoldenAnswer, GoldenVectors, Tolerance, encode_golden
    from edgeleuk.bundle.heads import KernelHead, encode_head
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
        KindContract,
    )
    from edgeleuk.bundle.reading import decode_bundle, decode_manifest, read_bundle
    from edgeleuk.bundle.reference import Reference, encode_reference
    from edgeleuk.bundle.support_vectors import SupportVectors, encode_support
    from edgeleuk.bundle.writing import bundle_bytes, describe_members

import msgspec
import numpy as np

from edgeleuk.bundle.contracts import Answer
from edgeleuk.errors import BundleError
from edgeleuk.frames import CellCrop
from edgeleuk.results.kinds import Kind

SECONDS_EACH, MEGABYTES = 10, 1024
LONGEST = 1 << 16
# What stands instead of a number or a text in JSON, and of 8 bytes in an array.
VALUES = (
    b"-1", b"0", b"1", b"2.0", b"0.5", b"1e308", b"1e999", b"-1e-300", b"NaN", b"null", b"true", b'""', b"[]",
    b"{}", b"9" * 40, b'"\\u001b[2J"', b"[[[[", b'"\xff"',
)  # fmt: skip
WORDS = (
    *(struct.pack("<d", value) for value in (float("nan"), float("inf"), -1.0, 0.0, 1e300, 5e-324)),
    *(struct.pack("<q", value) for value in (-1, 0, 1, 2**31, 2**63 - 1, -(2**63))),
)
_TOKEN = re.compile(rb'-?\d[\d.e+-]*|"[^"]*"|null|true|false')
PATH = Path("fuzzed.edgeleuk")


def small_members() -> dict[str, bytes]:
    """Return the members of a bundle that says what the shipped one says, with small arrays."""
    shipped = read_bundle("default")
    ones = np.ones(1, np.float32)
    shares = np.full(1, 0.5)
    answer = GoldenAnswer(
        Answer(ones[None], ones[None]), Tolerance(0.1, 0.1), Tolerance(0.1, 0.1), shares, shares, ("blast",)
    )
    both = np.full((1, 2), 0.5)
    answer = replace(answer, kinds=both, kind_tolerances=both)
    contract = msgspec.structs.replace(shipped.manifest.input, height=8, width=8)
    vectors = GoldenVectors(
        (CellCrop.on_black(np.full((8, 8, 3), 9, np.uint8), 18.5),),
        np.zeros((1, *contract.shape), np.uint8),
        {"model.int8.tflite": {"usual": answer}},
        np.zeros(1),
    )
    forest = Forest(
        np.array([0, -1, -1], np.int16), np.zeros(3), np.array([1, 0, 0], np.int32),
        np.array([2, 0, 0], np.int32), np.ones(3, np.float32), np.zeros(1, np.int32),
    )  # fmt: skip
    row = np.ones(15, np.float32)
    one, two = (
        KernelHead(row, row, row[None].astype(np.float16), np.ones((1, width), np.float32), row[:width], 1.0)
        for width in (1, 2)
    )
    kind = KindContract(
        kinds=(Kind.LYMPHOCYTE, Kind.NEUTROPHIL), sharpness=8.0, least=0.5, area_um2=(10.0, 500.0),
        distances=(2.0, 2.0), cells=24, slides=4,
    )  # fmt: skip
    taught = Taught(
        parent_sha256="ab" * 32, parent_name="default", laboratory="lab", labels_sha256="cd" * 32, cells=24,
        slides=4, choice="a new head", heads=("blast", "kind"), at="2026-11-29",
    )  # fmt: skip
    manifest = msgspec.structs.replace(shipped.manifest, input=contract, kind=kind, descent=(taught,))
    members = {name: data[:200] for name, data in shipped.members.items()}
    return members | {
        # The first of many entries say as much as all of them.
        VALIDATION: _shortened(shipped.members[VALIDATION]),
        CALIBRATION: b'{"strategy": "random", "seed": 0, "images": [], "count": 0}',
        TRAINING: b'{"parameters": 7, "settings": {"seed": 0, "rate": 0.5}, "stamp": null}',
        "labels.json": shipped.members["labels.json"],
        GOLDEN: encode_golden(vectors),
        FEATURES: encode_features(FeatureStatistics(ones, ones[None], 1.0)),
        FOREST: encode_forest(forest),
        SUPPORT: encode_support(SupportVectors(ones, ones, ones[None].astype(np.float16), ones, 0.0)),
        BLAST: encode_head(one),
        KIND: encode_head(two),
        REFERENCE: encode_reference(
            Reference.compact(row[None], ["blast"], ["drawn"], [0], {"drawn": "by the project"})
        ),
        MANIFEST: msgspec.json.encode(manifest),
    }


def _shortened(data: bytes) -> bytes:
    def short(value: object) -> object:
        if isinstance(value, dict):
            return {
                key: short(one) for key, one in value.items() if key not in ("audit", "repair", "flipped")
            }
        return value

    return msgspec.json.encode(short(msgspec.json.decode(data)))


def npys(data: bytes) -> dict[str, bytes]:
    """Return the files in an ``.npz``."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def npz(files: dict[str, bytes]) -> bytes:
    """Pack files as an ``.npz``."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


class Bundles:
    """What inputs are made of, and what is tried with them."""

    def __init__(self) -> None:
        self.members = small_members()
        self.manifest = decode_manifest(self.members.pop(MANIFEST), PATH)
        self.whole = bundle_bytes(self._fitting(self.members), self.members)
        arrays = (GOLDEN, FEATURES, FOREST, SUPPORT, BLAST, KIND, REFERENCE)
        self.files = {name: npys(self.members[name]) for name in arrays}
        texts = ("labels.json", CALIBRATION, TRAINING, VALIDATION)
        # What may be replaced: everything, the manifest, a member, or a file within one.
        self.places: list[tuple[str, ...]] = [
            (),
            (MANIFEST,),
            *((name,) for name in (*texts, *arrays)),
            *((name, inner) for name in arrays for inner in self.files[name]),
        ]
        self.all_seeds = self.seeds()

    def seeds(self) -> list[bytes]:
        """Return an input for each place: what is there in the sound bundle."""
        return [bytes([number]) + self._found(place) for number, place in enumerate(self.places)]

    def mutate(self, data: bytes, most: int, seed: int) -> bytes:
        """Make another input of one: at random, or so that its form stays and one value is another."""
        rng = random.Random(seed)
        if rng.random() < 0.4 or not data:
            data = rng.choice(self.all_seeds)
        place, value = self.places[data[0] % len(self.places)], data[1:]
        way = rng.random()
        tokens = list(_TOKEN.finditer(value)) if len(place) == 1 and value[:1] == b"{" else []
        if way < 0.6 and tokens:
            token = rng.choice(tokens)
            value = value[: token.start()] + rng.choice(VALUES) + value[token.end() :]
        elif way < 0.6 and len(value) > 64:
            start = rng.randrange(len(value) - 7)
            value = value[:start] + rng.choice(WORDS) + value[start + 8 :]
        else:
            value = bytes(atheris.Mutate(value, most - 1))
        return (data[:1] + value)[:most]

    def read(self, data: bytes) -> None:
        """Read the bundle that an input makes; only `BundleError` may come of it."""
        if not data:
            return
        place, value = self.places[data[0] % len(self.places)], data[1:]
        try:
            if not place:
                decode_bundle(value, PATH)
            elif place == (MANIFEST,):
                decode_manifest(value, PATH)
            else:
                decode_bundle(self._with(place, value), PATH)
        except BundleError as error:
            sentence = str(error)
            assert "\n" not in sentence, sentence
            assert len(sentence) < 2000, sentence

    def _found(self, place: tuple[str, ...]) -> bytes:
        if not place:
            return self.whole
        if place == (MANIFEST,):
            return msgspec.json.encode(self.manifest)
        return self.members[place[0]] if len(place) == 1 else self.files[place[0]][place[1]]

    def _with(self, place: tuple[str, ...], value: bytes) -> bytes:
        if len(place) == 2:
            value = npz(self.files[place[0]] | {place[1]: value})
        members = self.members | {place[0]: value}
        return bundle_bytes(self._fitting(members), members)

    def _fitting(self, members: dict[str, bytes]) -> object:
        return msgspec.structs.replace(self.manifest, members=describe_members(members))


def main() -> None:
    """Fuzz for so many seconds; the exit code is not 0 where a fault was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="for how long")
    asked, others = parser.parse_known_args()
    bundles = Bundles()
    if inputs := [word for word in others if not word.startswith("-")]:
        for name in inputs:
            bundles.read(Path(name).read_bytes())
        return
    for seed in bundles.all_seeds:
        bundles.read(seed)
    decode_bundle(bundles.whole, PATH)
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder)
        for number, seed in enumerate(bundles.all_seeds):
            (corpus / f"{number:03d}").write_bytes(seed)
        options = [
            f"-max_total_time={asked.seconds}",
            f"-timeout={SECONDS_EACH}",
            f"-rss_limit_mb={MEGABYTES}",
            f"-max_len={LONGEST}",
            "-print_final_stats=1",
            # What is given last holds.
            *others,
        ]
        atheris.Setup([sys.argv[0], *options, folder], bundles.read, custom_mutator=bundles.mutate)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
