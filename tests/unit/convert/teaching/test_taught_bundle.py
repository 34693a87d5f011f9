"""A bundle with new heads does all that a bundle does: run, resume, replay, classify, verify, export."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import pytest
from teaching_heads import blast_head, drawn_cells, taught, taught_heads

from edgeleuk.bundle.golden import decode_golden
from edgeleuk.bundle.manifest import GOLDEN
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.bundle.writing import write_bundle
from edgeleuk.commands.replay import replay_cell
from edgeleuk.session import read_session
from edgeleuk.virtual.cells import single_cell
from edgeleuk_convert.teaching.rebuilding import rebuilt

if TYPE_CHECKING:
    from collections.abc import Callable

    from outcome import Outcome

    Command = Callable[..., Outcome]

CAMERA = "virtual://?width=1280&height=960&seed=5&fps=0"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shipped = read_bundle("default")
    path = tmp_path_factory.mktemp("taught") / "lab.edgeleuk"
    heads = taught_heads(shipped, drawn_cells(shipped))
    write_bundle(path, *rebuilt(shipped, heads, taught(shipped), ()))
    return path


def recorded(path: Path) -> list[dict[str, Any]]:
    with read_session(path) as reader:
        assert reader.verify().broken is None
        return [dict(row) for row in reader.rows("cells")]


def test_a_run_is_resumed_and_every_cell_replayed_bit_for_bit(edgeleuk: Command, lab: Path) -> None:
    words = ("run", "--camera", CAMERA, "--bundle", lab, "--runtime", "litert", "--json")
    whole = edgeleuk(*words, "--session", "whole.db", "--frames", 5)
    assert whole.code == 0, whole.err
    for frames in (2, 5):
        part = edgeleuk(*words, "--session", "parts.db", "--frames", frames, "--resume")
        assert part.code == 0, part.err
    cells = recorded(Path("whole.db"))
    keys = ("decision", "probability", "kind", "kind_probability", "x", "y")
    assert [[row[key] for key in keys] for row in recorded(Path("parts.db"))] == [
        [row[key] for key in keys] for row in cells
    ]
    others = [row for row in cells if row["decision"] == "other"]
    assert {row["kind"] for row in others} <= {"neutrophil", "monocyte"}
    assert others
    assert all(row["probability"] is None or math.isnan(row["probability"]) for row in others)
    lymphoid = [row for row in cells if row["kind"] == "lymphocyte"]
    assert lymphoid
    assert "other" not in {row["decision"] for row in lymphoid}
    for outcome in (whole, part):
        assert json.loads(outcome.out)["cells"]["other"] == len(others)
    for row in cells:
        replayed = replay_cell(Path("parts.db"), row["track"], str(lab))
        assert replayed.equal
        assert replayed.recorded.kind == row["kind"]


@pytest.mark.parametrize("runtime", ["litert", "onnxruntime"])
def test_each_runtime_classifies_pictures_alone_and_in_processes(
    edgeleuk: Command, lab: Path, runtime: str
) -> None:
    Path("cells").mkdir()
    for number, crop in enumerate(decode_golden(read_bundle(lab).members[GOLDEN]).crops[:4]):
        cv2.imwrite(f"cells/{number}.png", crop.pixels[:, :, ::-1])
    words = ("classify", "cells", "--bundle", lab, "--runtime", runtime, "--px-per-um", 18.5)
    found = []
    for jobs in (1, 2):
        outcome = edgeleuk(*words, "--out", f"{jobs}.jsonl", "--jobs", jobs)
        assert outcome.code == 0, outcome.err
        # Those of other kinds, too.
        assert "cells     4: " in outcome.out
        found.append(sorted(Path(f"{jobs}.jsonl").read_text(encoding="utf-8").splitlines()[1:]))
    assert found[0] == found[1]
    assert "lymphocyte" in "".join(found[0])


def test_it_is_verified_inspected_measured_and_exported(edgeleuk: Command, lab: Path) -> None:
    verified = edgeleuk("verify", lab, "--json")
    assert json.loads(verified.out)["verdict"] == "pass"
    said = edgeleuk("inspect", lab).out
    for words in (
        "head      blast: normal, blast; 24 vectors, taught by 24 cells of 12 slides",
        "head      kind: lymphocyte, neutrophil, monocyte",
        "carries   24 cells for teaching: 12 blast, 12 normal",
        "descent   default  sha256 ",
        "-> lab  taught by lab, 24 cells of 12 slides (labels abababababababab), a new head",
    ):
        assert words in said
    facts = json.loads(edgeleuk("inspect", lab, "--json").out)
    assert [head["name"] for head in facts["heads"]] == ["blast", "kind"]
    assert facts["reference"]["citations"] == {"drawn": "cells drawn by the project"}
    assert facts["manifest"]["descent"][0]["parent_name"] == "default"
    checked = edgeleuk("mcu", "check", lab, "--flash", "8M", "--ram", "8M")
    assert checked.code == 0, checked.err
    assert "head for blasts" in checked.out
    assert "head for kinds" in checked.out
    exported = edgeleuk("mcu", "export", lab, "--out", "firmware", "--golden", 1)
    assert exported.code == 0, exported.err
    constants = Path("firmware/edgeleuk_constants.h").read_text(encoding="utf-8")
    assert "EDGELEUK_MAP_ROWS" in constants
    assert "#define EDGELEUK_HEAD_FEATURES 462 " in constants
    assert "measure the 14 hand-crafted features" in " ".join(exported.out.split())


def test_it_is_held_to_the_limits_by_the_answers_of_its_head(edgeleuk: Command, lab: Path) -> None:
    """On drawn cells that taught nothing; a head that says the opposite turns its AUROC round."""
    for label in ("blast", "normal"):
        folder = Path("pictures") / label
        folder.mkdir(parents=True)
        for seed in range(600, 610):
            cv2.imwrite(str(folder / f"{seed}.png"), single_cell(label, seed).pixels[:, :, ::-1])
    shipped = read_bundle("default")
    cells = drawn_cells(shipped)
    head = blast_head(cells)
    heads = taught_heads(shipped, cells, blast=replace(head, weights=-head.weights, bias=-head.bias))
    write_bundle(Path("turned.edgeleuk"), *rebuilt(shipped, heads, taught(shipped), ()))
    words = ("--data", "pictures", "--classes", "blast=blast,normal=normal", "--px-per-um", 18.5, "--json")
    of_lab, of_turned = (
        json.loads(edgeleuk("validate", path, *words).out) for path in (lab, "turned.edgeleuk")
    )
    # Twenty cells are too few to tell what int8 loses, not to tell what the head says.
    assert of_lab["verdict"] == of_turned["verdict"] == "undecided"
    for network in ("reference", "tflite_int8", "onnx_int8"):
        assert of_lab[network]["auroc"] > 0.8
        assert of_turned[network]["auroc"] == pytest.approx(1 - of_lab[network]["auroc"])


def test_no_bundle_is_converted_again(edgeleuk: Command, lab: Path, few_cells: Path) -> None:
    outcome = edgeleuk(
        "convert", lab, "--int8", "--calibration", few_cells, "--repair", "--out", "again.edgeleuk"
    )
    assert outcome.code in (2, 7)
    assert len(outcome.err.splitlines()) == 1
    assert not Path("again.edgeleuk").exists()
