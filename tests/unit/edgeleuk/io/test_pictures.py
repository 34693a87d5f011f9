"""Picture files: what damages them, what bounds them, how they are turned; and one look for all commands."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from edgeleuk.capture import SourceEvent, decoded, open_source
from edgeleuk.capture.base import FrameRejectedError, JpegFrame
from edgeleuk.errors import DataRefusedError
from edgeleuk.io.pictures.decoding import PictureRefusedError, decode, read_bytes
from edgeleuk.io.pictures.headers import kind_of, read_header
from edgeleuk.io.pictures.jpeg import DamagedJpegError, decode_jpeg
from edgeleuk.io.pictures.limit import MOST_MEGAPIXELS, allow_megapixels
from edgeleuk.io.pictures.seams import strongest_seam
from edgeleuk.virtual import VirtualSlide
from edgeleuk.vision.looking import fault_of_picture
from edgeleuk.vision.stream import StreamWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from outcome import Outcome

    from edgeleuk.frames import RgbImage

S420, S422, S444 = 0x221111, 0x211111, 0x111111
FIELD = VirtualSlide(2, white_cells_per_field=3.0).field(0, 0, width=640, height=480).pixels


def jpeg(pixels: RgbImage = FIELD, sampling: int = S420, restart: int = 0, progressive: int = 0) -> bytes:
    options = [
        cv2.IMWRITE_JPEG_QUALITY, 85, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling,
        cv2.IMWRITE_JPEG_RST_INTERVAL, restart, cv2.IMWRITE_JPEG_PROGRESSIVE, progressive,
    ]  # fmt: skip
    return cv2.imencode(".jpg", pixels[..., ::-1] if pixels.ndim == 3 else pixels, options)[1].tobytes()


def encoded(suffix: str, pixels: Any = FIELD) -> bytes:
    return cv2.imencode(suffix, pixels[..., ::-1] if pixels.ndim == 3 else pixels)[1].tobytes()


def by_opencv(data: bytes) -> RgbImage:
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), flags), np.uint8)


def without_tables(data: bytes) -> bytes:
    """Leave the Huffman tables out, as USB cameras do."""
    kept, at = data[:2], 2
    while data[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        kept += b"" if data[at + 1] == 0xC4 else data[at:end]
        at = end
    return kept + data[at:]


def with_orientation(data: bytes, orientation: int) -> bytes:
    body = b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0" + bytes([orientation]) + bytes(6)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]


def padded(padding: bytes) -> bytes:
    return jpeg()[:-2] + padding + b"\xff\xd9"


@pytest.fixture(autouse=True)
def the_usual_limit() -> Iterator[None]:
    yield
    allow_megapixels(MOST_MEGAPIXELS)


SOUND = {
    "4:2:0": jpeg(),
    "4:2:2": jpeg(sampling=S422),
    "4:4:4": jpeg(sampling=S444),
    "progressive": jpeg(progressive=1),
    "restarts": jpeg(restart=8),
    "grey": jpeg(cv2.cvtColor(FIELD, cv2.COLOR_RGB2GRAY)),
    "no Huffman tables": without_tables(jpeg(sampling=S422)),
    "zeros before its end": padded(bytes(100)),
    "a few bytes before its end": padded(b"\x12\x34\x56"),
    "bytes behind its end": jpeg() + bytes(5000),
    "turned": with_orientation(jpeg(), 6),
    "small": jpeg(np.ascontiguousarray(FIELD[:40, :40])),
}


@pytest.mark.parametrize("case", SOUND)
def test_sound_jpegs_decode_to_the_pixels_of_opencv(case: str) -> None:
    assert np.array_equal(decode_jpeg(SOUND[case]), by_opencv(SOUND[case]))


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "lost": lambda data: data[: len(data) // 2] + data[len(data) // 2 + 1400 :],
    "zeroed": lambda data: data[: len(data) // 2] + bytes(1400) + data[len(data) // 2 + 1400 :],
    "exchanged": lambda data: data[:8000] + data[9400:10800] + data[8000:9400] + data[10800:],
    "cut, and its end marker set": lambda data: data[: len(data) // 2] + b"\xff\xd9",
}


@pytest.mark.parametrize("framing", ["4:2:0", "4:2:2", "4:4:4", "restarts", "no Huffman tables", "turned"])
@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_jpegs_are_rejected(kind: str, framing: str) -> None:
    data = DAMAGE[kind](SOUND[framing])
    with pytest.raises(DamagedJpegError):
        decode_jpeg(data)
    with pytest.raises(FrameRejectedError) as caught:
        JpegFrame(data, 3, 0.0, 0.0, "test://camera").decode()
    assert caught.value.reason == "damaged JPEG"


def test_bits_that_flip_are_seen_where_they_spoil_the_picture() -> None:
    data, spoilt, rejected = jpeg(), 0, 0
    sound = by_opencv(data)
    for at in range(700, len(data) - 2, len(data) // 60):
        damaged = data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :]
        pixels = cv2.imdecode(np.frombuffer(damaged, np.uint8), cv2.IMREAD_COLOR_RGB)
        if pixels is not None and (cv2.absdiff(pixels, sound).max(axis=2) > 8).mean() <= 0.02:
            continue
        spoilt += 1
        try:
            decode_jpeg(damaged)
        except DamagedJpegError:
            rejected += 1
    assert spoilt >= 5
    assert rejected >= 0.8 * spoilt


def test_what_ends_with_its_row_is_no_seam() -> None:
    bar, corner, damage = FIELD.copy(), FIELD.copy(), FIELD.copy()
    bar[448:] = 0
    corner[448:, 480:] = 255
    damage[240:256, 200:] = np.clip(damage[240:256, 200:].astype(int) + 20, 0, 255)
    damage[256:] = np.clip(damage[256:].astype(int) + 20, 0, 255)
    assert strongest_seam(bar, (16, 16)).step < 5
    assert strongest_seam(corner, (16, 16)).step < 5
    assert strongest_seam(damage, (16, 16)).step > 9


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (jpeg(), "JPEG"),
        (encoded(".png"), "PNG"),
        (encoded(".bmp"), "BMP"),
        (encoded(".tif"), "TIFF"),
        (encoded(".webp"), "WebP"),
        (b"GIF89a" + bytes(20), "GIF"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(20), "JPEG 2000"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "AVIF"),
        (b"no picture", None),
        (b"", None),
    ],
)
def test_what_a_file_is_its_content_says(data: bytes, kind: str | None) -> None:
    assert kind_of(data) == kind
    header = read_header(data)
    assert (None if header is None else header.kind) == kind
    if kind in ("JPEG", "PNG", "BMP", "TIFF", "WebP"):
        assert header is not None
        assert (header.height, header.width) == (480, 640)
        assert decode(data, "x").pixels.shape == (480, 640, 3)
    else:
        with pytest.raises(PictureRefusedError, match="is not read" if kind else "empty|no image"):
            decode(data, "x")


def claiming(suffix: str, side: int) -> bytes:
    """A small file whose header claims to be a square of that side."""
    data = bytearray(encoded(suffix))
    if suffix == ".jpg":
        at = data.index(b"\xff\xc0")
        data[at + 5 : at + 9] = struct.pack(">HH", side, side)
    elif suffix == ".png":
        data[16:24] = struct.pack(">II", side, side)
    elif suffix == ".bmp":
        data[18:26] = struct.pack("<ii", side, -side)
    elif suffix == ".webp":
        # Without loss; 14 bits are the most.
        side = min(side, 16383) - 1
        at = data.index(b"VP8L") + 9
        data[at : at + 4] = struct.pack("<I", side | side << 14 | data[at + 3] >> 4 << 28)
    else:
        at = int.from_bytes(data[4:8], "little")
        for number in range(int.from_bytes(data[at : at + 2], "little")):
            entry = at + 2 + 12 * number
            if int.from_bytes(data[entry : entry + 2], "little") in (256, 257):
                data[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, side)
    return bytes(data)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tif", ".webp"])
@pytest.mark.parametrize("side", [16000, 60000])
def test_large_pictures_are_refused_by_their_header(suffix: str, side: int) -> None:
    with pytest.raises(PictureRefusedError, match=r"too large.*allowed 100;.*--most-megapixels") as caught:
        decode(claiming(suffix, side), "x")
    assert caught.value.reason == "too large"


def test_the_limit_is_a_setting() -> None:
    allow_megapixels(0.3)
    with pytest.raises(PictureRefusedError, match="got 640x480"):
        decode(jpeg(), "x")
    allow_megapixels(0.4)
    assert decode(jpeg(), "x").pixels.shape == (480, 640, 3)


def test_no_file_is_read_without_end(tmp_path: Path) -> None:
    allow_megapixels(0.01)
    with (tmp_path / "long.tif").open("wb") as file:
        file.truncate(10**9)
    with pytest.raises(PictureRefusedError, match="too large: got a file of more than"):
        read_bytes(tmp_path / "long.tif")
    with pytest.raises(PictureRefusedError, match="is a device"):
        read_bytes(Path("/dev/zero"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright_as_opencv_does(orientation: int) -> None:
    data = with_orientation(jpeg(), orientation)
    upright = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert np.array_equal(decode(data, "x").pixels, upright)
    assert np.array_equal(JpegFrame(data, 0, 0.0, 0.0, "test://camera").decode().pixels, upright)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_few_bits_in_16_are_named(suffix: str, bits: int) -> None:
    with pytest.raises(PictureRefusedError, match=f"has {bits} bits in 16"):
        decode(
            encoded(
                suffix,
                FIELD.astype(np.uint16) << bits - 8,
            ),
            "x",
        )
    whole = encoded(suffix, FIELD.astype(np.uint16) << 8)
    assert np.array_equal(decode(whole, "x").pixels, FIELD)


def two_pages(path: Path) -> None:
    cv2.imwritemulti(str(path), [FIELD[..., ::-1], FIELD[..., ::-1]])


def test_further_pages_are_named(tmp_path: Path, edgeleuk: Callable[..., Outcome]) -> None:
    two_pages(tmp_path / "two.tif")
    assert decode((tmp_path / "two.tif").read_bytes(), "x").notes == (
        "1 further page of the TIFF not looked at",
    )
    with open_source(str(tmp_path)) as source:
        events = [item.text for item in source.frames() if isinstance(item, SourceEvent)]
    assert events == ["two.tif: 1 further page of the TIFF not looked at"]
    outcome = edgeleuk("segment", tmp_path / "two.tif", "--out", tmp_path / "masks")
    assert "1 further page of the TIFF" in outcome.out


def test_pictures_that_are_not_read_are_named(tmp_path: Path, edgeleuk: Callable[..., Outcome]) -> None:
    (tmp_path / "a.gif").write_bytes(b"GIF89a" + bytes(20))
    (tmp_path / "b.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (tmp_path / "c.jp2").write_bytes(b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(20))
    for path in (tmp_path, tmp_path / "a.gif"):
        with pytest.raises(DataRefusedError, match="GIF"):
            open_source(str(path))
    for name, kind in (("a.gif", "GIF"), ("b.HEIC", "HEIC"), ("c.jp2", "JPEG 2000")):
        outcome = edgeleuk("segment", tmp_path / name, "--out", tmp_path / "m")
        assert outcome.code == 4
        assert f"is a {kind} picture, which is not read" in outcome.err
    assert "c.jp2 is a JPEG 2000 picture, which is not read" in edgeleuk("classify", tmp_path / "c.jp2").err
    (tmp_path / "field.jpg").write_bytes(jpeg())
    reasons = []
    with open_source(str(tmp_path)) as source:
        items = list(source.frames())
    for item in items:
        if not isinstance(item, SourceEvent):
            try:
                decoded(item)
            except FrameRejectedError as error:
                reasons.append(error.reason)
    assert reasons == ["a kind that is not read"] * 3
    texts = [item.text for item in items if isinstance(item, SourceEvent)]
    assert [text.partition(",")[0] for text in texts] == [
        "a.gif is a GIF picture",
        "b.HEIC is a HEIC picture",
        "c.jp2 is a JPEG 2000 picture",
    ]


def tinted(pixels: RgbImage) -> RgbImage:
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[..., None]
    return np.asarray(np.clip(grey * np.array([1.0, 0.95, 0.8]), 0, 255), np.uint8)


FAULTY: dict[str, tuple[RgbImage, str]] = {
    "black": (np.zeros_like(FIELD), "black picture"),
    "tinted": (tinted(FIELD), "monochrome picture"),
    "swapped": (np.ascontiguousarray(FIELD[..., ::-1]), "red and blue swapped"),
    "blurred": (np.asarray(cv2.GaussianBlur(FIELD, (0, 0), 6), np.uint8), "out of focus"),
    "dark": (np.asarray(FIELD * 0.2, np.uint8), "underexposed"),
}


@pytest.mark.parametrize("camera", [True, False])
@pytest.mark.parametrize("case", FAULTY)
def test_the_first_look_is_the_same_for_cameras_and_files(case: str, camera: bool) -> None:
    pixels, reason = FAULTY[case]
    assert fault_of_picture(pixels) == reason
    of_the_stream = StreamWatch(camera=camera).look(pixels).reason
    assert of_the_stream == (reason if case in ("black", "tinted", "swapped") else None)
    assert fault_of_picture(FIELD) is None


def test_a_grey_picture_is_monochrome_for_cameras_too() -> None:
    grey = np.repeat(cv2.cvtColor(FIELD, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    assert StreamWatch(camera=True).look(grey).reason == "monochrome picture"
    stamped = grey.copy()
    cv2.putText(stamped, "12:00", (500, 40), 0, 1.0, (255, 255, 0), 2)
    assert fault_of_picture(stamped) == "monochrome picture"


def test_run_classify_and_segment_say_the_same(tmp_path: Path, edgeleuk: Callable[..., Outcome]) -> None:
    folder = tmp_path / "fields"
    folder.mkdir()
    for case, (pixels, _) in FAULTY.items():
        cv2.imwrite(str(folder / f"{case}.png"), pixels[..., ::-1])
    cv2.imwrite(str(folder / "sound.png"), FIELD[..., ::-1])
    expected = {reason: 1 for _, reason in FAULTY.values()}
    ran = json.loads(edgeleuk("run", "--camera", folder, "--session", tmp_path / "s.db", "--json").out)
    # A folder passes over what has no colour at all, with an event: a mask may be black.
    assert ran["frames"]["rejected_by_reason"] | {"black picture": 1} == expected
    files = sorted(folder.iterdir())
    classified = json.loads(edgeleuk("classify", *files, "--json").out)
    segmented = json.loads(edgeleuk("segment", *files, "--out", tmp_path / "masks", "--json").out)
    for result in (classified, segmented):
        said = [entry["rejected"] for entry in result["files"] if entry["rejected"]]
        assert {reason: said.count(reason) for reason in said} == expected
    assert [path.name for path in (tmp_path / "masks").iterdir()] == ["sound_mask.png"]


def test_without_the_gate_blur_passes_and_black_does_not(
    tmp_path: Path, edgeleuk: Callable[..., Outcome]
) -> None:
    for case in ("blurred", "black"):
        cv2.imwrite(str(tmp_path / f"{case}.png"), FAULTY[case][0][..., ::-1])
    refused = edgeleuk("segment", tmp_path / "blurred.png", "--out", tmp_path / "m")
    assert refused.code == 4
    assert "blurred.png is not judged: got out of focus; pass --no-quality-check" in refused.err
    assert (
        edgeleuk("segment", tmp_path / "blurred.png", "--out", tmp_path / "m", "--no-quality-check").code == 0
    )
    assert (
        edgeleuk("segment", tmp_path / "black.png", "--out", tmp_path / "m", "--no-quality-check").code == 4
    )
