"""``classify DIR``: the same results whatever the number of jobs, and after any kill."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import resource
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from archives import UNREADABLE, begin_classify, classify, make_archive, wait_for_lines

from edgeleuk.batch.archive import find_pictures
from edgeleuk.batch.images import ImageCell, ImageResult
from edgeleuk.batch.process_pool import ProcessWorkers
from edgeleuk.batch.results_file import open_ledger, sealed
from edgeleuk.batch.worker import Picture, Standard, line_of
from edgeleuk.bundle.reading import DEFAULT_PATH
from edgeleuk.cli.app import main
from edgeleuk.errors import HardwareError, IntegrityError, SessionError, UsageError
from edgeleuk.results import Decision
from edgeleuk.version import RESEARCH_USE, __version__

if TYPE_CHECKING:
    import subprocess

CELLS = 60
STANDARD = Standard("0.1.0", "ab" * 32, "litert", "int8", None, "band")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_archive(tmp_path_factory.mktemp("archive"), CELLS)


@pytest.fixture(scope="module")
def alone(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The results of one process."""
    out = tmp_path_factory.mktemp("out") / "alone.jsonl"
    done = classify(archive, "--jobs", 1, "--out", out)
    assert done.returncode == 0, done.stderr
    return out.read_bytes()


def children(process: subprocess.Popen[str]) -> list[int]:
    """Worker processes, without multiprocessing's own."""
    words = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in words if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def is_gone(pid: int) -> bool:
    until = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
        if "State:\tZ" in Path(f"/proc/{pid}/status").read_text():
            return True
        time.sleep(0.02)
    return not Path(f"/proc/{pid}").exists()


def test_two_jobs_give_the_file_of_one(archive: Path, alone: bytes, tmp_path: Path) -> None:
    out = tmp_path / "two.jsonl"
    done = classify(archive, "--jobs", 2, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    assert out.read_bytes() == alone
    facts = json.loads(done.stdout)
    assert facts["pictures"] == {"found": CELLS + 5, "classified": CELLS + 5, "resumed": 0, "unreadable": 4}
    assert {Path(entry["file"]).name for entry in facts["unreadable"]} == UNREADABLE
    assert facts["research_use"] == RESEARCH_USE
    lines = [json.loads(line) for line in alone.splitlines()]
    decisions = [cell["decision"] for line in lines for cell in line["cells"]]
    for name in ("blast", "normal", "uncertain"):
        assert facts["cells"][name] == decisions.count(name)
    assert sum(facts["cells"]["uncertain_by_reason"].values()) == facts["cells"]["uncertain"]
    assert facts["blast_share"]["n"] == decisions.count("blast") + decisions.count("normal") > 0
    assert [line["file"] for line in lines] == [picture.name for picture in find_pictures([archive])]


def test_a_second_run_does_nothing_again(archive: Path, alone: bytes, tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    out.write_bytes(alone)
    done = classify(archive, "--out", out)
    assert done.returncode == 0, done.stderr
    assert out.read_bytes() == alone
    # Those of which no hash is known are tried again.
    assert "1 classified now, 64 stood in the results, 4 unreadable" in done.stdout
    assert all(name in done.stdout for name in UNREADABLE)
    assert RESEARCH_USE in done.stdout


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGHUP])
def test_an_end_in_the_middle_costs_nothing(
    archive: Path, alone: bytes, tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "r.jsonl"
    with begin_classify(archive, "--jobs", 2, "--out", out) as process:
        wait_for_lines(out, process)
        workers = children(process)
        # Ctrl-C goes to all processes of a terminal, and so does its end.
        process.send_signal(number) if number == signal.SIGKILL else os.killpg(process.pid, number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == (-9 if number == signal.SIGKILL else 130), err
    assert "Traceback" not in err
    kept = out.read_bytes()
    if number != signal.SIGKILL and kept != alone:
        # A fast machine may have judged all of them by then.
        assert "the same command goes on from there" in err
    assert workers
    assert all(map(is_gone, workers))
    assert alone.startswith(kept)
    # As if the power had failed in the middle of a line.
    out.write_bytes(alone[: len(kept) + 100])
    assert classify(archive, "--jobs", 2, "--out", out).returncode == 0
    assert out.read_bytes() == alone


def test_a_worker_that_is_killed_costs_nothing(archive: Path, alone: bytes, tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    with begin_classify(archive, "--jobs", 2, "--out", out) as process:
        wait_for_lines(out, process)
        os.kill(children(process)[-1], signal.SIGKILL)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.read_bytes() == alone


def test_a_picture_that_was_changed_is_judged_again(archive: Path, alone: bytes, tmp_path: Path) -> None:
    copy = tmp_path / "archive"
    shutil.copytree(archive / "slide 1", copy)
    out = tmp_path / "r.jsonl"
    assert classify(copy, "--out", out).returncode == 0
    first, second = copy / "cell1.png", copy / "cell3.png"
    first.write_bytes(second.read_bytes())
    done = classify(copy, "--out", out, "--json")
    facts = json.loads(done.stdout)
    assert facts["pictures"]["classified"] == 1
    *_, last = map(json.loads, out.read_text().splitlines())
    assert last["file"] == str(first)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--abstain", "off"), 2, "holds results of another kind: got abstain band, allowed off; choose"),
        (("--px-per-um", "12"), 2, "another kind: got px_per_um None, allowed 12.0"),
        (("--precision", "float32"), 2, "another kind: got precision int8, allowed float32"),
        (("--jobs", "0"), 2, "the number of jobs is out of range: got 0"),
        (("--jobs", "2", "--scheduler", "tcp://127.0.0.1:1"), 2, "a cluster has its own workers"),
        (("--bundle", "none.edgeleuk"), 2, "there is no such bundle"),
        (("nowhere",), 2, "there is no such file or folder: got nowhere"),
    ],
)
def test_refusals(
    archive: Path,
    alone: bytes,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    code: int,
    says: str,
) -> None:
    out = tmp_path / "r.jsonl"
    out.write_bytes(alone)
    monkeypatch.setattr(sys, "argv", ["edgeleuk", "classify", str(archive), "--out", str(out), *words])
    with pytest.raises(SystemExit) as end:
        main()
    printed, err = capfd.readouterr()
    assert (end.value.code, printed) == (code, "")
    assert says in err
    assert out.read_bytes() == alone


def test_only_where_no_picture_is_readable_does_it_fail(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("x")
    none = classify(tmp_path, "--json")
    assert none.returncode == 4
    assert json.loads(none.stdout)["pictures"]["unreadable"] == 1
    assert "none of the 1 pictures could be read" in none.stderr
    (tmp_path / "empty").mkdir()
    assert classify(tmp_path / "empty").returncode == 4
    # Without a file the cells are shown; a name need not be UTF-8.
    shutil.copyfile(archive / "slide 0" / "cell0.png", os.fsencode(tmp_path) + b"/\xff.png")
    done = classify(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "P(blast) 0." in done.stdout
    assert json.loads(classify(tmp_path, "--json").stdout)["files"][0]["kind"] == "cell"


class Poison(Picture):
    """A picture that no process survives: it ends whoever receives it."""

    def __reduce__(self) -> tuple[object, ...]:
        return os._exit, (9,)


def test_a_picture_that_kills_its_worker_is_named(archive: Path) -> None:
    bundle = DEFAULT_PATH.read_bytes()
    standard = STANDARD._replace(bundle_sha256=hashlib.sha256(bundle).hexdigest(), edgeleuk=__version__)
    good = [Picture(str(archive / "slide 0" / f"cell{number}.png")) for number in (0, 2)]
    batch = [good[0], Poison(str(archive / "field.jpg")), good[1]]
    with ProcessWorkers(1, bundle, standard) as workers:
        lines = workers.finish(batch, workers.begin(batch))
        # Who comes after it finds a new process.
        after = workers.finish(good, workers.begin(good))
    found = [json.loads(line) for line in lines]
    assert [one["error"] for one in found] == [None, "the process that read it died", None]
    assert found[1]["sha256"] == hashlib.sha256((archive / "field.jpg").read_bytes()).hexdigest()
    assert after == [lines[0], lines[2]]


def test_workers_that_die_at_their_start_are_replaced(archive: Path, tmp_path: Path) -> None:
    """Whoever is killed before he has read what he is started with, as when memory is short."""
    out = tmp_path / "r.jsonl"
    with begin_classify(archive / "slide 1", "--jobs", 2, "--out", out) as process:
        killed = 0
        while killed < 3 and process.poll() is None:
            # A process may be gone before its command line is read.
            with contextlib.suppress(OSError):
                for child in children(process)[-1:]:
                    os.kill(child, signal.SIGKILL)
                    killed += 1
                    time.sleep(0.3)
            time.sleep(0.01)
        _, err = process.communicate(timeout=60)
    assert killed == 3
    assert process.returncode == 0, err
    assert [json.loads(line)["error"] for line in out.read_text().splitlines()].count(None) > 20


class Deadly:
    """What no process survives that is started with it."""

    def __reduce__(self) -> tuple[object, ...]:
        return os._exit, (9,)


def test_workers_that_always_die_at_their_start_end_in_a_sentence(archive: Path) -> None:
    batch = [Picture(str(archive / "field.jpg"))]
    with ProcessWorkers(1, b"", STANDARD) as workers:
        workers._bundle.place = Deadly()  # type: ignore[assignment]
        with pytest.raises(HardwareError, match="die as they start: got 3 times one after the other; pass"):
            workers._one_by_one(batch)


class TestLedger:
    def line(self, name: str, data: bytes = b"x") -> str:
        return line_of(Picture(name), STANDARD, None, data, None)

    def test_a_file_is_written_by_one_run(self, tmp_path: Path) -> None:
        with open_ledger(tmp_path / "r", STANDARD), pytest.raises(UsageError, match="another run is writing"):
            open_ledger(tmp_path / "r", STANDARD)

    @pytest.mark.parametrize("content", ["hello", "{}\n", '{"file": 3}\n', "[1]\n", "a,b\n1,2\n"])
    def test_other_files_are_left_alone(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "r").write_text(content)
        with pytest.raises(UsageError, match=r"line 1 of .* is no result"):
            open_ledger(tmp_path / "r", STANDARD)
        assert (tmp_path / "r").read_text() == content

    def test_every_torn_end_is_cut_off(self, tmp_path: Path) -> None:
        whole = sealed(self.line("a")) + "\n"
        for length in range(0, len(whole), 7):
            (tmp_path / "r").write_text(whole + sealed(self.line("b"))[:length])
            with open_ledger(tmp_path / "r", STANDARD) as ledger:
                assert list(ledger.done) == ["a"]
            assert (tmp_path / "r").read_text() == whole

    @pytest.mark.parametrize(
        ("place", "by", "says"),
        [
            ('"decision": "blast"', '"decision": "normal"', "is not as it was written"),
            ("0.75", "0.25", "is not as it was written"),
            ('"error": null', '"error": "x"', "is not as it was written"),
            ('"cells": [', '"cells": 5, "were": [', "is not as it was written"),
            ("a.png", "b.png", "is not as it was written"),
            (', "line_sha256": "', ', "line_sha256": "0', "does not carry its digest"),
            ('"}\n', '", "more": 1}\n', "does not carry its digest"),
        ],
    )
    def test_a_line_that_was_changed(self, tmp_path: Path, place: str, by: str, says: str) -> None:
        (tmp_path / "r").write_text(sealed(self.judged()) + "\n")
        with open_ledger(tmp_path / "r", STANDARD) as ledger:
            assert ledger.done["a.png"].entry.cells == (("blast", 0.75, None, None),)
        written = (tmp_path / "r").read_text()
        assert written.count(place) == 1
        changed = written.replace(place, by)
        (tmp_path / "r").write_text(sealed(self.line("first")) + "\n" + changed)
        with pytest.raises(IntegrityError, match=rf"line 2 of .* {says}"):
            open_ledger(tmp_path / "r", STANDARD)
        assert (tmp_path / "r").read_text().endswith(changed)

    def test_a_line_of_an_earlier_version(self, tmp_path: Path) -> None:
        (tmp_path / "r").write_text(self.line("a") + "\n")
        with pytest.raises(
            IntegrityError, match="does not carry its digest: got a line that was changed, or"
        ):
            open_ledger(tmp_path / "r", STANDARD)

    @pytest.mark.parametrize(
        "wrong",
        [
            '"cells": 5', '"cells": [5]', '"cells": [{"decision": "ill", "probability": 0.5}]',
            '"cells": [{"decision": "blast", "probability": 2.0}]', '"cells": [{"decision": "blast"}]',
            '"cells": ' + "[" * 5000 + "]" * 5000, '"cells": [NaN]',
        ],
    )  # fmt: skip
    def test_a_line_with_its_digest_that_says_what_cannot_be(self, tmp_path: Path, wrong: str) -> None:
        (tmp_path / "r").write_text(sealed(self.line("a").replace('"cells": []', wrong)) + "\n")
        with pytest.raises(UsageError, match=r"line 1 of .* is no result"):
            open_ledger(tmp_path / "r", STANDARD)

    def judged(self) -> str:
        cell = ImageCell(decision=Decision.BLAST, probability=0.75, reason=None)
        found = ImageResult(file="a.png", kind="cell", rejected=None, notes=(), cells=(cell,))
        return line_of(Picture("a.png"), STANDARD, found, b"x", None)

    @pytest.mark.parametrize("out", ["/sys/r.jsonl", "nowhere/r.jsonl", "."])
    def test_a_place_that_cannot_be_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(UsageError, match="cannot be written"):
            open_ledger(Path(out), STANDARD)

    def test_a_full_disk_leaves_whole_lines(self, tmp_path: Path) -> None:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        with open_ledger(tmp_path / "r", STANDARD) as ledger:
            ledger.append([self.line("a")])
            size = (tmp_path / "r").stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, limits[1]))
            try:
                with pytest.raises(SessionError, match=r"takes no more results.* run the same command again"):
                    ledger.append([self.line("b")])
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        with open_ledger(tmp_path / "r", STANDARD) as ledger:
            assert list(ledger.done) == ["a"]
