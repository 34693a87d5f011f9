"""The workstation through the door for Python: a Keras network of one's own becomes a bundle that works."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from foreign import dense, taught

import edgeleuk

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras, of NumPy
]
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "keras_to_bundle.py"


class Made(NamedTuple):
    """What the example left."""

    bundle: Path
    said: subprocess.CompletedProcess[str]


def python(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, check=False, timeout=300
    )


@pytest.fixture(scope="module")
def made(few_cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Run the example, on a small network."""
    folder = tmp_path_factory.mktemp("own")
    taught(dense(), few_cells).save(folder / "own.keras")
    (folder / "own.toml").write_text("[input]\npx_per_um = 1.4\n")
    out = folder / "own.edgeleuk"
    return Made(out, python(EXAMPLE, folder / "own.keras", few_cells, folder / "own.toml", out))


def test_a_network_of_ones_own_becomes_a_bundle(made: Made) -> None:
    assert made.said.returncode == 0, made.said.stderr
    # Nothing but what the example itself prints: no notes, no notices of TensorFlow's.
    assert made.said.stderr == ""
    path, verdict = made.said.stdout.split()
    bundle = edgeleuk.open_bundle(path)
    assert Path(path) == made.bundle
    assert (bundle.name, bundle.validation["verdict"]) == ("own", verdict)
    assert {"model.int8.tflite", "model.int8.onnx"} <= set(bundle.networks)


def test_the_bundle_passes_verify_and_judges(made: Made, few_cells: Path) -> None:
    verified = python("-m", "edgeleuk", "verify", made.bundle, "--json")
    assert verified.returncode == 0, verified.stderr
    results = json.loads(verified.stdout)["results"]
    assert results
    assert {result["status"] for result in results} == {"ok"}
    picture = min(few_cells.glob("fold_*/all/*"))
    (cell,) = edgeleuk.classify(picture, bundle=made.bundle, runtime="litert").cells
    assert 0 <= cell.probability <= 1


def test_evaluate_says_what_validate_prints(made: Made, few_cells: Path, tmp_path: Path) -> None:
    facts = edgeleuk.evaluate(made.bundle, few_cells, report=tmp_path / "report")
    assert Path(facts.pop("report")).is_file()
    printed = python("-m", "edgeleuk", "validate", made.bundle, "--data", few_cells, "--json")
    assert printed.returncode == 0, printed.stderr
    assert json.loads(json.dumps(facts)) == json.loads(printed.stdout)
    assert facts["verdict"] == edgeleuk.open_bundle(made.bundle).validation["verdict"]


def test_options_reach_the_conversion(made: Made, few_cells: Path, tmp_path: Path) -> None:
    with pytest.raises(edgeleuk.EdgeleukError, match="the number of calibration images is out of range"):
        edgeleuk.convert(
            made.bundle.parent / "own.keras", few_cells, tmp_path / "a.edgeleuk",
            contract=str(made.bundle.parent / "own.toml"), images=4,
        )  # fmt: skip
    assert not list(tmp_path.iterdir())
