"""May B replace A: on cells that neither has seen, each by its own contracts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import cv2
import msgspec
import pytest

from edgeleuk.bundle.manifest import LABELS, TRAINING, VALIDATION
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.bundle.writing import describe_members, write_bundle
from edgeleuk.errors import DataRefusedError, UsageError
from edgeleuk.virtual.cells import single_cell
from edgeleuk_convert.commands.evaluate import comparison_facts_text
from edgeleuk_convert.commands.schemas import PRINTED
from edgeleuk_convert.dataset.cnmc import load_cells
from edgeleuk_convert.evaluation.replacement import compare_bundles, contract_differences, held_out_for_both
from edgeleuk_convert.metrics import acceptance
from edgeleuk_convert.training.record import bundle_record

if TYPE_CHECKING:
    from pathlib import Path

    from edgeleuk.bundle.contents import Bundle
    from edgeleuk_convert.dataset.cells import CellSet

SUBJECTS, CELLS = 4, 4  # of each class


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> CellSet:
    """Cells drawn by the project, in C-NMC's layout."""
    folder = tmp_path_factory.mktemp("cells")
    for label, kind, letter in (("blast", "all", ""), ("normal", "hem", "H")):
        place = folder / "fold_0" / kind
        place.mkdir(parents=True)
        for subject in range(SUBJECTS):
            for number in range(CELLS):
                pixels = single_cell(label, 100 * subject + number).pixels
                name = f"UID_{letter}{900 + subject}_{number}_1_{kind}.png"
                cv2.imwrite(str(place / name), pixels[:, :, ::-1])
    return load_cells(folder)


@pytest.fixture(autouse=True)
def few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptance, "LEAST_CELLS", SUBJECTS * CELLS)


def changed(
    tmp_path: Path, name: str, *, seen: tuple[str, ...] = (), failed: bool = False, **output: Any
) -> Bundle:
    """Write the shipped bundle with other subjects seen, another output contract, or another verdict."""
    shipped = read_bundle("default")
    record = msgspec.structs.replace(bundle_record(shipped), training_subjects=seen, training_hashes=())
    members = dict(shipped.members) | {TRAINING: msgspec.json.encode(record)}
    if failed:
        members[VALIDATION] = b'{"verdict": "fail", "reasons": ["it flips"]}'
    if "labels" in output:
        negative, positive = output["labels"]
        members[LABELS] = msgspec.json.encode({"negative": negative, "positive": positive})
    manifest = msgspec.structs.replace(
        shipped.manifest,
        name=name,
        output=msgspec.structs.replace(shipped.manifest.output, **output),
        members=describe_members(members),
    )
    path = tmp_path / f"{name}.edgeleuk"
    write_bundle(path, manifest, members)
    return read_bundle(path)


def compared(a: Bundle, b: Bundle, data: CellSet) -> dict[str, Any]:
    return compare_bundles(a, b, data, acceptance.AcceptanceLimits())


def test_a_bundle_may_replace_its_like(tmp_path: Path, data: CellSet) -> None:
    a = changed(tmp_path, "a", seen=("900",))
    b = changed(tmp_path, "b", seen=("H900",))
    result = compared(a, b, data)
    assert (result["verdict"], result["answer"]) == ("undecided", "undecided: about 8 more images")
    # What either has seen is left out for both.
    assert (result["cells"], result["subjects"]) == (2 * (SUBJECTS - 1) * CELLS, 2 * (SUBJECTS - 1))
    result = compared(changed(tmp_path, "c"), changed(tmp_path, "d"), data)
    assert (result["verdict"], result["answer"]) == ("pass", "B may replace A")
    assert result["models"] == ["tflite_int8", "onnx_int8"]
    for key in result["models"]:
        assert (result[key]["agreement"], result[key]["flips"], result[key]["weighted_f1_drop"]) == (1, 0, 0)
        assert result[key]["a"] == result[key]["b"]
    assert result["differences"] == []
    assert "their contracts are the same" in comparison_facts_text(result)
    said = result | {"stamp": None}
    printed = msgspec.convert(said, PRINTED["compare"]).to_json()
    assert json.loads(json.dumps(printed)) == json.loads(json.dumps(said))


def test_a_bundle_that_misses_blasts_is_worse(tmp_path: Path, data: CellSet) -> None:
    a, b = changed(tmp_path, "a", threshold=0.3), changed(tmp_path, "b", threshold=0.999)
    result = compared(a, b, data)
    assert (result["verdict"], result["answer"]) == ("fail", "B is worse")
    assert "threshold: 0.300 in A, 0.999 in B" in result["differences"]
    for key in result["models"]:
        assert result[key]["sensitivity_drop"] > 0.5
        assert result[key]["agreement"] == 1 - result[key]["flip_rate"] < 1
        assert set(result[key]["flipped"][0]) >= {"probability_a", "probability_b", "margin"}
    text = comparison_facts_text(result)
    assert "B is worse\n  tflite_int8: weighted F1 drops by" in text
    assert compared(b, a, data)["tflite_int8"]["sensitivity_drop"] < -0.5


def test_a_rejected_bundle_replaces_nothing(tmp_path: Path, data: CellSet) -> None:
    result = compared(changed(tmp_path, "a"), changed(tmp_path, "b", failed=True), data)
    assert result["answer"] == "B is worse"
    assert result["reasons"] == ["B was rejected when it was made: it flips"]


ALL = tuple(f"{letter}{900 + subject}" for letter in ("", "H") for subject in range(SUBJECTS))
SEEN: dict[str, tuple[tuple[str, ...], tuple[str, ...], str]] = {
    "A": (ALL, (), r"A \(a.edgeleuk\) has seen every subject"),
    "B": ((), ALL, r"B \(b.edgeleuk\) has seen every subject"),
    "both together": (ALL[:5], ALL[5:], "is new to both bundles: got 12 cells new to A and 20 new to B"),
    "one class": (ALL[:2], ALL[2:4], "labelled cells of both classes: got 16 normal, 0 blast"),
}


@pytest.mark.parametrize("who", SEEN)
def test_what_has_been_seen_is_refused(tmp_path: Path, data: CellSet, who: str) -> None:
    seen_by_a, seen_by_b, sentence = SEEN[who]
    a, b = changed(tmp_path, "a", seen=seen_by_a), changed(tmp_path, "b", seen=seen_by_b)
    with pytest.raises(DataRefusedError, match=sentence):
        held_out_for_both(a, b, data)


def test_other_classes_cannot_be_compared(tmp_path: Path, data: CellSet) -> None:
    other = changed(tmp_path, "b", labels=("blast", "normal"))
    with pytest.raises(UsageError, match="different classes apart: got normal/blast and blast/normal"):
        compared(changed(tmp_path, "a"), other, data)


def test_contracts_that_differ_are_named() -> None:
    a = read_bundle("default").manifest
    b = msgspec.structs.replace(
        a, schema_version=1, gate=None, input=msgspec.structs.replace(a.input, height=64, px_per_um=5.0)
    )
    differences = contract_differences(a, b)
    assert f"input size: {a.input.height}x{a.input.width} in A, 64x{a.input.width} in B" in differences
    assert f"scale: {a.input.px_per_um:g} px/um in A, 5 px/um in B" in differences
    assert {line.split(":")[0] for line in differences} == {
        "schema version",
        "input size",
        "scale",
        "gate",
        "limit of the features' distance",
        "other ranges of area, colour or sharpness make a cell uncertain",
    }
    assert contract_differences(a, a) == []
