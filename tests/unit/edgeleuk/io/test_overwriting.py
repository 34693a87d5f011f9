"""Outputs that the user names: one's own is replaced, a session never, what others made only by force."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from sessions import record, summary

from edgeleuk.errors import UsageError
from edgeleuk.io.atomic import overwrite, part_of, replace_file, require_apart
from edgeleuk.io.images import write_png
from edgeleuk.io.settings import RunSettings, load_settings
from edgeleuk.io.settings_file import save_settings
from edgeleuk.session import create_session
from edgeleuk.session.verify import verify_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from outcome import Call

PRECIOUS = b"precious"
PIXELS = np.full((4, 5, 3), 200, np.uint8)
# What each command writes for a session, as words behind its path.
WRITES = {
    "csv": ("export", "--csv", "--out"),
    "jsonl": ("export", "--jsonl", "--out"),
    "fhir": ("export", "--fhir", "--out"),
    "page": ("report", "--html"),
}


@pytest.fixture(autouse=True)
def _no_force() -> Iterator[None]:
    overwrite(force=False)
    yield
    overwrite(force=False)


@pytest.fixture
def session(tmp_path: Path) -> Path:
    path = tmp_path / "s.db"
    with create_session(path, {"camera": "test://", "bundle_sha256": "0" * 64, "bundle": "x"}) as writer:
        record(writer, 0)
        writer.finish(summary(path))
    return path


@pytest.mark.parametrize("kind", WRITES)
class TestExports:
    def test_ones_own_is_replaced(self, edgeleuk: Call, session: Path, tmp_path: Path, kind: str) -> None:
        command, *flags = WRITES[kind]
        out = tmp_path / "out"
        for _ in range(2):
            assert edgeleuk(command, session, *flags, out).code == 0
        assert sorted(tmp_path.iterdir()) == [out, session]

    def test_anothers_only_by_force(self, edgeleuk: Call, session: Path, tmp_path: Path, kind: str) -> None:
        command, *flags = WRITES[kind]
        out = tmp_path / "out"
        out.write_bytes(PRECIOUS)
        refused = edgeleuk(command, session, *flags, out)
        assert refused.code == 2
        assert f"{out} exists, and edgeleuk did not make it; choose another {flags[-1]}" in refused.err
        assert out.read_bytes() == PRECIOUS
        assert edgeleuk(command, session, *flags, out, "--force").code == 0
        assert out.read_bytes() != PRECIOUS

    def test_a_session_not_even_by_force(
        self, edgeleuk: Call, session: Path, tmp_path: Path, kind: str
    ) -> None:
        command, *flags = WRITES[kind]
        other = tmp_path / "other.db"
        create_session(other, {}).close()
        for name in ("other.db", "other.db-wal", "other.db-shm", "other.db-journal"):
            refused = edgeleuk(command, session, *flags, tmp_path / name, "--force")
            assert refused.code == 2
            assert "never overwritten" in refused.err
        assert verify_session(other).broken is None
        assert sorted(tmp_path.iterdir()) == [other, session]

    def test_a_link_is_not_followed(self, edgeleuk: Call, session: Path, tmp_path: Path, kind: str) -> None:
        command, *flags = WRITES[kind]
        victim, link = tmp_path / "victim", tmp_path / "link"
        victim.write_bytes(PRECIOUS)
        link.symlink_to(victim)
        assert "is a link" in edgeleuk(command, session, *flags, link).err
        # Told to, the link is replaced, and what it names is left alone.
        assert edgeleuk(command, session, *flags, link, "--force").code == 0
        assert victim.read_bytes() == PRECIOUS
        assert not link.is_symlink()

    def test_what_lies_beside_it_is_left_alone(
        self, edgeleuk: Call, session: Path, tmp_path: Path, kind: str
    ) -> None:
        command, *flags = WRITES[kind]
        victim = tmp_path / "victim"
        victim.write_bytes(PRECIOUS)
        (tmp_path / "out.part").symlink_to(victim)
        (tmp_path / f"out.{os.getpid()}.part").write_bytes(PRECIOUS)
        before = set(tmp_path.iterdir())
        assert edgeleuk(command, session, *flags, tmp_path / "out").code == 0
        assert victim.read_bytes() == PRECIOUS
        assert set(tmp_path.iterdir()) == before | {tmp_path / "out"}


class TestPictures:
    def test_ones_own_is_replaced_and_reads_as_it_was(self, tmp_path: Path) -> None:
        for value in (10, 20):
            write_png(tmp_path / "a.png", np.full((4, 5, 3), value, np.uint8))
        assert (cv2.imread(str(tmp_path / "a.png")) == 20).all()

    def test_anothers_only_by_force(self, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        cv2.imwrite(str(path), PIXELS)
        before = path.read_bytes()
        with pytest.raises(
            UsageError, match=r"edgeleuk did not make it; choose another --out, or pass --force"
        ):
            write_png(path, PIXELS)
        assert path.read_bytes() == before
        overwrite(force=True)
        write_png(path, PIXELS)
        overwrite(force=False)
        write_png(path, PIXELS)

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (("--session", "s.png"), "s.png would overwrite the session; choose another --picture"),
            (("--session", "b.db", "--picture", "b.db"), "b.db would overwrite the session"),
            (("--session", "b.db", "--picture", "b.db-wal"), "b.db-wal would overwrite the session"),
            (("--session", "b.db", "--picture", "s.db"), "is a session or another database"),
            (("--session", "b.db", "--picture", "s.db", "--force"), "is a session or another database"),
            (("--session", "b.db", "--picture", "photo.png"), "edgeleuk did not make it"),
            # The picture that is drawn by default.
            (("--session", "photo.db"), "edgeleuk did not make it; choose another --picture"),
        ],
    )
    def test_a_run_is_refused_before_it_begins(
        self,
        edgeleuk: Call,
        session: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        words: tuple[str, ...],
        says: str,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        cv2.imwrite("photo.png", PIXELS)
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        outcome = edgeleuk("run", "--camera", "virtual://", "--frames", 1, *words)
        assert outcome.code == 2
        assert says in outcome.err
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
        assert verify_session(session).broken is None


def test_settings_bear_a_mark_and_are_read_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    for _ in range(2):
        save_settings(path, RunSettings(px_per_um=12.5))
    assert load_settings(RunSettings, file=path, environ={}).px_per_um == 12.5
    path.write_bytes(b"# by hand\nthreads = 2\n")
    with pytest.raises(UsageError, match="edgeleuk did not make it"):
        save_settings(path, RunSettings())


def test_apart_is_told_by_the_folder_too(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="would overwrite the session"):
        require_apart(tmp_path / "link" / "a.db", tmp_path / "a.db", "--picture")
    require_apart(tmp_path / "a.png", tmp_path / "a.db", "--picture")


def test_a_network_of_someone_else_is_not_trained_over(edgeleuk: Call, tmp_path: Path) -> None:
    out = tmp_path / "net.keras"
    out.write_bytes(PRECIOUS)
    refused = edgeleuk("train", "--data", tmp_path, "--out", out)
    assert (refused.code, out.read_bytes()) == (2, PRECIOUS)
    assert "edgeleuk did not make it" in refused.err


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("bench", "--seconds", 1, "--plot"), "a.png"),
        (("bench", "--seconds", 1, "--out"), "a.json"),
        (("camera", "probe", "virtual://", "--out"), "a.png"),
        (("camera", "flat-field", "virtual://", "--out"), "a.png"),
        (("convert", "x.keras", "--int8", "--calibration", ".", "--out"), "a.edgeleuk"),
        (("contract", "x.keras", "--data", ".", "--out"), "a.toml"),
        (
            ("stage", "map", "--stage", "x", "--camera", "virtual://", "--out"),
            "a.toml",
        ),
    ],
    ids=lambda each: " ".join(map(str, each[:2])) if isinstance(each, tuple) else each,
)
def test_long_work_is_refused_before_it_begins(
    edgeleuk: Call, tmp_path: Path, words: tuple[object, ...], name: str
) -> None:
    out = tmp_path / name
    out.write_bytes(PRECIOUS)
    refused = edgeleuk(*words, out)
    assert (refused.code, out.read_bytes()) == (2, PRECIOUS)
    assert f"{out} exists, and edgeleuk did not make it" in refused.err


EXPORT = """
import sys, time
from pathlib import Path
from edgeleuk.cli.app import main
from edgeleuk.session import export
def slowly(rows, file):
    file.write("half")
    file.flush()
    print("half", flush=True)
    time.sleep(600)
export._write_csv = slowly
sys.argv = ["edgeleuk", "export", sys.argv[1], "--csv", "--out", sys.argv[2]]
main()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_nothing_half_written(session: Path, tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "out.csv"
    out.write_bytes(b"research_use_only")
    with subprocess.Popen(
        [sys.executable, "-c", EXPORT, str(session), str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        assert len(list(tmp_path.glob(".edgeleuk-*"))) == 1
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, "Traceback" in err) == (130, False)
    assert sorted(tmp_path.iterdir()) == [out, session]
    assert out.read_bytes() == b"research_use_only"


class TestTheFileBeside:
    def test_its_name_cannot_be_guessed_and_it_is_new(self, tmp_path: Path) -> None:
        names = set()
        for _ in range(3):
            with part_of(tmp_path / "a") as (part, file):
                file.write(b"x")
                names.add(part.name)
        assert len(names) == 3
        assert all(len(name) > 16 for name in names)

    def test_a_name_that_is_taken_is_never_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("edgeleuk.io.atomic.secrets.token_hex", lambda _: "0")
        victim = tmp_path / "victim"
        victim.write_bytes(PRECIOUS)
        (tmp_path / ".edgeleuk-0.part").symlink_to(victim)
        with pytest.raises(FileExistsError):
            replace_file(tmp_path / "a", b"new")
        assert victim.read_bytes() == PRECIOUS
        assert (tmp_path / ".edgeleuk-0.part").is_symlink()

    def test_permissions_stay(self, tmp_path: Path) -> None:
        path = tmp_path / "a"
        replace_file(path, b"1")
        mask = os.umask(0)
        os.umask(mask)
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
        path.chmod(0o640)
        replace_file(path, b"2")
        assert stat.S_IMODE(path.stat().st_mode) == 0o640

    @pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, ValueError])
    def test_nothing_is_left_of_what_was_cut_off(self, tmp_path: Path, error: type[BaseException]) -> None:
        (tmp_path / "a").write_bytes(b"before")

        def write() -> None:
            with part_of(tmp_path / "a") as (_, file):
                file.write(b"half")
                raise error

        with pytest.raises(error):
            write()
        assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]
