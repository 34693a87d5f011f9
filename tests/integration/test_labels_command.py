"""`edgeleuk labels` as it is typed: a session labelled by two people, killed merges, and what is refused."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from labelled import entry, file_of, said
from outcome import Outcome
from sessions import record

from edgeleuk.cli.app import main
from edgeleuk.cli.schemas import PRINTED
from edgeleuk.labels import read_labels
from edgeleuk.labels.file import open_labels
from edgeleuk.labels.merging import merge_labels
from edgeleuk.labels.spool import Spool
from edgeleuk.session import create_session

if TYPE_CHECKING:
    from collections.abc import Callable

RUN = ("run", "--camera", "virtual://?seed=301", "--frames", 6, "--runtime", "litert", "--precision", "int8")


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


def validated(name: str, done: Outcome) -> Any:
    """Hold what was printed against its published schema."""
    found = msgspec.json.decode(done.out, type=PRINTED[name], strict=True)
    assert json.loads(msgspec.json.encode(found)) == json.loads(done.out)
    return json.loads(done.out)


def test_a_session_is_labelled_compared_and_handed_on(edgeleuk: Callable[..., Outcome]) -> None:
    assert edgeleuk(*RUN, "--session", "night.db").code == 0
    before = Path("night.db").read_bytes()
    Path("a.csv").write_text("cell,label\n0,LYM\n1,mono\n2,lymphocytes\n", encoding="utf-8")
    Path("b.csv").write_text("cell;label;by\n0;normal;B\n1;neut;B\n", encoding="utf-8")
    place = ("--slide", "S7", "--subject", "P1")
    assert edgeleuk("labels", "set", "night.db", "--from", "a.csv", "--by", "A", *place).code == 0
    done = edgeleuk("labels", "set", "night.db", "--from", "b.csv", "--json")
    assert validated("labels-written", done)["labels"] == {"contradicted": 1, "lymphocyte": 1, "normal": 1}
    own = ("--label", "Typ 3", "--classes", "typ3=band, Typ 3=monocyte")
    done = edgeleuk("labels", "set", "night.db", "--cell", 1, *own, "--by", "B")
    assert (done.code, done.err) == (0, "")
    assert Path("night.db").read_bytes() == before
    out = edgeleuk("labels", "export", "night.db", "--out", "lab.labels", "--bundle", "default", "--json")
    assert validated("labels-written", out)["labels"] == {"lymphocyte": 1, "monocyte": 1, "normal": 1}
    listed = validated("labels-list", edgeleuk("labels", "list", "lab.labels", "--json"))
    assert (listed["cells"], listed["statements"]) == (3, 6)
    assert edgeleuk("labels", "export", "lab.labels", "--csv", "lab.csv").code == 0
    with Path("lab.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["counts"] for row in rows if row["by"] == "B" and row["label"] == "neutrophil"] == ["0"]
    assert edgeleuk("labels", "import", "lab.csv", "--cells", "lab.labels", "--out", "back.labels").code == 0
    assert Path("back.labels").read_bytes() == Path("lab.labels").read_bytes()
    checked = validated("labels-check", edgeleuk("labels", "check", "lab.labels", "--json"))
    assert (checked["sound"], checked["one_slide"]) == (True, True)
    (agreement,) = checked["agreements"]
    assert (agreement["people"], agreement["kappa"]) == (["A", "B"], 1.0)


def test_leaks_and_contradictions_end_with_4(edgeleuk: Callable[..., Outcome], tmp_path: Path) -> None:
    with Spool() as spool:
        cells = [entry(spool, 1, said("band"), said("smudge", "B")), entry(spool, 1, slide="S2")]
        file_of(tmp_path / "lab.labels", spool, cells)
    done = edgeleuk("labels", "check", "lab.labels")
    assert done.code == 4
    assert "NOT SOUND" in done.out
    assert done.err.startswith("error: the labels are not sound: got 1 cells stand under two slides")
    assert done.err.count("\n") == 1


def test_the_queue_leaves_out_what_is_labelled_and_holds_cells_of_each_session(
    edgeleuk: Callable[..., Outcome],
) -> None:
    for name, seed in (("monday", 301), ("tuesday", 302)):
        words = [f"virtual://?seed={seed}" if word == RUN[2] else word for word in RUN]
        assert edgeleuk(*words, "--session", f"{name}.db").code == 0
    sessions = ("monday.db", "tuesday.db")
    said = validated("labels-next", edgeleuk("labels", "next", *sessions, "--count", 6, "--json"))
    first = said["cells"][0]
    assert len(said["cells"]) == 6
    assert min(of["queued"] for of in said["sessions"]) >= 1
    assert all(0 <= cell["doubt"] <= 1 and cell["kind"] != cell["second"] for cell in said["cells"])
    label = ("--cell", first["cell"], "--label", "monocyte", "--by", "A")
    assert edgeleuk("labels", "set", first["session"], *label).code == 0
    beside = Path(first["session"]).with_suffix(".labels")
    again = validated("labels-next", edgeleuk("labels", "next", *sessions, "--json"))
    named = {(cell["session"], cell["cell"]) for cell in again["cells"]}
    assert (first["session"], first["cell"]) not in named
    assert [of["labelled"] for of in again["sessions"]] == [
        int(name == first["session"]) for name in sessions
    ]
    assert len(named) == sum(of["cells"] for of in again["sessions"]) - 1
    # Labels that lie elsewhere are passed.
    beside.rename("lab.labels")
    elsewhere = edgeleuk("labels", "next", *sessions, "--labels", "lab.labels", "--json")
    assert validated("labels-next", elsewhere) == again
    done = edgeleuk("labels", "next", "monday.db", "--count", 2)
    assert "2 cells to label next, the most telling first; default doubts" in done.out
    assert "one slide only" in done.out


A = ("--by", "A")
ONE = ("set", "IT", "--cell", 0, "--label", "mono")
REFUSED = {
    "no such session": (("set", "none.db", "--cell", 0, "--label", "mono", *A), 2, "no such session"),
    "no cell": (("set", "IT", "--label", "mono", *A), 2, "it is not said which cells are what"),
    "no person": (ONE, 2, "nobody says who labelled the cells"),
    "an empty name": ((*ONE, "--by", " "), 2, "the name of the person cannot be kept"),
    "an empty slide": ((*ONE, *A, "--slide", ""), 2, "the name of the slide cannot be kept"),
    "no kind": (("set", "IT", "--cell", 0, "--label", "monocite", *A), 2, "did you mean monocyte?"),
    "no zone": ((*ONE, *A, "--at", "2026-01-01T00:00"), 2, "with its zone"),
    "no such cell": (("set", "IT", "--cell", 99, "--label", "mono", *A), 2, "has no such cell: got 99"),
    "kinds of a table": (("set", "IT", "--from", "kinds.csv", *A), 4, "2 of 3 labels are unknown: got X (2)"),
    "numbers of a table": (("set", "IT", "--from", "numbers.csv", *A), 2, "a cell that is no number"),
    "columns of a table": (("set", "IT", "--from", "columns.csv", *A), 4, "lacks the column label"),
    "another bundle": ((*ONE, *A, "--bundle", "default"), 7, "another bundle judged"),
    "nothing asked for": (("export", "lab.labels"), 2, "one thing has to be asked for"),
    "labels have no bundle": (
        ("export", "lab.labels", "--csv", "x", "--bundle", "default"), 2, "--bundle belongs to a session"
    ),
    "nobody labelled": (("export", "IT", "--out", "x.labels"), 4, "nobody labelled a cell of s.db"),
    "out is there": (("export", "lab.labels", "--out", "own.labels"), 2, "holds labels already"),
    "rows of others": (
        ("import", "rows.csv", "--cells", "lab.labels", *A, "--out", "x.labels"), 4,
        "1 of 1 rows of rows.csv are about cells that are not there",
    ),
    "no labels": (("list", "kinds.csv"), 7, "no file of labels"),
    "next of a session twice": (("next", "IT", "IT"), 2, "a session is named twice"),
    "next of too many": (("next", "IT", "--count", 0), 2, "out of range: got 0, allowed 1 to 1000"),
    "next of no session": (("next", "lab.labels"), 7, "is no session of edgeleuk"),
    "next of nothing": (("next", "empty.db"), 4, "no cell is left to be labelled: got 0 cells"),
    "no pictures": (("import", ".", *A, "--out", "x.labels"), 4, "no pictures in"),
    "who": (("import", ".", "--out", "x.labels"), 2, "nobody says who labelled the pictures"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_in_one_sentence(
    name: str, edgeleuk: Callable[..., Outcome], tmp_path: Path
) -> None:
    writer = create_session(tmp_path / "s.db", {"camera": "test://", "bundle_sha256": "ab" * 32})
    record(writer, 0)
    writer.close()
    create_session(tmp_path / "empty.db", {"camera": "test://"}).close()
    with Spool() as spool:
        file_of(tmp_path / "lab.labels", spool, [entry(spool, 1)])
        file_of(tmp_path / "own.labels", spool, [entry(spool, 2)])
    for table, text in (
        ("kinds.csv", "cell,label\n0,X\n0,X\n0,mono\n"), ("numbers.csv", "cell,label\n-1,mono\n"),
        ("columns.csv", "cell,what\n0,mono\n"), ("rows.csv", f"identity,label\n{'0' * 64},mono\n"),
    ):  # fmt: skip
        (tmp_path / table).write_text(text, encoding="utf-8")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    words, code, sentence = REFUSED[name]
    done = edgeleuk("labels", *("s.db" if word == "IT" else word for word in words))
    assert (done.code, done.out) == (code, "")
    assert sentence in done.err
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def python(program: str, *words: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", program, *map(str, words)])


MERGE = """
import sys
from pathlib import Path
from edgeleuk.labels import file, merging
write = file.LabelFile.png
def slow(self, identity):
    print("reading", flush=True)
    sys.stdin.readline() if slow.seen == 7 else None
    slow.seen += 1
    return write(self, identity)
slow.seen = 0
file.LabelFile.png = slow
merging.merge_labels([Path(word) for word in sys.argv[1:]], Path(sys.argv[1]))
"""


def test_a_merge_that_is_killed_leaves_what_was_there(tmp_path: Path) -> None:
    with Spool() as spool:
        one = file_of(tmp_path / "one.labels", spool, [entry(spool, seed) for seed in range(9)])
        other = file_of(tmp_path / "other.labels", spool, [entry(spool, seed) for seed in range(5, 20)])
    before = one.read_bytes()
    with subprocess.Popen(
        [sys.executable, "-c", MERGE, str(one), str(other)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        # In the middle of its pictures it waits for a line that never comes.
        for _ in range(8):
            assert process.stdout.readline() == "reading\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert one.read_bytes() == before
    assert len(read_labels([one])) == 9
    # The lock went with the process, and the next merge goes through.
    assert len(merge_labels([one, other], one)) == 20


LABEL = """
import sys
from datetime import datetime, timezone
from pathlib import Path
from edgeleuk.labels.contents import Statement
from edgeleuk.labels.sessions import Origin, label_cells
for cell in range(12):
    label = Statement(at=datetime.now(timezone.utc), by=sys.argv[2], label="band")
    label_cells(Path(sys.argv[1]), [(cell, label)], Origin())
"""


def test_two_people_at_once_lose_nothing(tmp_path: Path) -> None:
    night = tmp_path / "night.db"
    writer = create_session(night, {"camera": "test://"})
    for number in range(12):
        record(writer, number)
    people = [python(LABEL, night, by) for by in ("A", "B")]
    assert [process.wait() for process in people] == [0, 0]
    writer.close()
    cells = open_labels(tmp_path / "night.labels").cells
    words = [said for cell in cells for said in cell.statements]
    assert sorted(said.by for said in words) == ["A"] * 12 + ["B"] * 12
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
