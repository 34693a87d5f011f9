"""Recordings that were cut: what is there is shown, and that the rest is missing is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgeleuk.capture import SourceEvent, open_source
from edgeleuk.capture.recordings import cut_of
from edgeleuk.errors import CameraError

if TYPE_CHECKING:
    from pathlib import Path

FRAMES = 40
# Name, codec, FFmpeg's options, and whether a cut leaves something to see.
KINDS = {
    "plain.mp4": ("mpeg4", {}, False),
    "plain.mov": ("mpeg4", {}, False),
    "plain.3gp": ("mpeg4", {}, False),
    "index-first.mp4": ("mpeg4", {"movflags": "faststart"}, True),
    "fragments.mp4": ("mpeg4", {"movflags": "frag_keyframe+empty_moov"}, True),
    "a.mkv": ("mpeg4", {}, True),
    "a.avi": ("mjpeg", {}, True),
    "a.wmv": ("wmv2", {}, True),
}


def written(path: Path, codec: str, options: dict[str, str]) -> bytes:
    import av

    random = np.random.default_rng(1)
    kinds = {".wmv": "asf"}
    with av.open(str(path), "w", format=kinds.get(path.suffix), options=options) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height = 176, 144
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.options = {"g": "5"}
        for _ in range(FRAMES):
            pixels = random.integers(0, 255, (144, 176, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path.read_bytes()


def seen(path: Path) -> tuple[int, list[str]]:
    with open_source(str(path)) as source:
        items = list(source.frames())
    events = [item.kind for item in items if isinstance(item, SourceEvent)]
    return len(items) - len(events), events


@pytest.mark.parametrize("name", KINDS)
def test_a_cut_recording_says_so(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    codec, options, playable = KINDS[name]
    whole = written(path, codec, options)
    assert cut_of(path) is None
    assert seen(path) == (FRAMES, [])
    path.write_bytes(whole[: len(whole) * 6 // 10])
    if playable:
        frames, events = seen(path)
        assert events == ["cut"]
        assert FRAMES // 3 < frames < FRAMES
    else:
        with pytest.raises(
            CameraError, match=r"was cut and cannot be read: got its index \(moov\) is missing"
        ):
            open_source(str(path))


def test_a_recording_cut_before_its_first_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    whole = written(path, "mpeg4", {})
    path.write_bytes(whole[:700])
    with pytest.raises(CameraError, match=r"was cut|holds no picture: got the recording was cut"):
        seen(path)
    path.write_bytes(b"")
    with pytest.raises(CameraError, match="was cut and cannot be read: got it is empty"):
        open_source(str(path))


@pytest.mark.parametrize(
    ("data", "cut"),
    [
        (b"\0\0\0\x10ftypisom\0\0\0\0\0\0\0\x04moov", "it is damaged"),
        (b"\0\0\0\x10ftypisom\0\0\0\0\0\0\0\0mdat1234", "its index (moov) is missing, which is written last"),
        (b"\0\0\0\x08moov\0\0\0\x01mdat\0\0\0\0\0\0\x10\0", "0 % of its 4104 bytes are there"),
        (b"RIFF\0\0\0\0AVI LIST", "it was never finished"),
        (b"RIFF\xff\0\0\0AVI LIST", "6 % of its 263 bytes are there"),
        (b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\xff", None),
        (b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x88", "55 % of its 18 bytes are there"),
        (b"\x1a\x45\xdf\xa3", None),
        (b"no recording", None),
    ],
)
def test_what_a_header_tells(data: bytes, cut: str | None, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(data)
    assert cut_of(tmp_path / "a") == cut
