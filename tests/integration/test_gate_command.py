"""The gate at the end of `convert`, by the command line: what is written, what is refused, how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import msgspec
import numpy as np
import pytest

from edgeleuk.bundle.golden import golden_crops_of
from edgeleuk.bundle.manifest import Envelope, InputContract, OutputContract
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.virtual.cells import single_cell
from edgeleuk_convert.training.plan import TrainingSettings
from edgeleuk_convert.training.record import TrainingRecord, write_record

if TYPE_CHECKING:
    from pathlib import Path

# Keras 3.15 converts its variables in a way that NumPy 2.4 is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SEEN, HELD_OUT, CELLS = 4, 2, 4  # subjects of each class, cells of each subject
CONTRACT = InputContract(
    height=32, width=32, channels=("red", "green", "mask"), normalise=True, px_per_um=2, crop_px_per_um=18.5
)
NO_CHANGE = "[gate]\nprobability_change = 0\n"
ANY_CHANGE = "[gate]\nflips = 1\nprobability_change = 1\n"


class Outcome(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def facts(self) -> Any:
        return json.loads(self.out)


def edgeleuk(*words: object) -> Outcome:
    command = [sys.executable, "-m", "edgeleuk", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return Outcome(done.returncode, done.stdout, done.stderr)


def subjects(first: int, count: int) -> list[tuple[str, str, str]]:
    kinds = (("blast", "all", ""), ("normal", "hem", "H"))
    return [
        (label, kind, f"{letter}{n}") for label, kind, letter in kinds for n in range(first, first + count)
    ]


def drawn(folder: Path, of: list[tuple[str, str, str]]) -> Path:
    for number, (label, kind, subject) in enumerate(of):
        place = folder / "fold_0" / kind
        place.mkdir(parents=True, exist_ok=True)
        for cell in range(CELLS):
            pixels = single_cell(label, 1000 + 10 * number + cell).pixels
            cv2.imwrite(str(place / f"UID_{subject}_{cell}_1_{kind}.png"), pixels[:, :, ::-1])
    return folder


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn(tmp_path_factory.mktemp("cells"), subjects(0, SEEN + HELD_OUT))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network of weights by chance, whose answers spread as a trained one's do."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(3)
    inputs = keras.Input(CONTRACT.shape)
    x = layers.Rescaling(1 / 64, -2.0)(inputs)
    x = layers.Conv2D(8, 3, strides=2, activation="relu")(x)
    x = layers.Conv2D(12, 3, activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(1)(x))
    tensors = np.random.default_rng(0).normal(128, 48, (32, *CONTRACT.shape)).clip(0, 255)
    kernel = model.layers[-1].kernel
    spread = float(np.std(model.predict(tensors.astype(np.float32), verbose=0)))
    kernel.assign(np.asarray(kernel) / spread)
    path = tmp_path_factory.mktemp("network") / "small.keras"
    model.save(path)
    record = TrainingRecord(
        architecture="baseline",
        parameters=model.count_params(),
        input=CONTRACT,
        output=OutputContract(kind="logit"),
        envelope=Envelope(area_um2=(1.0, 1000.0)),
        settings=TrainingSettings().flat(),
        training_subjects=tuple(subject for _, _, subject in subjects(0, SEEN)),
        held_out_subjects=(),
        training_hashes=(),
        tools={},
    )
    write_record(record, path)
    return path


def converted(network: Path, cells: Path, out: Path, gate: str) -> Outcome:
    file = out.parent / "gate.toml"
    file.write_text(gate)
    return edgeleuk(
        "convert",
        network,
        "--int8",
        "--calibration",
        cells,
        "--images",
        20,
        "--out",
        out,
        "--limits",
        file,
        "--json",
    )


def test_what_fails_is_left_as_rejected_and_never_runs(network: Path, cells: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.edgeleuk"
    older = read_bundle("default").path.read_bytes()
    out.write_bytes(older)
    outcome = converted(network, cells, out, NO_CHANGE)
    assert outcome.code == 3, outcome.err
    validation = outcome.facts["validation"]
    assert validation["verdict"] == "fail"
    assert "moves by" in validation["reasons"][0]
    assert validation["limits"]["probability_change"] == 0
    rejected = tmp_path / "small.rejected.edgeleuk"
    assert outcome.facts["bundle"] == str(rejected)
    assert out.read_bytes() == older
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gate.toml", out.name, rejected.name]
    bundle = read_bundle(rejected)
    assert bundle.manifest.name == "small"
    stored = msgspec.json.decode(bundle.members["validation.json"])
    assert stored["reasons"] == validation["reasons"]
    assert "Verdict of the gate: fail" in bundle.members["card.md"].decode()

    cv2.imwrite(str(tmp_path / "cell.png"), golden_crops_of(bundle)[0].pixels[:, :, ::-1])
    renamed = rejected.rename(out)
    refused = edgeleuk("classify", tmp_path / "cell.png", "--bundle", renamed)
    assert (refused.code, refused.out) == (3, "")
    assert validation["reasons"][0] in refused.err
    # On the workstation it can be judged: by its networks, and by the usual limits.
    assert edgeleuk("verify", renamed).code == 0
    assert edgeleuk("evaluate", renamed, "--data", cells).code == 0
    again = edgeleuk("validate", renamed, "--data", cells, "--limits", tmp_path / "gate.toml", "--json")
    assert again.code == 3
    assert again.facts["tflite_int8"]["flipped"] == stored["tflite_int8"]["flipped"]
    assert again.facts["reasons"] == stored["reasons"]


def test_what_is_undecided_is_written_with_a_warning(network: Path, cells: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.edgeleuk"
    outcome = converted(network, cells, out, ANY_CHANGE)
    assert outcome.code == 0, outcome.err
    validation = outcome.facts["validation"]
    assert validation["verdict"] == "undecided"
    assert "too few held-out cells" in validation["reasons"][-1] + validation["reasons"][0]
    assert validation["images_needed"] >= 2 * (100 - HELD_OUT * CELLS)
    assert validation["models"] == ["tflite_int8", "onnx_int8"]
    text = edgeleuk("validate", out, "--data", cells, "--limits", tmp_path / "gate.toml")
    assert text.code == 0
    assert "verdict: undecided: about" in text.out
    assert "warning: it is not shown that int8 keeps to the limits" in text.out

    alike = edgeleuk("compare", out, out, "--data", cells, "--json")
    assert alike.code == 0
    assert alike.facts["onnx_int8"]["agreement"] == 1
    assert alike.facts["cells"] == 2 * HELD_OUT * CELLS
    seen = drawn(tmp_path / "seen", subjects(0, SEEN))
    covered = edgeleuk("compare", out, out, "--data", seen)
    assert (covered.code, covered.out) == (4, "")
    assert "A (small.edgeleuk) has seen every subject" in covered.err


def test_without_held_out_cells_it_is_undecided(network: Path, tmp_path: Path) -> None:
    seen = drawn(tmp_path / "seen", subjects(0, SEEN))
    outcome = converted(network, seen, tmp_path / "small.edgeleuk", "")
    assert outcome.code == 0, outcome.err
    validation = outcome.facts["validation"]
    assert validation["verdict"] == "undecided"
    assert validation["images_needed"] == 200
    assert "got 0 normal cells of 0 groups" in validation["reasons"][0]
    assert (tmp_path / "small.edgeleuk").exists()
