"""The report on real cells, by the shipped bundle; and near-duplicates between C-NMC's own groups."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from edgeleuk.bundle.reading import read_bundle
from edgeleuk.classifier.classifier import open_classifier
from edgeleuk_convert.dataset.cnmc import load_cells
from edgeleuk_convert.dataset.leakage import fingerprints, join_near_duplicates, near_duplicates
from edgeleuk_convert.evaluation import baselines
from edgeleuk_convert.reports.report import JudgedModel, report_on
from edgeleuk_convert.reports.report_facts import Bootstrap
from edgeleuk_convert.training.record import bundle_record

if TYPE_CHECKING:
    from pathlib import Path

    from edgeleuk_convert.dataset.cells import CellSet


@pytest.fixture(scope="module")
def cells(few_cells: Path) -> CellSet:
    return load_cells(few_cells)


def test_the_shipped_bundle_on_a_few_cells(
    cells: CellSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baselines, "TREES", 50)
    joined = join_near_duplicates(cells, fingerprints(cells.cells))
    bundle = read_bundle("default")
    classifier = open_classifier(bundle, runtime="litert", precision="int8", threads=1)
    # Without its record, so that the few cells here are enough whatever the bundle was trained on.
    report = report_on(
        JudgedModel(classifier.probabilities, "default", None, bundle.manifest.output.threshold),
        joined,
        tmp_path,
        bootstrap=Bootstrap(resamples=100),
    )
    classifier.close()
    facts = json.loads(report.json.read_text())
    assert facts["cells"] == len(cells.labelled)
    assert facts["subjects"] == 18
    assert len(facts["compared"]) == 5
    by_name = {one["name"]: one for one in facts["compared"]}
    assert by_name["forest"]["auroc"] > by_name["colour"]["auroc"]
    assert facts["split_gaps"][0]["metrics"]["auroc"]["gap"] > 0
    assert report.html.stat().st_size < 3_000_000


def test_the_shipped_bundle_has_a_record_to_leave_groups_out_by() -> None:
    assert len(bundle_record(read_bundle("default")).training_subjects) > 0


def test_cnmc_shows_the_same_cells_under_two_groups(edgeleuk_data: Path, tmp_path: Path) -> None:
    """H2 and H7 share no identical file, and yet their cells."""
    folder = edgeleuk_data / "cnmc"
    for subject in ("H2", "H7", "H12"):
        for file in sorted(folder.glob(f"fold_*/hem/UID_{subject}_*.webp")):
            link = tmp_path / file.relative_to(folder)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file)
    cells = load_cells(tmp_path)
    assert {cell.group for cell in cells.cells} == {"H2", "H7", "H12"}
    prints = fingerprints(cells.cells)
    twins = near_duplicates(cells.cells, cells.cells, prints)
    assert Counter(frozenset((one.group, other.group)) for one, other, _ in twins) == {
        frozenset({"H2", "H7"}): 20  # each pair from both ends
    }
    assert ("UID_H7_1_1_hem.webp", "UID_H2_2_1_hem.webp") in {
        (one.path.name, other.path.name) for one, other, _ in twins
    }
    assert {cell.group for cell in join_near_duplicates(cells, prints).cells} == {"H2", "H12"}
