"""A network with a planted fault on real cells, by the commands: caught, localised, repaired."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import planting
import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def edgeleuk(*words: object) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "edgeleuk", *map(str, words)], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def faulty(few_cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the network with a record of which cells it has seen: two thirds of the subjects."""
    from edgeleuk_convert.dataset.cnmc import load_cells
    from edgeleuk_convert.training.record import write_record
    from edgeleuk_convert.training.settings import load_training_settings

    path = tmp_path_factory.mktemp("faulty") / "faulty.keras"
    planting.chain_fault().save(path)
    cells = load_cells(few_cells).labelled
    held_out = {
        subject
        for label in ("blast", "normal")
        for subject in sorted({cell.subject or "" for cell in cells if cell.label == label})[::3]
    }
    record = msgspec.structs.replace(
        planting.record(),
        settings=load_training_settings(None, {"architecture": "resnet"}).flat(),
        training_subjects=tuple(sorted({cell.subject or "" for cell in cells} - held_out)),
        held_out_subjects=tuple(sorted(held_out)),
        training_hashes=tuple(sorted({cell.sha256[:16] for cell in cells if cell.subject not in held_out})),
    )
    write_record(record, path)
    return path


def test_without_repair_the_fault_is_caught(faulty: Path, few_cells: Path) -> None:
    out = faulty.with_name("no.edgeleuk")
    code, _, errors = edgeleuk(
        "convert", faulty, "--int8", "--calibration", few_cells, "--images", 24, "--out", out
    )
    assert code == 3
    assert "does not agree with the float network" in errors
    assert "--repair" in errors
    assert not out.exists()


def test_repair_mends_it_and_the_layers_are_ranked(faulty: Path, few_cells: Path) -> None:
    from edgeleuk.bundle.reading import read_bundle

    out = faulty.with_name("mended.edgeleuk")
    words = ("--calibration", few_cells, "--images", 24, "--out", out, "--repair", "--json")
    code, printed, errors = edgeleuk("convert", faulty, "--int8", *words)
    result: dict[str, Any] = json.loads(printed) if printed else {}
    assert result, errors
    repair = result["validation"]["repair"]
    assert repair["needed"]
    assert repair["tried"][0]["verdict"] == "fail"
    (even,) = [tried for tried in repair["tried"] if tried["step"] == "equalization"]
    assert min(of["correlation"] for of in even["networks"].values()) > 0.98
    # How strict the gate is with so few cells is not the point; one that rejects writes elsewhere.
    written = read_bundle(result["bundle"])
    stored = msgspec.json.decode(written.members["validation.json"])["repair"]
    assert stored["step"] == repair["step"]
    # Times would make other bytes each time.
    for key, cost in repair["cost"].items():
        assert cost["ms"] > 0
        assert set(stored["cost"][key]) == {"size_bytes", "size_bytes_before", "size_ratio"}
    assert repair["step"] is None or code == 0

    folder = faulty.with_name("layers")
    words = ("--data", few_cells, "--layers", "--out", folder, "--json")
    _, printed, errors = edgeleuk("validate", result["bundle"], *words)
    assert printed, errors
    ranked = json.loads(printed)
    assert {row["network"] for row in ranked["layers"]} >= {"tflite_int8", "onnx_int8"}
    assert min(row["own_sqnr_db"] for row in ranked["layers"]) > 15
    assert not any(ranked["layers_unmatched"].values())
    assert (folder / "layers.png").read_bytes().startswith(b"\x89PNG")


def test_a_plot_without_layers_is_refused(few_cells: Path) -> None:
    code, _, errors = edgeleuk("validate", "default", "--data", few_cells, "--out", "nowhere")
    assert code == 2
    assert "--layers" in errors
