"""A real MJPEG camera in another process, over HTTP: the newest frame wins, and it may die in many ways."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from mjpeg_server import read_paint

from edgeleuk.capture import FrameRejectedError, SourceEvent, decoded, open_reader, open_source
from edgeleuk.capture.http_camera import open_http
from edgeleuk.capture.mjpeg import MjpegSource
from edgeleuk.capture.reconnecting import ReconnectingSource, ReconnectPolicy
from edgeleuk.capture.video import VideoSource
from edgeleuk.errors import CameraError
from edgeleuk.io.uris import public_uri
from edgeleuk.pipeline.engine import Engine
from edgeleuk.pipeline.run import PipelineOptions, run
from edgeleuk.session import create_session, read_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from edgeleuk.capture import EncodedFrame, FrameSource
    from edgeleuk.capture.base import SourceItem
    from edgeleuk.frames import Cell, CellCrop, Frame, RgbImage
    from edgeleuk.results import Prediction, SessionSummary
    from edgeleuk.vision.tracking import TrackedCell

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

    placed = None

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def classify(self, crops: Sequence[CellCrop]) -> list[Prediction]:
        raise AssertionError

    def consensus(self, views: Sequence[Prediction]) -> Prediction:
        return views[0]

    def update(self, pixels: RgbImage, cells: Sequence[Cell]) -> list[TrackedCell]:
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
        return run(source, engine, session, PipelineOptions(frames=frames), stop=stop or threading.Event())


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
        # The pictures show nothing that tells the scale.
        assert [row["kind"] for row in reader.rows("events")] == ["scale", "error"]


def test_a_camera_process_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with camera() as (address, process):
        seen: list[int] = []

        def kill_at_five(_: object) -> None:
            seen.append(1)
            if len(seen) == 5:
                process.kill()

        with pytest.raises(CameraError, match=r"died|closed the stream"):
            run_camera(path, f"{address}/stream", Nothing().engine(quality_check=kill_at_five))
    with read_session(path) as reader:
        assert reader.counts().processed >= 5


def open_pyav(address: str, timeout_s: float) -> FrameSource:
    return VideoSource(address, public_uri(address), file=False, read_timeout_s=timeout_s)


def open_pushed(address: str, timeout_s: float) -> FrameSource:
    return open_http(address, timeout_s=timeout_s)


@pytest.mark.parametrize("opened", [open_pyav, open_pushed])
class TestSilence:
    def test_a_camera_that_falls_silent(self, tmp_path: Path, opened: Callable[..., FrameSource]) -> None:
        with (
            camera(stall_after=5) as (address, _),
            opened(f"{address}/stream", 0.5) as source,
            create_session(tmp_path / "s.db", {}) as session,
        ):
            with pytest.raises(CameraError, match=r"died: got no answer within 0.5 s; "):
                run(source, Nothing().engine(), session, stop=threading.Event())
            assert session.summary is not None
            assert session.summary.processed > 0

    def test_it_can_be_stopped(self, tmp_path: Path, opened: Callable[..., FrameSource]) -> None:
        stop = threading.Event()
        with (
            camera(stall_after=5) as (address, _),
            opened(f"{address}/stream", 3) as source,
            create_session(tmp_path / "s.db", {}) as session,
        ):
            threading.Timer(0.5, stop.set).start()
            summary = run(source, Nothing().engine(), session, stop=stop)
        assert summary.ended == "stopped by the user"
        assert summary.captured == summary.processed + summary.dropped


@pytest.mark.parametrize("opened", [open_pyav, open_pushed])
@pytest.mark.parametrize("fault", [{"close_after": 4}, {"stall_after": 4}])
def test_a_lost_camera_comes_back_with_its_numbers_and_its_gap(
    tmp_path: Path, opened: Callable[..., FrameSource], fault: dict[str, int]
) -> None:
    path = tmp_path / "s.db"
    with camera(**fault) as (address, _):
        private = address.replace("//", "//user:secret@") + "/private"
        reopen = partial(opened, private, 0.5)
        first = reopen()
        with (
            ReconnectingSource(first, reopen, ReconnectPolicy(first_wait_s=0.05)) as source,
            create_session(path, {"camera": public_uri(private)}) as session,
        ):
            options = PipelineOptions(frames=7, px_per_um=13.0)
            summary = run(source, Nothing().engine(), session, options, stop=threading.Event())
    assert summary.processed == 7
    assert summary.captured == summary.processed + summary.dropped + summary.rejected
    with read_session(path) as reader:
        sequences = [int(str(row["sequence"])) for row in reader.rows("frames")]
        events = list(reader.rows("events"))
    assert sequences == sorted(set(sequences))
    assert [row["kind"] for row in events[:4]] == ["lost", "trying", "opened", "back"]
    times = [float(str(row["at"])) for row in events]
    assert times == sorted(times)
    assert times[3] - times[0] > 0.02
    assert b"secret" not in path.read_bytes()


def test_closing_ends_a_read_that_would_wait_for_an_hour() -> None:
    with camera(stall_after=3) as (address, _):
        source = open_pushed(f"{address}/stream", 3600)
        three, ended = threading.Event(), threading.Event()

        def read() -> None:
            for frame in source.frames():
                if frame.sequence == 2:  # type: ignore[union-attr]  # there are no events
                    three.set()
            ended.set()

        threading.Thread(target=read, daemon=True).start()
        assert three.wait(30)
        assert not ended.is_set()
        source.close()
        assert ended.wait(30)


@pytest.mark.parametrize(
    "ways",
    [
        {"no_length": 1},
        {"no_length": 1, "lf_only": 1},
        {"lf_only": 1},
        {"chunked": 1},
        {"chunked": 1, "no_length": 1},
        {"quoted": 1},
        {"thumbnail": 1, "no_length": 1},
        {"garbage": 1},
        {"garbage": 1, "no_length": 1},
        {"misnamed": 1},
        {"misnamed": 1, "no_length": 1, "garbage": 1, "thumbnail": 1},
    ],
    ids="+".join,
)
def test_every_picture_arrives_however_it_is_sent(ways: dict[str, int]) -> None:
    with camera(fps=10, close_after=6, **ways) as (address, _):
        frames: list[Frame] = []
        with (
            open_source(f"{address}/stream") as source,
            pytest.raises(CameraError, match="closed the stream"),
        ):
            frames.extend(decoded(item) for item in source.frames() if not isinstance(item, SourceEvent))
    assert [frame.sequence for frame in frames] == list(range(6))
    assert {frame.pixels.shape for frame in frames} == {(480, 640, 3)}
    counters = [read_paint(frame.pixels)[0] for frame in frames]
    assert counters == sorted(set(counters))


def test_without_length_truncated_pictures_are_rejected_alone() -> None:
    items: list[SourceItem] = []
    with (
        camera(truncate_every=3, no_length=1, close_after=8) as (address, _),
        open_source(f"{address}/stream") as source,
        pytest.raises(CameraError, match="closed the stream"),
    ):
        items.extend(source.frames())
    good, bad = [], []
    for item in items:
        assert not isinstance(item, SourceEvent)
        try:
            good.append(decoded(item).sequence)
        except FrameRejectedError as error:
            bad.append((item.sequence, error.reason))
    assert good == [0, 1, 3, 4, 6, 7]
    assert bad == [(2, "truncated JPEG"), (5, "truncated JPEG")]


@pytest.mark.parametrize("path", ["/moved", "/digest"])
def test_redirects_and_digests_are_followed_with_the_password(path: str) -> None:
    with camera() as (address, _), open_source(address.replace("//", "//user:secret@") + path) as source:
        assert isinstance(source, MjpegSource)
        assert isinstance(decoded(first(source)).pixels, np.ndarray)


def first(source: FrameSource) -> Frame | EncodedFrame:
    item = next(iter(source.frames()))
    assert not isinstance(item, SourceEvent)
    return item


def test_the_password_stays_at_its_host() -> None:
    heard: list[str | None] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def do_GET(self) -> None:
            heard.append(self.headers.get("Authorization"))
            self.send_response(302 if self.path == "/to" else 404)
            self.send_header("Location", f"http://localhost:{self.server.server_address[1]}/there")
            self.end_headers()

    with http_server(Elsewhere) as address, pytest.raises(CameraError, match="404"):
        open_source(address.replace("//", "//user:secret@") + "/to")
    assert heard == ["Basic dXNlcjpzZWNyZXQ=", None]


def test_no_proxy_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with camera() as (address, _):
        for opened in (open_pyav, open_pushed):
            with opened(f"{address}/stream", 5) as source:
                decoded(first(source))


def test_another_kind_of_video_goes_to_ffmpeg(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25, options={})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8))))
        container.mux(stream.encode())

    class Files(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(tmp_path))

        def log_message(self, *_: object) -> None: ...

    with http_server(Files) as address, open_source(f"{address}/a.mp4") as source:
        assert isinstance(source, VideoSource)
        assert decoded(first(source)).pixels.shape == (48, 64, 3)


@contextmanager
def http_server(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(5)


def test_tls_is_wanted_where_there_is_none() -> None:
    with camera() as (address, _), pytest.raises(CameraError, match="no TLS; try http://"):
        open_source(address.replace("http:", "https:") + "/stream")


def test_what_speaks_no_http() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"RTSP/1.0 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(CameraError, match="no HTTP"):
            open_source(f"http://127.0.0.1:{server.getsockname()[1]}/")


@pytest.mark.parametrize(
    "uri", ["http://user:se#cret@host/", "http:///x", "http://user:sec/ret@host/x", "https://h:x/"]
)
def test_an_address_without_a_host_is_refused_without_its_password(uri: str) -> None:
    with pytest.raises(CameraError, match="is no address of a camera; write it like") as caught:
        open_source(uri)
    assert "cret" not in str(caught.value)
    assert "ret@" not in str(caught.value)


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
        ("/page", "text/html"),
        ("/private", "401 Unauthorized; put the right user and password"),
        ("/digest", "401"),
        ("/forbidden", "403"),
        ("/loop", "302"),
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
