"""A network without a record or a contract: from the installation to the camera, a command each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import msgspec
import numpy as np
import pytest

from edgeleuk.bundle.manifest import CARD
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.classifier.classifier import open_classifier
from edgeleuk_convert.commands.results import ContractResult
from edgeleuk_convert.dataset.cnmc import load_cells, read_crop

if TYPE_CHECKING:
    import numpy.typing as npt

ROOT = Path(__file__).resolve().parents[2]
SIDE = 48
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.timeout(900),
]


def fed(cells: Any) -> npt.NDArray[np.float32]:
    """Make what tutorials feed: whole pictures, resized, divided by 255."""
    pictures = [
        cv2.resize(read_crop(cell).pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for cell in cells
    ]
    return np.stack(pictures).astype(np.float32) / 255


@pytest.fixture(scope="module")
def folder(few_cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network whose sigmoid means `hem`, as folders sorted by their names make it."""
    import keras
    from keras import layers

    folder = tmp_path_factory.mktemp("theirs")
    cells = load_cells(few_cells).labelled
    keras.utils.set_random_seed(5)
    x = image = keras.Input((SIDE, SIDE, 3))
    for filters in (8, 16, 32):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.MaxPooling2D()(layers.ReLU()(layers.BatchNormalization(momentum=0.8)(x)))
    x = layers.Dense(1, activation="sigmoid")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, x)
    model.compile(keras.optimizers.Adam(3e-3), "binary_crossentropy")
    truth = np.array([cell.label == "normal" for cell in cells], np.float32)
    model.fit(fed(cells), truth, epochs=20, batch_size=16, verbose=0)
    model.save(folder / "theirs.keras")
    return folder


def typed(folder: Path, *words: str, expected: int = 0) -> subprocess.CompletedProcess[str]:
    """Type a command in the folder, with what was installed there."""
    environment = {**os.environ, "PYTHONPATH": str(folder / "site"), "XDG_CACHE_HOME": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == expected, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    return done


def test_from_pip_install_to_run(folder: Path, few_cells: Path) -> None:
    install = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", "site")
    typed(folder, *install, str(ROOT))
    data = str(few_cells)
    told = json.loads(
        typed(
            folder,
            "-m",
            "edgeleuk",
            "contract",
            "theirs.keras",
            "--data",
            data,
            "--out",
            "theirs.toml",
            "--json",
        ).stdout
    )
    # As the published schema has it, and nothing besides.
    assert msgspec.to_builtins(msgspec.convert(told, ContractResult)).keys() == told.keys()
    assert told["classes"] == ["blast", "normal"]
    assert told["input"]["framing"] == "picture"
    assert told["input"]["scale"] == pytest.approx(1 / 255)
    assert told["auroc"] > 0.9
    words = (
        "convert",
        "theirs.keras",
        "--int8",
        "--data",
        data,
        "--images",
        "40",
        "--out",
        "theirs.edgeleuk",
    )
    result = json.loads(typed(folder, "-m", "edgeleuk", *words, "--json").stdout)
    assert "CONTRACT INFERRED" in result["stamp"]
    run = ("run", "--camera", "virtual://?seed=7", "--bundle", "theirs.edgeleuk", "--frames", "4")
    summary = json.loads(typed(folder, "-m", "edgeleuk", *run, "--session", "s.db", "--json").stdout)
    assert summary["frames"]["processed"] == 4
    typed(folder, "-m", "edgeleuk", "verify", "theirs.edgeleuk")
    inspected = typed(folder, "-m", "edgeleuk", "inspect", "theirs.edgeleuk").stdout
    assert "CONTRACT INFERRED" in inspected
    assert "whole pictures of 450x450 px resized" in inspected


def test_the_device_answers_as_keras_does(folder: Path, few_cells: Path) -> None:
    """Whole pictures go in as they are: what differs is int8, and resizing by a grey level."""
    import keras

    bundle = read_bundle(str(folder / "theirs.edgeleuk"))
    assert bundle.manifest.provenance.contract_inferred
    assert "CONTRACT INFERRED" in bundle.members[CARD].decode()
    assert "C-NMC" not in bundle.manifest.data_citation
    cells = load_cells(few_cells).labelled[::4]
    wanted = (
        1 - np.asarray(keras.models.load_model(folder / "theirs.keras")(fed(cells), training=False))[:, 0]
    )
    with open_classifier(bundle) as classifier:
        found = classifier.probabilities([read_crop(cell) for cell in cells])
    assert np.abs(found - wanted).max() < 0.12
    assert ((found >= 0.5) == (wanted >= 0.5)).mean() > 0.95


def test_labels_the_other_way_round_are_refused(folder: Path, few_cells: Path) -> None:
    contract = (folder / "theirs.toml").read_text()
    assert 'labels = ["blast", "normal"]' in contract
    (folder / "wrong.toml").write_text(contract.replace('["blast", "normal"]', '["normal", "blast"]'))
    words = ("--int8", "--calibration", str(few_cells), "--images", "40", "--contract", "wrong.toml")
    refused = typed(
        folder, "-m", "edgeleuk", "convert", "theirs.keras", *words, "--out", "wrong.edgeleuk", expected=3
    )
    assert "the classes of theirs.keras are the other way round" in refused.stderr
    assert not list(folder.glob("wrong*.edgeleuk"))


def test_cells_that_a_network_does_not_know(folder: Path, few_cells: Path, tmp_path: Path) -> None:
    import keras
    from keras import layers

    keras.utils.set_random_seed(1)
    image = keras.Input((SIDE, SIDE, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(image))
    keras.Model(image, layers.Dense(1, activation="sigmoid", kernel_initializer="zeros")(x)).save(
        folder / "untaught.keras"
    )
    # It answers every cell alike, so that a third of them, of all subjects, shows as much.
    for file in sorted(few_cells.rglob("*.webp"))[::3]:
        link = tmp_path / file.relative_to(few_cells)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file.resolve())
    refused = typed(
        folder, "-m", "edgeleuk", "contract", "untaught.keras", "--data", str(tmp_path), expected=4
    )
    assert "untaught.keras does not know these cells" in refused.stderr
