"""Sources by their URI, folders, video files, and the law of the newest frame."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mjpeg_server import Faults, paint, part, read_paint, serve, smear, with_thumbnail

from edgeleuk.capture import (
    SOURCES,
    FrameRejectedError,
    SourceEvent,
    decoded,
    open_reader,
    open_source,
    public_uri,
)
from edgeleuk.capture.base import JpegFrame
from edgeleuk.capture.mjpeg import BrokenStreamError, MultipartParser
from edgeleuk.capture.newest import InOrderReader, NewestFrameReader
from edgeleuk.errors import CameraError, DataRefusedError, UsageError
from edgeleuk.frames import Frame

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgeleuk.capture import FrameSource

GO = threading.Event()


def write_picture(path: Path, number: int = 0, width: int = 480) -> None:
    pixels = smear(width, 320)
    paint(pixels, number, 0)
    assert cv2.imwrite(str(path), pixels[..., ::-1])


def write_video(path: Path, codec: str, frames: int, options: dict[str, str] | None = None) -> None:
    import av

    pixels = smear(640, 480)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height = 640, 480
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.bit_rate = 8_000_000
        for number in range(frames):
            paint(pixels, number, 7 * number)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def all_frames(source: FrameSource) -> list[Frame]:
    return [decoded(item) for item in source.frames() if not isinstance(item, SourceEvent)]


class TestUris:
    @pytest.mark.parametrize("uri", ["ftp://host/x", "v4l3:///dev/video0", "HTTPX://x"])
    def test_an_unknown_scheme_lists_the_known_ones(self, uri: str) -> None:
        with pytest.raises(UsageError) as caught:
            open_source(uri)
        assert all(f"{scheme}://" in str(caught.value) for scheme in SOURCES)

    @pytest.mark.parametrize("uri", ["", "no/such/path", "0"])
    def test_what_is_neither_uri_nor_path_is_refused(self, uri: str) -> None:
        with pytest.raises(UsageError, match="neither a camera URI nor an existing path"):
            open_source(uri)

    @pytest.mark.parametrize(
        ("uri", "public"),
        [
            ("http://host/stream", "http://host/stream"),
            ("http://user:secret@host:80/stream", "http://user:***@host:80/stream"),
            ("rtsp://user:se@cret@host/1", "rtsp://user:***@host/1"),
            ("http://user:@host/", "http://user:***@host/"),
            ("http://host/s?user=a&pwd=secret&x=1", "http://host/s?user=a&pwd=***&x=1"),
            ("http://host/s?access_token=secret", "http://host/s?access_token=***"),
            ("dir://a:b@c/d", "dir://a:***@c/d"),
        ],
    )
    def test_a_password_is_not_shown(self, uri: str, public: str) -> None:
        assert public_uri(uri) == public

    def test_a_plain_path_finds_its_source(self, tmp_path: Path) -> None:
        write_picture(tmp_path / "one.png", 5)
        write_video(tmp_path / "film.avi", "mjpeg", 3)
        for uri, frames in ((tmp_path, 1), (tmp_path / "one.png", 1), (tmp_path / "film.avi", 3)):
            with open_source(str(uri)) as source:
                assert not source.live
                assert len(all_frames(source)) == frames

    def test_the_virtual_slide_is_a_source(self) -> None:
        with open_source("virtual://?frames=2&width=128&height=96") as source:
            assert [frame.sequence for frame in all_frames(source)] == [0, 1]


class TestFolder:
    def test_pictures_come_in_natural_order(self, tmp_path: Path) -> None:
        for number in (10, 9, 2, 1, 100):
            write_picture(tmp_path / f"field{number}.jpg", number)
        (tmp_path / "notes.txt").write_text("no picture")
        with open_source(f"dir://{tmp_path}") as source:
            frames = all_frames(source)
        assert [read_paint(frame.pixels)[0] for frame in frames] == [1, 2, 9, 10, 100]
        assert [frame.sequence for frame in frames] == [0, 1, 2, 3, 4]
        assert frames[0].source.endswith("field1.jpg")

    @pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp", "tif"])
    def test_colours_are_rgb(self, tmp_path: Path, suffix: str) -> None:
        pixels = np.zeros((40, 60, 3), np.uint8)
        pixels[...] = (200, 60, 120)
        cv2.imwrite(str(tmp_path / f"a.{suffix}"), pixels[..., ::-1])
        with open_source(f"dir://{tmp_path}") as source:
            mean = all_frames(source)[0].pixels.mean(axis=(0, 1))
        assert np.abs(mean - (200, 60, 120)).max() < 4

    def test_masks_are_skipped_with_an_event(self, tmp_path: Path) -> None:
        write_picture(tmp_path / "a.jpg")
        mask = np.zeros((32, 32), np.uint8)
        mask[8:16] = 255
        cv2.imwrite(str(tmp_path / "a_nuclei.png"), mask)
        cv2.imwrite(str(tmp_path / "b_nuclei.png"), np.dstack([mask] * 3))
        with open_source(f"dir://{tmp_path}") as source:
            items = list(source.frames())
        assert [item.kind for item in items if isinstance(item, SourceEvent)] == ["skipped", "skipped"]
        assert sum(isinstance(item, Frame) for item in items) == 1

    def test_an_unreadable_picture_is_rejected_alone(self, tmp_path: Path) -> None:
        write_picture(tmp_path / "1.jpg", 1)
        write_picture(tmp_path / "2.jpg", 2)
        whole = (tmp_path / "2.jpg").read_bytes()
        (tmp_path / "2.jpg").write_bytes(whole[: len(whole) // 2])
        (tmp_path / "3.png").write_bytes(b"not a picture at all")
        (tmp_path / "4.png").write_bytes(b"")
        write_picture(tmp_path / "5.jpg", 5)
        good, bad = [], []
        with open_source(f"dir://{tmp_path}") as source:
            for item in source.frames():
                if isinstance(item, SourceEvent):
                    continue
                try:
                    good.append(read_paint(decoded(item).pixels)[0])
                except FrameRejectedError as error:
                    bad.append(str(error))
        assert good == [1, 5]
        assert [name in text for name, text in zip(("2.jpg", "3.png", "4.png"), bad, strict=True)] == [
            True
        ] * 3

    def test_a_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(CameraError, match="no such folder"):
            open_source(f"dir://{tmp_path}/nowhere")

    def test_an_empty_folder(self, tmp_path: Path) -> None:
        with pytest.raises(DataRefusedError, match="no pictures"):
            open_source(f"dir://{tmp_path}")

    def test_a_folder_of_masks(self, tmp_path: Path) -> None:
        cv2.imwrite(str(tmp_path / "mask.png"), np.zeros((32, 32), np.uint8))
        with open_source(f"dir://{tmp_path}") as source, pytest.raises(DataRefusedError, match="has colour"):
            all_frames(source)

    @pytest.mark.parametrize(("name", "written"), [("100% of it", "100% of it"), ("a b", "a%20b")])
    def test_names_with_spaces_percents_and_escapes(self, tmp_path: Path, name: str, written: str) -> None:
        (tmp_path / name).mkdir()
        write_picture(tmp_path / name / "a.png")
        with open_source(f"dir://{tmp_path}/{written}") as source:
            assert len(all_frames(source)) == 1

    def test_the_blood_fields_leave_their_masks_out(self, edgeleuk_data: Path) -> None:
        frames = events = 0
        with open_source(f"dir://{edgeleuk_data}/fields_bccd") as source:
            for item in source.frames():
                frames += isinstance(item, Frame)
                events += isinstance(item, SourceEvent)
        assert (frames, events) == (182, 182)


class TestVideo:
    @pytest.mark.parametrize(
        ("name", "codec"), [("a.avi", "mjpeg"), ("a.mp4", "mpeg4"), ("a.mkv", "libx264")]
    )
    def test_every_frame_of_a_file_comes_in_order(self, tmp_path: Path, name: str, codec: str) -> None:
        write_video(tmp_path / name, codec, 30)
        with open_source(f"file://{tmp_path / name}") as source:
            frames = all_frames(source)
        assert [read_paint(frame.pixels) for frame in frames] == [(n, 7 * n) for n in range(30)]
        assert [frame.sequence for frame in frames] == list(range(30))
        assert np.abs(frames[0].pixels.mean(axis=(0, 1)) - smear(640, 480).mean(axis=(0, 1))).max() < 15

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(CameraError, match="no such video file"):
            open_source(f"file://{tmp_path}/nowhere.mp4")

    def test_a_file_that_is_no_video(self, tmp_path: Path) -> None:
        (tmp_path / "a.mp4").write_text("hello " * 1000)
        with pytest.raises(CameraError, match="cannot be opened"):
            open_source(f"file://{tmp_path}/a.mp4")

    def test_a_file_with_sound_only(self, tmp_path: Path) -> None:
        import wave

        with wave.open(str(tmp_path / "a.wav"), "wb") as sound:
            sound.setparams((1, 2, 8000, 0, "NONE", ""))
            sound.writeframes(bytes(16000))
        with pytest.raises(CameraError, match="holds no video"):
            open_source(f"file://{tmp_path}/a.wav")

    def test_a_file_cut_in_the_middle_gives_what_it_holds(self, tmp_path: Path) -> None:
        write_video(tmp_path / "a.avi", "mjpeg", 20)
        whole = (tmp_path / "a.avi").read_bytes()
        (tmp_path / "a.avi").write_bytes(whole[: len(whole) // 2])
        good = bad = 0
        events = []
        with open_source(f"file://{tmp_path}/a.avi") as source:
            for item in source.frames():
                if isinstance(item, SourceEvent):
                    events.append(item.kind)
                    continue
                try:
                    decoded(item)
                    good += 1
                except FrameRejectedError:
                    bad += 1
        assert events == ["cut"]
        assert good >= 5
        assert bad <= 1

    def test_closing_while_the_reader_waits_for_a_picture(self) -> None:
        with serve(320, 240, 30, Faults(stall_after=3)) as address:
            source = open_source(f"{address}/stream")
            reader = open_reader(source)
            while reader.captured < 3:
                time.sleep(0.01)
            reader.close()
        # The server is gone, so the read ends and the container may be closed.
        source.close()


def jpeg(number: int, *, thumbnail: bool = False, progressive: bool = False) -> bytes:
    pixels = smear(96, 64, number)
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive), cv2.IMWRITE_JPEG_RST_INTERVAL, number % 3]
    data = cv2.imencode(".jpg", pixels[..., ::-1], options)[1].tobytes()
    return with_thumbnail(data) if thumbnail else data


JPEGS = [jpeg(n, thumbnail=n % 2 == 1, progressive=n % 4 > 1) for n in range(6)]


def cut(stream: bytes, at: list[int]) -> list[bytes]:
    places = [0, *sorted(place % (len(stream) + 1) for place in at), len(stream)]
    return [stream[begin:end] for begin, end in itertools.pairwise(places)]


def fed(parser: MultipartParser, *pieces: bytes) -> list[bytes]:
    return [picture.data for data in pieces for picture in parser.feed(data)]


class TestMultipart:
    @settings(max_examples=150)
    @given(
        boundary=st.sampled_from([b"frame", b"--frame", b"", b"wrong"]),
        faults=st.builds(
            Faults, no_length=st.integers(0, 1), lf_only=st.integers(0, 1), garbage=st.integers(0, 1)
        ),
        at=st.lists(st.integers(0, 10**6), max_size=30),
    )
    def test_any_split_gives_every_picture(self, boundary: bytes, faults: Faults, at: list[int]) -> None:
        stream = b"".join(part(picture, faults) for picture in JPEGS)
        parser = MultipartParser(boundary)
        assert fed(parser, *cut(stream, at)) == JPEGS

    @settings(max_examples=300)
    @given(
        pieces=st.lists(
            st.sampled_from(
                [
                    *(part(picture, Faults(no_length=n)) for n, picture in enumerate(JPEGS[:2])),
                    part(JPEGS[3][:700], Faults(no_length=1)),
                    part(JPEGS[1][:40], Faults()),
                    b"--frame",
                    b"\r\n\r\n",
                    b"\n--frame--\n",
                    b"\xff\xd8\xff",
                    b"\xff",
                    b"\xff\xd9",
                    b" \n ---",
                    b"Content-Length: 5\r\n",
                    JPEGS[2],
                ]
            )
            | st.binary(max_size=20),
            max_size=12,
        ),
        at=st.lists(st.integers(0, 10**6), max_size=30),
        boundary=st.sampled_from([b"frame", b"f", b""]),
    )
    def test_any_split_of_anything_gives_the_same(
        self, pieces: list[bytes], at: list[int], boundary: bytes
    ) -> None:
        stream = b"".join(pieces)
        parser, whole = MultipartParser(boundary), MultipartParser(boundary)
        assert fed(parser, *cut(stream, at)) == fed(whole, stream)

    @pytest.mark.parametrize("length", [True, False])
    @pytest.mark.parametrize("picture", JPEGS)
    def test_a_picture_is_there_with_its_last_byte(self, picture: bytes, length: bool) -> None:
        parser = MultipartParser(b"frame")
        data = part(picture, Faults(no_length=not length)).removesuffix(b"\r\n")
        assert parser.feed(data[:-1]) == []
        assert fed(parser, data[-1:]) == [picture]

    def test_a_truncated_picture_ends_at_the_boundary(self) -> None:
        half = JPEGS[1][: len(JPEGS[1]) - 100]
        stream = part(half, Faults(no_length=1)) + part(JPEGS[0], Faults(no_length=1))
        assert fed(MultipartParser(b"frame"), stream) == [half, JPEGS[0]]

    def test_without_boundaries_a_truncated_picture_ends_where_the_next_begins(self) -> None:
        half = JPEGS[0][: len(JPEGS[0]) // 2]
        assert fed(MultipartParser(b""), half + JPEGS[1] + JPEGS[2]) == [half, JPEGS[1], JPEGS[2]]

    def test_parts_that_are_no_pictures_are_skipped(self) -> None:
        text = b"--frame\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\n\xff\xd8\xffhello!\r\n"
        empty = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: 0\r\n\r\n\r\n"
        uncounted = text.replace(b"Content-Length: 9\r\n", b"")
        stream = (
            text + empty + uncounted + part(JPEGS[0], Faults()) + text + part(JPEGS[1], Faults(no_length=1))
        )
        assert fed(MultipartParser(b"frame"), stream) == [JPEGS[0], JPEGS[1]]

    @pytest.mark.parametrize(
        "stream",
        [
            b"--frame\r\nContent-Length: 10001\r\n\r\n",
            b"--frame\r\n\r\n\xff\xd8\xff" + bytes(10000),
            b"no pictures " * 1000,
            b"--frame\r\nContent-Type: text/plain\r\nContent-Length: 900\r\n\r\n" + bytes(900),
        ],
    )
    def test_nothing_grows_without_end(self, stream: bytes) -> None:
        with pytest.raises(BrokenStreamError, match="without a picture"):
            MultipartParser(b"frame", most_bytes=10000).feed(stream * 20)

    @pytest.mark.parametrize(
        ("data", "reason"),
        [(JPEGS[0][:-50], "truncated JPEG"), (b"\xff\xd8\xff\xd9", "damaged JPEG"), (b"", "truncated JPEG")],
    )
    def test_a_damaged_picture_is_rejected_with_its_reason(self, data: bytes, reason: str) -> None:
        with pytest.raises(FrameRejectedError) as caught:
            JpegFrame(data, 7, 0.0, 0.0, "test://camera").decode()
        assert caught.value.reason == reason
        assert "frame 7" in str(caught.value)


class Scripted:
    """A camera whose frames arrive when the test says so."""

    uri = "test://scripted"

    def __init__(self, *, live: bool = True) -> None:
        self.live = live
        self.arriving: queue.Queue[Frame | SourceEvent | BaseException | None] = queue.Queue()
        self.sent = 0

    def send(self) -> None:
        pixels = np.zeros((2, 2, 3), np.uint8)
        self.arriving.put(Frame(pixels, self.sent, time.time(), time.monotonic(), self.uri))
        self.sent += 1

    def frames(self) -> Iterator[Frame | SourceEvent]:
        while (item := self.arriving.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def close(self) -> None:
        self.arriving.put(None)

    def __enter__(self) -> Scripted:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def wait_until_captured(reader: NewestFrameReader, number: int) -> None:
    deadline = time.monotonic() + 10
    while reader.captured < number and time.monotonic() < deadline:
        time.sleep(0.0005)
    assert reader.captured == number


class TestNewestFrame:
    @settings(max_examples=50)
    @given(bursts=st.lists(st.integers(1, 6), max_size=20), rest=st.integers(0, 3))
    def test_the_frame_taken_is_the_newest_and_none_is_lost_in_the_count(
        self, bursts: list[int], rest: int
    ) -> None:
        source = Scripted()
        taken = []
        with NewestFrameReader(source) as reader:
            for burst in bursts:
                for _ in range(burst):
                    source.send()
                wait_until_captured(reader, source.sent)
                item = reader.take(GO)
                assert item is not None
                assert item.sequence == source.sent - 1
                taken.append(item.sequence)
            for _ in range(rest):
                source.send()
            wait_until_captured(reader, source.sent)
            source.close()
        assert taken == sorted(set(taken))
        assert reader.captured == source.sent == len(taken) + reader.dropped

    @settings(max_examples=30)
    @given(waiting=st.integers(1, 5), sent=st.integers(0, 12), taken=st.integers(0, 6))
    def test_as_many_as_may_wait_are_kept_in_order(self, waiting: int, sent: int, taken: int) -> None:
        source = Scripted()
        with open_reader(source, waiting) as reader:
            for _ in range(sent):
                source.send()
            wait_until_captured(reader, sent)
            source.close()
            items = [item for _ in range(taken) if (item := reader.take(GO)) is not None]
        newest = list(range(max(0, sent - waiting), sent))
        assert [item.sequence for item in items] == newest[:taken]
        assert reader.captured == sent == len(items) + reader.dropped

    def test_it_waits_for_a_frame(self) -> None:
        source = Scripted()
        with source, NewestFrameReader(source) as reader:
            threading.Timer(0.05, source.send).start()
            assert reader.take(GO) is not None

    def test_stop_ends_the_wait(self) -> None:
        stop = threading.Event()
        source = Scripted()
        with source, NewestFrameReader(source) as reader:
            threading.Timer(0.05, stop.set).start()
            assert reader.take(stop) is None
            source.close()

    def test_a_death_is_told_after_the_last_frame_was_taken(self) -> None:
        source = Scripted()
        with NewestFrameReader(source) as reader:
            source.send()
            wait_until_captured(reader, 1)
            source.arriving.put(CameraError("gone"))
            assert reader.take(GO) is not None
            with pytest.raises(CameraError, match="gone"):
                reader.take(GO)

    def test_the_end_of_a_live_source_is_no_error(self) -> None:
        source = Scripted()
        with NewestFrameReader(source) as reader:
            source.send()
            source.close()
            assert reader.take(GO) is not None
            assert reader.take(GO) is None
        assert (reader.captured, reader.dropped) == (1, 0)

    def test_events_pass_the_slot(self) -> None:
        source = Scripted()
        with NewestFrameReader(source) as reader:
            source.arriving.put(SourceEvent("gap", "1 s"))
            source.send()
            source.close()
            assert reader.take(GO) is not None
            assert reader.events() == [SourceEvent("gap", "1 s")]
            assert reader.events() == []

    def test_the_source_says_how_it_is_read(self) -> None:
        for live, kind in ((True, NewestFrameReader), (False, InOrderReader)):
            source = Scripted(live=live)
            source.close()
            with open_reader(source) as reader:
                assert type(reader) is kind

    def test_in_order_every_frame_is_taken(self) -> None:
        source = Scripted(live=False)
        for _ in range(5):
            source.send()
        source.arriving.put(SourceEvent("skipped", "a mask"))
        source.close()
        with InOrderReader(source) as reader:
            taken = []
            while (item := reader.take(GO)) is not None:
                taken.append(item.sequence)
            assert len(reader.events()) == 1
        assert taken == [0, 1, 2, 3, 4]
        assert (reader.captured, reader.dropped) == (5, 0)
