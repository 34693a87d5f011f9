"""The whole path on real cells, by the command line alone: train, convert, verify, evaluate, run."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from edgeleuk.frames import CellCrop


def edgeleuk(*words: object, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "edgeleuk", *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    return done.stdout


def as_json(*words: object, code: int = 0) -> Any:
    return json.loads(edgeleuk(*words, "--json", code=code))


@pytest.fixture(scope="module")
def network(few_cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network") / "resnet.keras"
    result = as_json("train", "--data", few_cells, "--architecture", "resnet", "--epochs", 2, "--out", path)
    assert result["parameters"] < 1_000_000
    held_out = result["held_out"]
    assert held_out["left_out"] > held_out["cells"] > 0
    assert set(held_out["interval_95"]) >= {"weighted_f1", "auroc", "specificity"}
    for suffix in (".log.csv", ".history.png", ".training.json"):
        assert path.with_suffix(suffix).stat().st_size > 0
    return path


@pytest.fixture(scope="module")
def bundle(network: Path, few_cells: Path) -> Path:
    path = network.with_suffix(".edgeleuk")
    # Two epochs teach little, so that more may be lost than by a network that is to be used.
    gate = network.with_name("gate.toml")
    gate.write_text(
        "[limits]\nweighted_f1_drop = 1\nsensitivity_drop = 1\nflips = 1\nprobability_change = 1\n"
    )
    result = as_json(
        "convert",
        network,
        "--int8",
        "--calibration",
        few_cells,
        "--images",
        60,
        "--limits",
        gate,
        "--out",
        path,
    )
    assert result["calibration_images"] == 60
    # That every network says the same is all that is asked here.
    assert min(network["correlation"] for network in result["networks"]) > 0.95
    return path


def test_the_bundle_verifies_on_every_runtime(bundle: Path) -> None:
    facts = as_json("verify", bundle)
    assert facts["verdict"] == "pass"
    assert {result["runtime"] for result in facts["results"]} == {
        "manifest", "numpy", "litert", "onnxruntime", "openvino",
    }  # fmt: skip
    own = [result for result in facts["results"] if result["runtime"] != "openvino"]
    assert sum(result["model"].endswith(" features") for result in own) == 3


def test_the_bundle_says_what_its_gate_lets_pass(bundle: Path) -> None:
    manifest = as_json("inspect", bundle)["manifest"]
    assert manifest["schema_version"] == 6
    assert manifest["gate"]["features"]["cells"] > 50
    assert "features.npz" in manifest["members"]
    assert "sharpness" in edgeleuk("inspect", bundle)


def test_keras_and_int8_are_judged_on_the_same_unseen_cells(
    network: Path, bundle: Path, few_cells: Path
) -> None:
    judged = as_json("evaluate", network, "--data", few_cells)
    quantized = as_json("evaluate", bundle, "--data", few_cells)
    for key in ("cells", "subjects", "groups", "left_out", "baseline_area_auroc"):
        assert judged[key] == quantized[key]
    assert quantized["auroc"] == pytest.approx(judged["auroc"], abs=0.15)


def test_the_report_says_what_evaluate_says(bundle: Path, few_cells: Path, tmp_path: Path) -> None:
    judged = as_json("evaluate", bundle, "--data", few_cells, "--report", tmp_path / "report")
    page = (tmp_path / "report" / "report.html").read_text()
    assert f"{judged['auroc']:.3f}" in page
    assert judged["stamp"] is None


def test_leakage_is_stamped(bundle: Path, few_cells: Path) -> None:
    judged = as_json("evaluate", bundle, "--data", few_cells, "--allow-leakage")
    assert judged["left_out"] == 0
    assert judged["stamp"].startswith("LEAKAGE ALLOWED")


def test_calibration_never_uses_cells_that_judge(bundle: Path) -> None:
    import msgspec

    from edgeleuk.bundle.reading import read_bundle
    from edgeleuk_convert.training.record import bundle_record

    opened = read_bundle(bundle)
    record = bundle_record(opened)
    images = msgspec.json.decode(opened.members["calibration.json"])["images"]
    assert {image["sha256"][:16] for image in images} <= set(record.training_hashes)
    assert not set(record.training_subjects) & set(record.held_out_subjects)
    assert Counter(image["label"] for image in images) == {"blast": 30, "normal": 30}


def test_the_same_inputs_give_the_same_bundle(network: Path, bundle: Path, few_cells: Path) -> None:
    from edgeleuk.bundle.reading import read_bundle

    again = bundle.with_name("again") / bundle.name
    again.parent.mkdir()
    gate = network.with_name("gate.toml")
    edgeleuk(
        "convert",
        network,
        "--int8",
        "--calibration",
        few_cells,
        "--images",
        60,
        "--limits",
        gate,
        "--out",
        again,
    )
    first, second = (read_bundle(path) for path in (bundle, again))
    # By member first: a difference has a name then.
    assert [name for name in first.members if first.members[name] != second.members.get(name)] == []
    assert again.read_bytes() == bundle.read_bytes()


def test_validate_compares_int8_with_float(bundle: Path, few_cells: Path) -> None:
    words = [sys.executable, "-m", "edgeleuk", "validate", str(bundle), "--data", str(few_cells), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    result = json.loads(done.stdout)
    assert result["verdict"] in ("pass", "fail", "undecided")
    assert done.returncode == (3 if result["verdict"] == "fail" else 0)
    for key in ("reference", "tflite_int8", "onnx_int8"):
        by_reason = result[key]["uncertain_by_reason"]
        assert set(by_reason) == {"area", "colour", "sharpness", "features", "kind", "probability"}
        assert sum(by_reason.values()) == pytest.approx(result[key]["uncertain"])
        assert result[key]["uncertain"] < 0.5
    for key in ("tflite_int8", "onnx_int8"):
        assert {
            "flips",
            "flip_rate",
            "max_probability_change",
            "weighted_f1_drop",
            "weighted_f1_drop_upper_95",
        } <= set(result[key])


@pytest.fixture(scope="module")
def held_out(bundle: Path, few_cells: Path) -> list[CellCrop]:
    from edgeleuk.bundle.reading import read_bundle
    from edgeleuk_convert.dataset.cnmc import load_cells, read_crop
    from edgeleuk_convert.evaluation.evaluate import unseen
    from edgeleuk_convert.training.record import bundle_record

    fresh, _ = unseen(load_cells(few_cells).cells, bundle_record(read_bundle(bundle)))
    return [read_crop(cell) for cell in fresh]


@pytest.fixture(scope="module")
def foreign(held_out: list[CellCrop], edgeleuk_data: Path) -> dict[str, list[CellCrop]]:
    """What is no sharp white cell of this stain, by its kind."""
    fields = edgeleuk_data / "fields_bccd"
    return {
        "red cells": boxed(fields, "RBC", 100),
        "platelets": boxed(fields, "Platelets", 40),
        "blurred": [blurred(crop, 0.7) for crop in held_out],
        "red and green swapped": [recoloured(crop, (1, 0, 2)) for crop in held_out],
    }


@pytest.mark.parametrize("runtime", ["litert", "onnxruntime"])
def test_what_is_foreign_is_uncertain_far_more_often_than_held_out_cells(
    bundle: Path, held_out: list[CellCrop], foreign: dict[str, list[CellCrop]], runtime: str
) -> None:
    from edgeleuk.bundle.reading import read_bundle
    from edgeleuk.classifier.classifier import open_classifier

    # Without the band, what is left is the gate.
    classifier = open_classifier(read_bundle(bundle), runtime=runtime, abstain="off")

    def uncertain(crops: list[CellCrop]) -> float:
        answers = classifier.classify(crops)
        return sum(answer.decision.value == "uncertain" for answer in answers) / len(answers)

    usual = uncertain(held_out)
    shares = {kind: uncertain(crops) for kind, crops in foreign.items()}
    classifier.close()
    # A dozen subjects of training: the ranges know few slides.
    assert usual < 0.3
    assert min(shares.values()) > 0.9, shares


def boxed(fields: Path, kind: str, count: int) -> list[CellCrop]:
    """Cut out objects by the boxes of fields, an ellipse for a mask, at BCCD's 12 px/um or so."""
    import cv2

    from edgeleuk.frames import CellCrop
    from edgeleuk.io.images import read_image

    crops: list[CellCrop] = []
    for annotation in sorted(fields.glob("*.xml")):
        pixels = read_image(annotation.with_suffix(".jpg"))
        for found in ET.parse(annotation).getroot().iter("object"):
            sides = ("xmin", "ymin", "xmax", "ymax")
            left, top, right, bottom = (max(0, int(found.findtext(f"bndbox/{side}") or 0)) for side in sides)
            window = pixels[top:bottom, left:right]
            if found.findtext("name") != kind or min(window.shape) == 0:
                continue
            mask = np.zeros(window.shape[:2], np.uint8)
            centre = (mask.shape[1] // 2, mask.shape[0] // 2)
            cv2.ellipse(mask, centre, centre, 0, 0, 360, 255, cv2.FILLED)
            crops.append(CellCrop(np.where(mask[..., None] > 0, window, np.uint8(0)), mask, 12.0))
            if len(crops) == count:
                return crops
    return crops


def blurred(crop: CellCrop, sigma_um: float) -> CellCrop:
    """Put a cell out of focus; its own colour, not black, shines in from outside."""
    import cv2

    inside = crop.mask > 0
    mean = crop.pixels[inside].mean(axis=0)
    filled = np.where(inside[..., None], crop.pixels, mean).astype(np.float32)
    soft = cv2.GaussianBlur(filled, (0, 0), sigma_um * crop.px_per_um)
    return replace(crop, pixels=np.where(inside[..., None], np.rint(soft), 0).astype(np.uint8))


def recoloured(crop: CellCrop, order: tuple[int, int, int]) -> CellCrop:
    return replace(crop, pixels=np.ascontiguousarray(crop.pixels[..., order]))


def test_run_on_real_fields_and_export(bundle: Path, edgeleuk_data: Path, tmp_path: Path) -> None:
    session = tmp_path / "session.db"
    result = as_json(
        "run", "--camera", f"dir://{edgeleuk_data / 'fields_bccd'}", "--bundle", bundle, "--session", session,
        "--frames", 12,
    )  # fmt: skip
    frames, cells = result["frames"], result["cells"]
    assert frames["processed"] == 12
    assert frames["captured"] == frames["processed"] + frames["dropped"] + frames["rejected"]
    assert cells["detected"] >= 10
    assert cells["unique"] == cells["blast"] + cells["normal"] + cells["uncertain"]
    rows = list(csv.DictReader(io.StringIO(edgeleuk("export", session, "--csv"))))
    assert len(rows) == cells["unique"]
