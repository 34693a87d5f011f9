"""The published schemas are those of the structs, and what the commands print keeps to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import msgspec
import numpy as np
import pytest

from edgeleuk.cli.schemas import PRINTED as OF_DEVICE
from edgeleuk.io.images import write_png
from edgeleuk.results.exported import ExportedCell
from edgeleuk.results.schemas import schema_text, write_schemas
from edgeleuk.session.export import COLUMNS
from edgeleuk.stage.mapping import Mapping
from edgeleuk.virtual.render import VirtualSlide
from edgeleuk_convert.commands.schemas import PRINTED as OF_WORKSTATION
from edgeleuk_convert.commands.train import evaluation_text
from edgeleuk_convert.evaluation.evaluate import Evaluation
from edgeleuk_convert.metrics.classification import Judged, interval_95, point_metrics
from edgeleuk_firmware_bridge.simulation.grbl import GrblSimulator
from edgeleuk_firmware_bridge.simulation.serving import serve_tcp

if TYPE_CHECKING:
    from collections.abc import Callable

    from outcome import Outcome

PRINTED = {**OF_DEVICE, **OF_WORKSTATION}
FOLDER = Path(__file__).resolve().parents[4] / "docs" / "schema"
CAMERA = "virtual://?seed=301"
# Nothing is timed to choose one.
RUNTIME = ("--runtime", "litert", "--precision", "int8")


def validated(name: str, text: str) -> Any:
    """Hold JSON against its struct, strictly, and see that nothing else stands in it."""
    found = msgspec.json.decode(text, type=PRINTED[name])
    value = json.loads(text)
    assert json.loads(msgspec.json.encode(found)) == value
    return value


@pytest.mark.parametrize("name", PRINTED)
def test_the_published_schema_is_current(name: str) -> None:
    path = FOLDER / f"{name}.json"
    assert path.read_text(encoding="utf-8") == schema_text(PRINTED[name]), (
        "python -m edgeleuk.cli.schemas, and edgeleuk_convert's"
    )


def test_nothing_else_is_published() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(PRINTED)


def test_they_are_written_anew(tmp_path: Path) -> None:
    written = write_schemas(PRINTED, tmp_path / "schema")
    assert [path.read_bytes() for path in written] == [(FOLDER / path.name).read_bytes() for path in written]


@pytest.fixture
def session(edgeleuk: Callable[..., Outcome]) -> str:
    """Record a short session; its path, and beside it ``run.json`` and a picture of a field."""
    done = edgeleuk("run", "--camera", CAMERA, "--frames", 2, "--session", "s.db", "--json", *RUNTIME)
    assert done.code == 0
    Path("run.json").write_text(done.out, encoding="utf-8")
    return "s.db"


def test_what_is_said_of_a_session(edgeleuk: Callable[..., Outcome], session: str) -> None:
    summary = validated("run", Path("run.json").read_text(encoding="utf-8"))
    assert summary["frames"]["processed"] == 2
    report = validated("report", edgeleuk("report", session, "--json").out)
    assert report["cells"]["unique"] == summary["cells"]["unique"] > 0
    verified = validated("verify-session", edgeleuk("verify", session, "--json").out)
    assert verified["cells"] == summary["cells"]["unique"]
    assert validated("replay", edgeleuk("replay", session, "--cell", 1, "--json").out)["equal"]
    assert validated("replay-session", edgeleuk("replay", session, "--json").out)["different"] == []
    assert list(COLUMNS) == list(ExportedCell.__struct_fields__)
    lines = edgeleuk("export", session, "--jsonl").out.splitlines()
    cells = [validated("export", line) for line in lines]
    assert len(cells) == summary["cells"]["unique"]


def test_what_is_said_of_pictures(edgeleuk: Callable[..., Outcome], tmp_path: Path) -> None:
    field, cell = tmp_path / "field.png", tmp_path / "cell.png"
    slide = VirtualSlide(301)
    shown = slide.field(0, 0, width=640, height=480).pixels
    write_png(field, shown, "--out")
    alone = np.zeros((300, 300, 3), np.uint8)
    cv2.circle(alone, (150, 150), 100, (120, 60, 150), -1)
    write_png(cell, alone, "--out")
    classified = validated("classify", edgeleuk("classify", field, cell, "--json", *RUNTIME).out)
    assert [one["kind"] for one in classified["files"]] == ["field", "cell"]
    assert classified["files"][0]["cells"]
    segmented = validated("segment", edgeleuk("segment", field, "--out", "masks", "--json").out)
    assert len(segmented["files"][0]["cells"]) == len(classified["files"][0]["cells"])
    words = ("classify", field, "--jobs", 1, "--json", *RUNTIME)
    folder = validated("classify-folder", edgeleuk(*words).out)
    assert folder["pictures"]["classified"] == 1
    assert folder["network_precision"] == classified["network_precision"] == "int8"
    assert folder["count_precision"] == folder["precision"] != "int8"


def test_what_is_said_of_a_bundle_and_of_cameras(edgeleuk: Callable[..., Outcome]) -> None:
    assert validated("inspect", edgeleuk("inspect", "--json").out)["manifest"]["name"] == "default"
    assert validated("verify-bundle", edgeleuk("verify", "--json").out)["verdict"] == "pass"
    assert "cameras" in validated("camera-list", edgeleuk("camera", "list", "--json").out)
    probed = edgeleuk("camera", "probe", f"{CAMERA}&width=320&height=240&fps=20", "--seconds", 0.3, "--json")
    assert validated("camera-probe", probed.out)["width"] == 320


def test_what_is_said_of_a_blank_and_of_settings(edgeleuk: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "glass").mkdir()
    write_png(tmp_path / "glass" / "0.png", np.full((480, 640, 3), (215, 200, 185), np.uint8), "--out")
    taken = edgeleuk("camera", "flat-field", "dir://glass", "--out", "blank.png", "--json")
    assert validated("camera-flat-field", taken.out)["darkest_relative_to_mean"] == 1.0
    shown = validated("config-show", edgeleuk("config", "show", "--flag", "threads=3", "--json").out)
    assert shown["settings"]["threads"] == {"value": 3, "source": "flag"}
    assert shown["settings"]["lock"] == {"value": True, "source": "default"}


def test_what_is_said_of_a_stage(edgeleuk: Callable[..., Outcome]) -> None:
    with serve_tcp(GrblSimulator(settings={22: 1.0}, homing_s=0.0)) as server:
        at = ("--stage", server.url, "--json")
        assert validated("stage-info", edgeleuk("stage", "info", *at).out)["locked"]["meaning"]
        unlocked = validated("stage-unlock", edgeleuk("stage", "unlock", *at).out)
        assert unlocked["was"]["state"] == "Alarm"
        moved = validated("stage-move", edgeleuk("stage", "move", "--x", 30, *at).out)
        assert moved["position_um"] == {"x": 30.0, "y": 0.0, "z": 0.0}
        assert validated("stage-stop", edgeleuk("stage", "stop", *at).out) == moved
        assert validated("stage-home", edgeleuk("stage", "home", *at).out)["stage"] == server.url
        assert validated("stage-info", edgeleuk("stage", "info", *at).out)["locked"] is None
    mapping = Mapping(((12.0, 0.5), (-0.5, 12.0)), (3.0, 2.0), 0.1, 6)
    assert validated("stage-map", json.dumps(mapping.to_json()))["moves"] == 6


def test_what_is_said_of_a_network_of_others(edgeleuk: Callable[..., Outcome]) -> None:
    manifest = validated("inspect", edgeleuk("inspect", "--json").out)["manifest"]
    told = {
        "schema_version": 1, "way": "pixels / 255", "input": manifest["input"], "output": manifest["output"],
        "classes": ["blast", "normal"], "rescales_itself": False, "auroc": 0.9, "interval_95": [0.8, 0.95],
        "cells": 40, "groups": 4, "told_apart": False,
        "runners_up": [{"way": "BGR", "auroc": 0.89, "told_apart_by": None}],
        "model": "a.keras", "stamp": None, "notes": [], "contract": "a.toml",
    }  # fmt: skip
    assert validated("contract", json.dumps(told)) == told


def test_what_is_said_of_a_training() -> None:
    truth = np.arange(40) % 2 == 0
    probability = np.where(truth, 0.7, 0.4)
    names = np.array([f"s{number % 4}" for number in range(40)])
    judged = Judged(truth, probability, probability >= 0.5, np.arange(40) + 50.0, names, names)
    evaluation = Evaluation(
        cells=40, subjects=4, groups=4, left_out=3, threshold=0.5, metrics=point_metrics(judged),
        interval_95=interval_95(judged, resamples=20), baseline_area_weighted_f1=None, by_subject=(),
        probabilities={},
    )  # fmt: skip
    said = evaluation.to_json()
    held_out = msgspec.convert(said, PRINTED["evaluate"])
    printed = json.dumps(held_out.to_json())
    assert json.loads(printed) == json.loads(json.dumps(said))
    assert validated("evaluate", printed)["accuracy"] == 1.0
    trained = {
        "schema_version": 1, "model": "a.keras", "settings": "a.toml", "stamp": None, "architecture": "tiny",
        "parameters": 12, "training_subjects": 9, "held_out_subjects": ["s0"], "held_out": said,
        "cross_validated": None,
    }  # fmt: skip
    assert validated("train", json.dumps(trained))["held_out"]["left_out"] == 3
    assert "sensitivity (blasts)           1.000" in evaluation_text(held_out)


@pytest.mark.parametrize(
    "wrong",
    [{"views": "1"}, {"equal": 1}, {"recorded": None}, {"replayed": {"decision": "ill"}}],
)
def test_what_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    called = {
        "decision": "blast", "probability": 0.5, "reason": None, "kind": None, "kind_probability": None,
    }  # fmt: skip
    value = {
        "schema_version": 1, "session": "s.db", "cell": 1, "bundle_sha256": "ab", "recorded": called,
        "replayed": called, "views": 1, "removed_views": 0, "removed_by": [],
        "equal": True, "research_use": "",
    }  # fmt: skip
    assert validated("replay", json.dumps(value)) == value
    with pytest.raises(msgspec.ValidationError):
        validated("replay", json.dumps(value | wrong))
