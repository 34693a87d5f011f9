"""A report that cannot mislead: its page and its JSON agree, and both say what must be said."""

from __future__ import annotations

import html
import json
import re
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from edgeleuk.bundle.manifest import Envelope, InputContract, OutputContract
from edgeleuk.errors import DataRefusedError, MissingDependencyError, UsageError
from edgeleuk.version import RESEARCH_USE
from edgeleuk_convert.dataset.cells import CellSet
from edgeleuk_convert.dataset.cnmc import load_cells
from edgeleuk_convert.evaluation import baselines
from edgeleuk_convert.evaluation.evaluate import evaluate_with
from edgeleuk_convert.reports.page import NOTHING, look_up, written
from edgeleuk_convert.reports.report import JudgedModel, Report, report_on, write_report
from edgeleuk_convert.reports.report_facts import Bootstrap, wilson_95
from edgeleuk_convert.reports.tripod import ITEMS, OPENING
from edgeleuk_convert.training.record import TrainingRecord

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeleuk.frames import CellCrop

SUBJECTS, CELLS = 12, 5
MODEL = "resnet <script>alert(1)</script> & sons"
SHOWN = re.compile(r'<span data-key="([^"]+)" data-form="([^"]+)">([^<]*)</span>')


def drawn(subject: int, number: int) -> npt.NDArray[np.uint8]:
    """Draw a lumpy cell: blasts are coarser."""
    rng = np.random.default_rng([subject, number])
    sigma = 4.0 if subject % 2 else 1.5
    texture = cv2.GaussianBlur(rng.normal(size=(160, 160)).astype(np.float32), (0, 0), sigma)
    inside = np.zeros((160, 160), np.uint8)
    axes = (int(rng.integers(40, 60)), int(rng.integers(40, 60)))
    cv2.ellipse(inside, (80, 80), axes, float(rng.integers(180)), 0, 360, 1, -1)
    lightness = np.asarray(texture)[:, :, None] / np.std(texture) * 15 + np.array([110, 60, 130])
    return np.asarray(np.where(inside[:, :, None] > 0, np.clip(lightness, 1, 255), 0), np.uint8)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> CellSet:
    folder = tmp_path_factory.mktemp("cells")
    for subject in range(SUBJECTS):
        kind, name = ("all", str(subject)) if subject % 2 else ("hem", f"H{subject}")
        place = folder / f"fold_{1 + subject % 4 // 2}" / kind
        place.mkdir(parents=True, exist_ok=True)
        for number in range(CELLS):
            cv2.imwrite(str(place / f"UID_{name}_{number}_1_{kind}.bmp"), drawn(subject, number))
    return load_cells(folder)


@pytest.fixture(autouse=True)
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "TREES", 20)


def predict(crops: Sequence[CellCrop]) -> npt.NDArray[np.float64]:
    """Say something that is often right: coarse texture varies more from pixel to pixel, less locally."""
    rough = np.array([np.abs(np.diff(crop.pixels[60:100, 60:100, 1].astype(int))).mean() for crop in crops])
    return np.clip(1.2 - rough / 12, 0.01, 0.99)


def record(*seen: str) -> TrainingRecord:
    contract = InputContract(8, 8, ("red",), normalise=True, px_per_um=1.0, crop_px_per_um=18.5)
    return TrainingRecord(
        architecture="resnet",
        parameters=1,
        input=contract,
        output=OutputContract(kind="probability", temperature=1.0, threshold=0.5, abstain=(0.5, 0.5)),
        envelope=Envelope(area_um2=(0.0, 1e6)),
        settings={},
        training_subjects=seen,
        held_out_subjects=(),
        training_hashes=(),
        tools={},
    )


SEEN = ("1", "3", "5", "H0", "H2", "H4")


def reported(cells: CellSet, folder: Path, **more: Any) -> Report:
    about = {"name": MODEL, "record": record(*SEEN), "threshold": 0.5}
    about |= {key: more.pop(key) for key in about.keys() & more.keys()}
    return report_on(JudgedModel(predict, **about), cells, folder, bootstrap=Bootstrap(resamples=50), **more)


@pytest.fixture(scope="module")
def report(cells: CellSet, tmp_path_factory: pytest.TempPathFactory) -> Report:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "TREES", 20)
        return reported(cells, tmp_path_factory.mktemp("report") / "new" / "folder")


def test_every_number_on_the_page_is_the_json_s(report: Report) -> None:
    facts = json.loads(report.json.read_text())
    shown = SHOWN.findall(report.html.read_text())
    assert len(shown) > 150
    for key, form, text in shown:
        assert html.unescape(text) == written(look_up(facts, key), form), key
    keys = {key for key, _, _ in shown}
    for metric in report.evaluation.metrics:
        assert {metric, f"interval_95.{metric}.0", f"interval_95.{metric}.1"} <= keys


def test_the_json_is_the_evaluation_s_and_more(report: Report, cells: CellSet) -> None:
    facts = json.loads(report.json.read_text())
    alone = evaluate_with(predict, cells, record=record(*SEEN), threshold=0.5, resamples=50)
    assert facts["schema_version"] == 1
    assert {key: facts[key] for key in alone.to_json()} == json.loads(json.dumps(alone.to_json()))
    assert facts["n"]["cells"] == facts["cells"] == SUBJECTS * CELLS // 2
    assert sum(facts["confusion"].values()) == facts["cells"]
    assert sum(b["cells"] for b in facts["reliability"]) == facts["cells"]
    assert sum(row["cells"] for row in facts["subjects_table"]) == facts["cells"]
    assert [one["name"] for one in facts["compared"]] == ["model", "area", "colour", "logistic", "forest"]
    area = facts["compared"][1]
    assert area["weighted_f1"] == facts["baseline_area_weighted_f1"]
    ece = sum(b["cells"] * abs(b["mean_probability"] - b["blasts"]) for b in facts["reliability"])
    assert ece / facts["cells"] == pytest.approx(facts["ece"])
    assert facts["roc"][0]["auroc"] == pytest.approx(facts["auroc"])
    assert facts["hard_fold"]["subjects"] > 0


def test_the_page_stands_alone_and_is_escaped(report: Report) -> None:
    page = report.html.read_text()
    assert not re.search(r"https?://|<script|<link|@import|url\(|src=\"(?!data:)|href", page)
    assert html.escape(MODEL) in page
    assert html.escape(RESEARCH_USE) in page
    assert 'name="viewport"' in page
    assert page.count("data:image/png;base64,") == 3
    assert page.count("data:image/jpeg;base64,") == 2 * min(12, 3 * CELLS)
    assert page.count("<img alt=") == page.count("<img")
    assert 'class="stamp"' not in page
    assert not list(report.html.parent.glob("*.part"))


def test_the_appendix_names_sections_that_are_there(report: Report) -> None:
    page = report.html.read_text()
    titles = [html.unescape(title) for title in re.findall(r"<h2>(.*?)</h2>", page)]
    assert titles[-1] == "Appendix: the items of TRIPOD+AI"
    wanted = {beginning for item in ITEMS for beginning in item.where} - {OPENING}
    # A report of these cells has all sections: what an item names must be one of them.
    assert [one for one in wanted if not any(title.startswith(one) for title in titles[:-1])] == []
    appendix = html.unescape(page[page.index("Appendix: the items") :])
    assert "in Numbers; Subject by subject, the worst first" in appendix


def test_it_says_who_was_left_out(report: Report) -> None:
    facts = json.loads(report.json.read_text())
    assert {one["group"] for one in facts["left_out_groups"]} == set(SEEN)
    assert facts["left_out"] == sum(one["cells"] for one in facts["left_out_groups"]) == len(SEEN) * CELLS
    assert "Left out, because the model has seen the group" in report.html.read_text()


def test_the_verdict_on_the_forest_follows_the_interval(report: Report) -> None:
    for one in json.loads(report.json.read_text())["against_forest"].values():
        low, high = one["interval_95"]
        assert one["verdict"] == ("better" if low > 0 else "worse" if high < 0 else "undecided")


def test_the_forest_s_gap_is_always_there_and_the_model_s_on_request(cells: CellSet, tmp_path: Path) -> None:
    random = evaluate_with(predict, cells, record=None, threshold=0.3, resamples=10)
    facts = reported(cells, tmp_path, random_split=random).facts
    forest, model = facts["split_gaps"]
    assert forest["grouped_cells"] == forest["random_cells"] == SUBJECTS * CELLS
    assert (model["grouped_cells"], model["random_cells"]) == (SUBJECTS * CELLS // 2, SUBJECTS * CELLS)
    gap = model["metrics"]["auroc"]
    assert gap["gap"] == gap["random"] - gap["grouped"]
    assert gap["interval_95"] is None
    assert f"<td>{NOTHING}</td>" in (tmp_path / "report.html").read_text()


def test_without_a_record_it_says_that_nobody_knows(cells: CellSet, tmp_path: Path) -> None:
    report = reported(cells, tmp_path, record=None)
    page = report.html.read_text()
    assert "nobody knows" in page
    assert "never seen" not in page
    assert report.facts["baselines_fitted_on"]["what"] == baselines.OTHER_GROUPS
    assert report.facts["left_out"] == 0


@pytest.fixture
def leaking(cells: CellSet, tmp_path: Path) -> CellSet:
    """A cell of a training subject, turned and re-compressed, under another name."""
    source = next(cell for cell in cells.cells if cell.subject == "1")
    copy = tmp_path / "fold_1" / "all" / "UID_99_1_1_all.bmp"
    copy.parent.mkdir(parents=True)
    pixels = np.rot90(cv2.imread(str(source.path)))
    cv2.imwrite(str(copy), np.ascontiguousarray(pixels // 2 * 2))
    (extra,) = load_cells(tmp_path).cells
    moved = [replace(cell, path=tmp_path / cell.path.relative_to(cells.folder)) for cell in cells.cells]
    for old, new in zip(cells.cells, moved, strict=True):
        new.path.parent.mkdir(parents=True, exist_ok=True)
        new.path.symlink_to(old.path)
    return CellSet(tmp_path, (*moved, extra))


def test_a_near_duplicate_of_the_training_is_refused_by_name(leaking: CellSet, tmp_path: Path) -> None:
    with pytest.raises(
        DataRefusedError, match=r"UID_1_\d_1_all\.bmp and UID_99_1_1_all\.bmp.*--allow-leakage"
    ):
        reported(leaking, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_what_is_allowed_to_leak_is_stamped_everywhere(leaking: CellSet, tmp_path: Path) -> None:
    report = reported(leaking, tmp_path / "out", allow_leakage=True)
    facts, page = json.loads(report.json.read_text()), report.html.read_text()
    assert report.stamp is not None
    assert facts["stamp"] == report.stamp
    assert page.count(f'<p class="stamp">{html.escape(report.stamp)}</p>') == 2
    assert page.index('class="stamp"') < page.index("<h1>")
    assert "never seen" not in page
    assert facts["cells"] == SUBJECTS * CELLS + 1
    assert facts["left_out"] == 0
    assert "1 by near-duplicate" in report.stamp


def test_it_cannot_be_written_over_a_file(cells: CellSet, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(UsageError, match="the report's folder cannot be made"):
        reported(cells, tmp_path / "taken")


def test_what_is_no_number_is_null_in_both(report: Report, cells: CellSet, tmp_path: Path) -> None:
    facts = report.facts | {"auroc": float("nan")}
    page, data = write_report(tmp_path, facts, cells.folder)
    assert json.loads(data.read_text())["auroc"] is None
    assert f'<span data-key="auroc" data-form=".3f">{NOTHING}</span>' in page.read_text()


def test_a_worst_cell_that_is_gone_is_said(report: Report, tmp_path: Path) -> None:
    page, _ = write_report(tmp_path, report.facts, tmp_path)
    assert "cannot be read" in page.read_text()


def test_a_missing_matplotlib_is_named(
    report: Report, cells: CellSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match="Matplotlib is not installed"):
        write_report(tmp_path, report.facts, cells.folder)
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_was_trained_with_leakage_says_so_for_ever(cells: CellSet, tmp_path: Path) -> None:
    import msgspec

    stamped = msgspec.structs.replace(record(*SEEN), stamp="LEAKAGE ALLOWED: 3 of 9 test cells.")
    report = reported(cells, tmp_path, record=stamped)
    page = report.html.read_text()
    assert report.stamp == "LEAKAGE ALLOWED IN TRAINING: 3 of 9 test cells."
    assert page.count(f'<p class="stamp">{report.stamp}</p>') == 2
    # It is judged on what it has not seen all the same.
    assert "trained with leakage allowed" in page
    assert "Nothing was left out" not in page
    assert json.loads(report.json.read_text())["left_out"] == report.evaluation.left_out > 0


@pytest.mark.parametrize(
    ("right", "n", "low", "high"), [(0, 10, 0, 0.278), (10, 10, 0.722, 1), (1, 2, 0.095, 0.905)]
)
def test_wilson(right: int, n: int, low: float, high: float) -> None:
    assert wilson_95(right, n) == pytest.approx((low, high), abs=1e-3)
