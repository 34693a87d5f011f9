"""A switch that ends at any moment, by a kill or by a power cut: one whole bundle, always."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from installing import NEW, OLD, OLDER, SIGNATURE, installed, sha256, version, whole
from power_cuts import DiskStates, laid_out, recorded

from edgeleuk.updates.place import Content, Note, Place

pytestmark = pytest.mark.skipif(
    shutil.which("strace") is None, reason="strace is not installed: apt install strace"
)
ROOT = Path(__file__).resolve().parents[4]

# What happens, in a program of its own: its imports are few, so that it starts quickly.
STEPS = {
    "first": "place.install(version(NEW), Content(NEW, SIGNATURE + NEW))",
    "update": "place.install(version(NEW), Content(NEW, SIGNATURE + NEW))",
    "update of three": "place.install(version(NEW), Content(NEW, SIGNATURE + NEW))",
    "adopted": "place.adopt(version(OLD, 'good'), Content(OLD, SIGNATURE + OLD));"
    " place.install(version(NEW), Content(NEW, SIGNATURE + NEW))",
    "back": "assert place.go_back() is not None",
}
PROGRAM = """
import sys
from pathlib import Path
from installing import *
place = Place(Path(sys.argv[1]))
with place.alone():
    {}
"""


def prepared(folder: Path, step: str) -> Path:
    """Make what is there before a step, and return the bundle's file."""
    folder.mkdir()
    file = folder / "lab.edgeleuk"
    if step == "adopted":
        file.write_bytes(OLD)
        (folder / "lab.edgeleuk.minisig").write_bytes(SIGNATURE + OLD)
    if step == "update of three":
        installed(file, OLDER, "good")
    if step in {"update", "update of three", "back"}:
        installed(file, OLD, "good")
    if step == "back":
        installed(file, NEW)
    return file


def program(file: Path, step: str) -> list[str]:
    return [sys.executable, "-B", "-c", PROGRAM.format(STEPS[step]), str(file)]


@pytest.fixture(autouse=True)
def _modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))


def left(file: Path, step: str) -> bytes | None:
    """Return the whole bundle that is there; None where there was none before."""
    if not file.exists():
        assert step == "first", "there is no bundle any more"
        return None
    return whole(file)


def mended(file: Path, step: str) -> None:
    """The next pull comes to the same end as if nothing had happened, and leaves nothing behind."""
    place = Place(file)
    before = left(file, step)
    with place.alone():
        note = place.note()
        if place.is_installed:
            current = note.of(place.current)
            assert current is not None, "what is used is not noted"
            assert step == "back" or current.sequence is not None
        elif before is not None:
            place.adopt(version(OLD, "good"), Content(OLD, SIGNATURE + OLD))
        place.install(version(NEW), Content(NEW, SIGNATURE + NEW))
    assert left(file, step) == NEW
    assert place.current == sha256(NEW)
    names = {path.name for path in place.folder.iterdir()} - {"current", "note.json"}
    assert names <= {sha256(data) for data in (OLDER, OLD, NEW)}
    if step != "first":
        with place.alone():
            assert place.go_back() is not None
        assert left(file, step) in {OLDER, OLD}


@pytest.mark.parametrize("step", STEPS)
def test_a_power_cut_at_any_moment_leaves_one_whole_bundle(tmp_path: Path, step: str) -> None:
    file = prepared(tmp_path / "disk", step)
    before = tmp_path / "before"
    shutil.copytree(file.parent, before, symlinks=True)
    calls = recorded(program(file, step), file.parent, tmp_path / "strace")
    # The calls name the folder that they were made in.
    shutil.rmtree(file.parent)
    shutil.copytree(before, file.parent, symlinks=True)
    assert len(calls) > 5
    found: set[bytes | None] = set()
    states = 0
    for where, state in DiskStates(file.parent, calls):
        disk = tmp_path / "after"
        laid_out(state, disk)
        try:
            found.add(left(disk / file.name, step))
            mended(disk / file.name, step)
        except Exception as error:
            raise AssertionError(f"{where}: {error}\n{sorted(state)}") from error
        shutil.rmtree(disk)
        states += 1
    assert {NEW, None if step == "first" else OLD} <= found
    assert states >= 6


KILLED_AT = (
    *("write", "fsync", "mkdir", "mkdirat", "unlink", "unlinkat", "rmdir"),
    *("rename", "renameat", "renameat2", "symlink", "symlinkat"),
)


@pytest.mark.parametrize("step", ["update of three", "back"])
def test_a_kill_before_any_system_call_leaves_one_whole_bundle(tmp_path: Path, step: str) -> None:
    before = prepared(tmp_path / "before", step).parent
    killed = 0
    # strace counts each sort of call for itself.
    for call in KILLED_AT:
        for number in itertools.count(1):
            disk = tmp_path / "disk"
            shutil.copytree(before, disk, symlinks=True)
            file = disk / "lab.edgeleuk"
            inject = f"inject={call}:signal=KILL:when={number}"
            strace = ["strace", "-f", "-qq", "-e", f"trace={call}", "-e", inject, "-o", os.devnull]
            done = subprocess.run([*strace, *program(file, step)], capture_output=True, check=False)
            if done.returncode:
                assert done.returncode in {-signal.SIGKILL, 128 + signal.SIGKILL}, done.stderr.decode()
                killed += 1
                left(file, step)
                mended(file, step)
            else:
                assert left(file, step) == (OLD if step == "back" else NEW)
            shutil.rmtree(disk)
            if not done.returncode:
                break
    assert killed >= 6


def test_the_simulated_disk_loses_what_is_not_synced(tmp_path: Path) -> None:
    """A program that forgets to sync is caught, so that those above would be."""
    folder = tmp_path / "disk"
    folder.mkdir()
    (folder / "file").write_bytes(b"old")
    before = tmp_path / "before"
    shutil.copytree(folder, before)
    code = "import os, sys; p = sys.argv[1]; f = open(p + '/part', 'wb'); f.write(b'new!'); f.flush()"
    end = "; f.close(); os.rename(p + '/part', p + '/file')"
    sync = "; os.fsync(f.fileno())"
    seen = {}
    for name, text in (("careless", code + end), ("careful", code + sync + end)):
        calls = recorded([sys.executable, "-B", "-c", text, str(folder)], folder, tmp_path / "strace")
        shutil.rmtree(folder)
        shutil.copytree(before, folder)
        seen[name] = {state["file"] for _, state in DiskStates(folder, calls)}
    assert seen == {"careless": {b"old", b"", b"ne", b"new!"}, "careful": {b"old", b"new!"}}


def test_a_note_keeps_the_highest_sequence_whatever_is_used() -> None:
    note = Note().with_version(version(OLDER)).with_version(version(NEW))
    assert note.highest == len(OLDER)
    assert note.with_version(version(OLD), last=True).versions[-1].sha256 == sha256(OLD)
    assert [one.sha256 for one in note.with_version(version(OLDER, "good")).versions] == [
        sha256(OLDER),
        sha256(NEW),
    ]
