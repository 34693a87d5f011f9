"""`edgeleuk teach` as it is typed: another laboratory's cells, a bundle of its own, and what is refused."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from labelled import entry, file_of, said
from outcome import Outcome

from edgeleuk.bundle.reading import read_bundle
from edgeleuk.cli.app import main
from edgeleuk.labels.spool import Spool
from edgeleuk.virtual.cells import single_cell
from edgeleuk_convert.commands.schemas import PRINTED

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = "{label}_{slide}-*"


@pytest.fixture
def edgeleuk(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Outcome]:
    """Run the command line in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*words: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["edgeleuk", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        return Outcome(code, *capfd.readouterr())

    return call


@pytest.fixture(scope="module")
def pictures(edgeleuk_data: Path) -> dict[str, list[Path]]:
    """Another laboratory's pictures by kind; the set names no slides, so that they are dealt to four."""
    found: dict[str, list[Path]] = {}
    with (edgeleuk_data / "wbc_masks" / "kinds.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["path"].startswith("jiangxi"):
                found.setdefault(row["kind"], []).append(edgeleuk_data / "wbc_masks" / row["path"])
    return found


def labelled(pictures: dict[str, list[Path]], folder: Path, kinds: tuple[str, ...], most: int) -> Path:
    folder.mkdir()
    for kind in kinds:
        for number, picture in enumerate(pictures[kind][:most]):
            shutil.copyfile(picture, folder / f"{kind}_{number % 4}-{number}.png")
    out = folder.with_suffix(".labels")
    words = ("labels", "import", folder, "--names", NAMES, "--by", "A", "--px-per-um", 6.2, "--out", out)
    command = [sys.executable, "-m", "edgeleuk", *map(str, words)]
    subprocess.run(command, check=True, capture_output=True)
    return out


@pytest.fixture(scope="module")
def labels(pictures: dict[str, list[Path]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labels") / "ward"
    return labelled(pictures, folder, ("neutrophil", "monocyte", "lymphocyte"), 40)


def taught(done: Outcome) -> Any:
    return json.loads(done.out)


def validated(done: Outcome) -> Any:
    """Hold what was printed against its published schema."""
    msgspec.json.decode(done.out, type=PRINTED["teach"], strict=True)
    return taught(done)


def test_a_laboratory_gets_its_own_bundle(
    edgeleuk: Callable[..., Outcome], labels: Path, pictures: dict[str, list[Path]]
) -> None:
    words = ("--labels", labels, "--laboratory", "Ward 7", "--out", "lab.edgeleuk", "--json")
    done = edgeleuk("teach", "default", *words)
    assert done.code == 0, done.err
    assert "warning: no blasts are labelled" in done.err
    printed = validated(done)
    (head,) = printed["heads"]
    assert (printed["verdict"], printed["reasons"], head["head"]) == ("pass", [], "kind")
    assert head["after"]["value"] > head["before"]["value"] + 0.2
    assert head["gain"]["low"] > 0
    assert sum(head["confusion"]["neutrophil"].values()) == head["classes"]["neutrophil"]["cells"]
    bundle = read_bundle(Path("lab.edgeleuk"))
    (*_, step) = bundle.manifest.descent
    assert (step.laboratory, step.forced, step.labels_sha256) == ("Ward 7", False, printed["labels_sha256"])
    assert step.parent_sha256 == read_bundle("default").sha256
    assert edgeleuk("verify", "lab.edgeleuk").code == 0
    corrected_by_its_own_cells(edgeleuk, pictures)
    # Cells that nobody showed it, through all that `classify` does.
    unseen = pictures["neutrophil"][60:80]
    scale = ("--px-per-um", 6.2, "--json")
    for name, least in (("lab.edgeleuk", 0.6), ("default", 0.0)):
        found = taught(edgeleuk("classify", *unseen, "--bundle", name, *scale))
        cells = found["cells"]
        told = cells["other_by_kind"].get("neutrophil", 0)
        whole = sum(cells[name] for name in ("blast", "normal", "other", "uncertain"))
        whole -= cells["uncertain_by_reason"].get("border", 0)
        assert told >= least * whole > 0 or not least
        assert cells["blast"] == 0


def corrected_by_its_own_cells(edgeleuk: Callable[..., Outcome], pictures: dict[str, list[Path]]) -> None:
    """The taught bundle knows how often it confuses kinds here, and corrects a folder of them by it."""
    bundle = read_bundle("lab.edgeleuk")
    confusion = json.loads(bundle.members["validation.json"])["confusion"]
    # The head for blasts was not taught: it may know none of these lymphocytes.
    assert {"neutrophil", "monocyte"} <= set(confusion["kinds"])
    of_neutrophils = dict(zip(confusion["kinds"], confusion["counts"], strict=True))["neutrophil"]
    # The uncertain ones are not in it.
    assert 20 < sum(of_neutrophils) <= 40
    card = bundle.members["card.md"].decode()
    _, _, own = card.partition("## Accuracy in Ward 7\n")
    assert "neutrophil cells that were called: " in own
    assert "figures of `default`" in card
    Path("ward").mkdir()
    for kind, most in (("neutrophil", 25), ("monocyte", 8)):
        for picture in pictures[kind][-most:]:
            shutil.copyfile(picture, Path("ward") / f"{kind}-{picture.name}")
    words = ("classify", "ward", "--bundle", "lab.edgeleuk", "--px-per-um", 6.2)
    facts = taught(edgeleuk(*words, "--json"))
    corrected = facts["corrected_white_cells"]
    assert (corrected["reason"], corrected["n"]) == (None, facts["white_cells"]["white_cells"]["n"])
    share, raw = corrected["kinds"]["neutrophil"], facts["white_cells"]["white_cells"]["kinds"]["neutrophil"]
    # Four slides tell little of how often kinds are confused.
    assert 0 < share["low"] < raw["low"] < share["share"] <= share["high"]


def test_blasts_are_taught_where_a_forest_had_a_say_and_what_to_label_next_is_told(
    edgeleuk: Callable[..., Outcome], tmp_path: Path
) -> None:
    forest = read_bundle("default").manifest.output.forest_weight
    with Spool() as spool:
        cells = [(number, ("blast", "normal")[number % 2]) for number in range(48)]
        entries = [
            entry(
                spool, number, said(label), slide=f"S{number // 2 % 3}", of=single_cell(label, 700 + number)
            )
            for number, label in cells
        ]
        file_of(tmp_path / "drawn.labels", spool, entries)
    run = ("run", "--camera", "virtual://?seed=9", "--frames", 3, "--runtime", "litert")
    assert edgeleuk(*run, "--session", "night.db").code == 0
    words = ("teach", "default", "--labels", "drawn.labels", "--out", "lab.edgeleuk", "--runtime", "litert")
    done = edgeleuk(*words, "--force", "--next", "night.db", "--json")
    assert done.code == 0, done.err
    found = validated(done)
    (head,) = found["heads"]
    assert head["head"] == "blast"
    # A head of its own took the forest's place, or nothing did.
    kept = read_bundle(Path("lab.edgeleuk")).manifest.output.forest_weight
    assert (kept == 0) is (not forest or not head["choice"].startswith("the head"))
    assert found["next"]["bundle"] == "lab"
    assert found["next"]["cells"]
    missed = edgeleuk(*words, "--next", "none.db")
    assert (missed.code, missed.out) == (2, "")
    assert "there is no such session file" in missed.err


def test_too_few_cells_make_a_rejected_bundle_unless_somebody_insists(
    edgeleuk: Callable[..., Outcome], pictures: dict[str, list[Path]], tmp_path: Path
) -> None:
    few = labelled(pictures, tmp_path / "few", ("neutrophil", "lymphocyte"), 15)
    done = edgeleuk("teach", "default", "--labels", few, "--out", "lab.edgeleuk")
    assert done.code == 3
    assert "20 cells of 2 slides of each class are the least" in done.out
    assert not Path("lab.edgeleuk").exists()
    refused = edgeleuk("classify", *pictures["monocyte"][:1], "--bundle", "lab.rejected.edgeleuk")
    assert refused.code == 3
    assert "rejected" in refused.err
    words = ("--out", "lab.edgeleuk", "--force", "--runtime", "openvino", "--json")
    forced = edgeleuk("teach", "default", "--labels", few, *words)
    assert forced.code == 0, forced.err
    assert json.loads(forced.out)["runtime"] == "openvino"
    # The heads judge what another runtime sees, and every runtime's self-test is of them.
    assert edgeleuk("verify", "lab.edgeleuk").code == 0
    assert read_bundle(Path("lab.edgeleuk")).manifest.descent[-1].forced
    assert edgeleuk("verify", "lab.edgeleuk").code == 0


def test_what_cannot_be_taught_is_refused_and_nothing_is_written(
    edgeleuk: Callable[..., Outcome], labels: Path, pictures: dict[str, list[Path]], tmp_path: Path
) -> None:
    one = labelled(pictures, tmp_path / "one", ("neutrophil",), 3)
    before = sorted(tmp_path.iterdir())
    for words, code, sentence in (
        (("--labels", one), 4, "the labels tell nothing apart: got 3 cells, all neutrophil"),
        (("--labels", "no.labels"), 2, "there is no such"),
        (("--labels", labels, "--runtime", "magic"), 2, "magic"),
        (("--labels", labels, "--out", "nowhere/lab.edgeleuk"), 2, "nowhere"),
    ):
        done = edgeleuk("teach", "default", "--out", "lab.edgeleuk", *words)
        assert (done.code, done.out) == (code, ""), done
        assert sentence in done.err
    assert sorted(tmp_path.iterdir()) == before
