"""A real MJPEG camera in another process, over HTTP: the newest frame wins, and it may die in many ways."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mjpeg_server import read_paint

from edgeleuk.capture import decoded, open_reader, open_source
from edgeleuk.capture.video import VideoSource
from edgeleuk.errors import CameraError
from edgeleuk.pipeline import Engine, run
from edgeleuk.record import create_session, read_session

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgeleuk.frames import Cell, CellCrop, RgbImage
    from edgeleuk.results import Prediction, SessionSummary
    from edgeleuk.vision.tracking import Sighting

SERVER = Path(__file__).parents[1] / "mjpeg_server.py"


@contextmanager
def camera(**options: int) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run a camera in a process of its own; yields its address and the process."""
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    with subprocess.Popen(
        [sys.executable, str(SERVER), *flags], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()


class Nothing:
    """Sees no cells, and takes its time."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def classify(self, crops: Sequence[CellCrop]) -> list[Prediction]:
        raise AssertionError

    def update(self, pixels: RgbImage, cells: Sequence[Cell]) -> list[Sighting]:
        return []

    def segment(self, pixels: RgbImage, *, px_per_um: float | None = None) -> list[Cell]:
        time.sleep(self.seconds)
        return []

    def engine(self, **changes: Any) -> Engine:
        return replace(Engine(self, self, segment=self.segment, estimate_scale=lambda _: None), **changes)


def test_the_newest_frame_wins_and_the_others_are_counted() -> None:
    stop = threading.Event()
    with camera() as (address, _), open_source(f"{address}/stream") as source:
        assert source.live
        taken: list[tuple[int, int]] = []
        with open_reader(source) as reader:
            for _ in range(12):
                before = reader.captured
                item = reader.take(stop)
                assert item is not None
                # Newer than all that had arrived when it was asked for.
                assert item.sequence >= before - 1
                taken.append((item.sequence, read_paint(decoded(item).pixels)[0]))
                time.sleep(0.1)
    sequences = [sequence for sequence, _ in taken]
    assert sequences == sorted(set(sequences))
    assert reader.dropped > 0
    assert reader.captured == len(taken) + reader.dropped
    # Sequence counts what the camera sent; a camera that is itself late may have skipped more, never less.
    ahead = [counter - sequence for sequence, counter in taken]
    assert ahead == sorted(ahead)


def run_camera(
    path: Path,
    address: str,
    engine: Engine,
    *,
    frames: int | None = None,
    stop: threading.Event | None = None,
) -> SessionSummary:
    with open_source(address) as source, create_session(path, {"camera": source.uri}) as session:
        return run(source, engine, session, frames=frames, stop=stop or threading.Event())


def test_a_run_drops_frames_and_says_so(tmp_path: Path) -> None:
    with camera() as (address, _):
        summary = run_camera(tmp_path / "s.db", f"{address}/stream", Nothing(0.1).engine(), frames=8)
    assert summary.processed == 8
    assert summary.dropped > 0
    assert summary.captured == summary.processed + summary.dropped
    with read_session(tmp_path / "s.db") as reader:
        sequences = [int(str(row["sequence"])) for row in reader.rows("frames")]
    assert sequences == sorted(sequences)
    assert sequences[-1] > len(sequences) - 1


def test_truncated_pictures_are_rejected_and_the_run_goes_on(tmp_path: Path) -> None:
    with camera(truncate_every=3) as (address, _):
        summary = run_camera(tmp_path / "s.db", f"{address}/stream", Nothing().engine(), frames=10)
    assert summary.processed == 10
    assert summary.rejected_by_reason["truncated JPEG"] == summary.rejected > 0
    assert summary.captured == summary.processed + summary.dropped + summary.rejected


@pytest.mark.parametrize(
    "fault", [{"close_after": 12}, {"die_inside_after": 12}, {"close_after": 12, "truncate_every": 4}]
)
def test_a_camera_that_dies_leaves_a_readable_session(tmp_path: Path, fault: dict[str, int]) -> None:
    path = tmp_path / "s.db"
    with camera(**fault) as (address, _), pytest.raises(CameraError) as caught:
        run_camera(path, f"{address}/stream", Nothing().engine())
    assert caught.value.exit_code == 6
    with read_session(path) as reader:
        assert reader.summary is not None
        assert isinstance(frames := reader.summary["frames"], dict)
        assert frames["captured"] == frames["processed"] + frames["dropped"] + frames["rejected"] >= 12
        assert reader.counts().processed == frames["processed"]
        assert [row["kind"] for row in reader.rows("events")] == ["error"]


def test_a_camera_process_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with camera() as (address, process):
        seen: list[int] = []

        def kill_at_five(_: object) -> None:
            seen.append(1)
            if len(seen) == 5:
                process.kill()

        with pytest.raises(CameraError, match=r"died|closed the stream"):
            run_camera(path, f"{address}/stream", Nothing().engine(gate=kill_at_five))
    with read_session(path) as reader:
        assert reader.counts().processed >= 5


def test_a_camera_that_falls_silent(tmp_path: Path) -> None:
    with camera(stall_after=5) as (address, _):
        source = VideoSource(f"{address}/stream", address, file=False, read_timeout_s=0.5)
        with source, create_session(tmp_path / "s.db", {}) as session:
            with pytest.raises(CameraError, match=r"died: got no answer within 0.5 s"):
                run(source, Nothing().engine(), session, stop=threading.Event())
            assert session.summary is not None
            assert session.summary.processed > 0


def test_a_silent_camera_can_be_stopped(tmp_path: Path) -> None:
    stop = threading.Event()
    with camera(stall_after=5) as (address, _):
        source = VideoSource(f"{address}/stream", address, file=False, read_timeout_s=3)
        with source, create_session(tmp_path / "s.db", {}) as session:
            threading.Timer(0.5, stop.set).start()
            summary = run(source, Nothing().engine(), session, stop=stop)
    assert summary.ended == "stopped by the user"
    assert summary.captured == summary.processed + summary.dropped


def test_a_live_run_is_stopped_and_closed(tmp_path: Path) -> None:
    stop = threading.Event()
    with camera() as (address, _):
        threading.Timer(1.0, stop.set).start()
        summary = run_camera(tmp_path / "s.db", f"{address}/stream", Nothing(0.05).engine(), stop=stop)
    assert summary.ended == "stopped by the user"
    assert summary.captured == summary.processed + summary.dropped
    assert not [thread for thread in threading.enumerate() if thread.name == "newest-frame"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/nowhere", "404"),
        ("/page", "Invalid data"),
        ("/private", "401"),
    ],
)
def test_what_is_no_stream_is_refused_with_its_reason(path: str, reason: str) -> None:
    with camera() as (address, _), pytest.raises(CameraError, match=reason) as caught:
        open_source(address + path)
    assert "; " in str(caught.value)


def test_a_camera_that_is_switched_off() -> None:
    with camera() as (address, process):
        process.kill()
        process.wait()
        with pytest.raises(CameraError, match="Connection refused"):
            open_source(f"{address}/stream")


def test_the_password_opens_the_camera_and_is_seen_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with camera(close_after=6) as (address, process):
        private = address.replace("//", "//user:secret@") + "/private"
        with pytest.raises(CameraError) as caught:
            run_camera(path, private, Nothing().engine())
        process.kill()
        process.wait()
        with pytest.raises(CameraError) as refused:
            open_source(private)
    assert b"secret" not in path.read_bytes()
    assert "user:***@" in str(caught.value)
    assert "secret" not in str(caught.value) + str(refused.value)
