"""Picture files of every kind that people have become RGB bytes, or are refused in a few words."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from PIL import Image

from edgeleuk.errors import DataRefusedError
from edgeleuk.io.pictures.headers import jpeg_ends
from edgeleuk.io.pictures.tiff import tiff_pages
from edgeleuk_convert.dataset.cnmc import load_cells
from edgeleuk_convert.dataset.decoding import decode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

RGB: npt.NDArray[np.uint8] = np.clip(
    128 + 300 * cv2.GaussianBlur(np.random.default_rng(0).normal(size=(40, 60, 3)), (0, 0), 4), 0, 255
).astype(np.uint8)
PICTURE = Image.fromarray(RGB)
SPREAD = "store 8 bits, or spread the values over 16"


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def by_opencv(suffix: str, pixels: npt.NDArray[Any]) -> bytes:
    return cv2.imencode(suffix, pixels[..., ::-1])[1].tobytes()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x112] = 6  # the top row stands on the right
    return encoded(PICTURE, "JPEG", quality=98, exif=exif)


def see_through() -> bytes:
    picture = PICTURE.convert("RGBA")
    picture.putalpha(7)
    return encoded(picture, "PNG")


GREY = np.asarray(PICTURE.convert("L"))[:, :, None].repeat(3, axis=2)


@pytest.mark.parametrize(
    ("name", "data", "expected", "within"),
    [
        ("rgb.png", encoded(PICTURE, "PNG"), RGB, 0),
        ("transparent.png", see_through(), RGB, 0),
        ("sixteen.png", by_opencv(".png", RGB.astype(np.uint16) * 257), RGB, 0),
        ("sixteen.tif", by_opencv(".tif", RGB.astype(np.uint16) * 257), RGB, 0),
        ("grey.png", encoded(PICTURE.convert("L"), "PNG"), GREY, 0),
        ("grey.jpg", encoded(PICTURE.convert("L"), "JPEG", quality=98), GREY, 3),
        ("palette.png", encoded(PICTURE.quantize(), "PNG"), np.asarray(PICTURE.quantize().convert("RGB")), 0),
        ("plain.jpeg", encoded(PICTURE, "JPEG", quality=98), RGB, 8),
        ("cmyk.jpg", encoded(PICTURE.convert("CMYK"), "JPEG", quality=98), RGB, 8),
        ("turned.jpg", turned(), np.rot90(RGB, -1), 8),
        ("progressive.jpg", encoded(PICTURE, "JPEG", quality=98, progressive=True), RGB, 8),
        ("more-behind.jpg", encoded(PICTURE, "JPEG", quality=98) + b"camera's own" * 20, RGB, 8),
        ("plain.tiff", encoded(PICTURE, "TIFF"), RGB, 0),
        ("lzw.tif", encoded(PICTURE, "TIFF", compression="tiff_lzw"), RGB, 0),
        ("deflate.tif", encoded(PICTURE, "TIFF", compression="tiff_adobe_deflate"), RGB, 0),
        ("wrongly-named.jpg", encoded(PICTURE, "PNG"), RGB, 0),
    ],
)  # fmt: skip
def test_what_becomes_rgb(
    tmp_path: Path, name: str, data: bytes, expected: npt.NDArray[np.uint8], within: int
) -> None:
    (tmp_path / name).write_bytes(data)
    pixels = decode(tmp_path / name)
    assert not isinstance(pixels, str)
    assert (pixels.shape, pixels.dtype) == (expected.shape, np.uint8)
    assert np.abs(pixels.astype(int) - expected).max() <= within


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("empty.jpg", b"", "empty"),
        ("text.tif", b"no picture", "no image, or a damaged one"),
        ("pages.tif", encoded(PICTURE, "TIFF", save_all=True, append_images=[PICTURE] * 2),
         "2 further pages of the TIFF not looked at: store each as a file"),
        ("float.tif", by_opencv(".tif", (RGB / 255).astype(np.float32)),
         "has samples of 32 bits; store 8 bits"),
        ("twelve.tif", by_opencv(".tif", RGB.astype(np.uint16) * 16),
         f"has 12 bits in 16: values that end at {16 * int(RGB.max())}; {SPREAD}"),
        ("twelve.png", by_opencv(".png", RGB.astype(np.uint16)),
         f"has 8 bits in 16: values that end at {RGB.max()}; {SPREAD}"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(data)
    assert decode(tmp_path / name) == reason


def test_a_picture_beyond_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "large.png").write_bytes(encoded(PICTURE, "PNG"))
    monkeypatch.setattr("edgeleuk.io.pictures.limit._most_megapixels", 0.001)
    assert decode(tmp_path / "large.png") == "too large: 60x40, 0 megapixels"


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
@pytest.mark.parametrize("keep", [0.0, 0.02, 0.6, 0.97])
def test_truncated_files_are_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], suffix: str, keep: float
) -> None:
    data = encoded(PICTURE, {".jpg": "JPEG", ".tif": "TIFF"}[suffix])
    for name, part in (("blast/a", keep), ("normal/b", 1)):
        path = tmp_path / f"{name}{suffix}"
        path.parent.mkdir()
        path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(DataRefusedError, match=rf"1 of 2 files are no usable image.*blast/a{suffix}"):
        load_cells(tmp_path)
    # OpenCV's own lines would stand above the sentence.
    assert capfd.readouterr() == ("", "")


def test_a_thumbnail_does_not_end_a_jpeg() -> None:
    thumbnail = encoded(PICTURE.resize((8, 8)), "JPEG")
    exif = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    whole = encoded(PICTURE, "JPEG")
    with_thumbnail = whole[:2] + exif + whole[2:]
    assert jpeg_ends(with_thumbnail)
    assert not jpeg_ends(with_thumbnail[:-60])
    assert not jpeg_ends(with_thumbnail[: len(exif) + 2])


@pytest.mark.parametrize("spoil", [lambda data: data[:8], lambda data: data[:200] + b"\0" * 9])
def test_damaged_directories_end(spoil: Callable[[bytes], bytes]) -> None:
    assert len(tiff_pages(spoil(encoded(PICTURE, "TIFF")))) <= 1
    # A directory that names itself as the next one.
    loop = b"II*\0\x08\0\0\0" + b"\0\0" + b"\x08\0\0\0"
    assert len(tiff_pages(loop)) == 1
