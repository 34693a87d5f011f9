"""Pictures as other people's networks were taught them: framed, resized and scaled as theirs were."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleuk.bundle.manifest import InputContract, OutputContract
from edgeleuk.frames import Box, Cell, CellCrop
from edgeleuk.inference.log_odds import log_odds
from edgeleuk.inference.preprocessing import framed, resized, to_tensor
from edgeleuk.inference.quantization import Affine, byte_table, dequantize, look_up, real_ends, real_table
from edgeleuk.vision.crops import crop_cell, crop_with_surroundings

CAFFE = (-123.68, -116.779, -103.939)
SCALES: list[tuple[Any, Any]] = [
    (1.0, 0.0),
    (1 / 255, 0.0),
    (1 / 127.5, -1.0),
    (1.0, CAFFE),
    ((1 / 58, 1 / 57, 1 / 57.5), (-2.1, -2.0, -1.8)),
]


def contract(**settings: Any) -> InputContract:
    wanted: dict[str, Any] = {
        "height": 64, "width": 64, "channels": ("red", "green", "blue"), "normalise": False,
        "px_per_um": 18.5 * 64 / 450, "crop_px_per_um": 18.5, "framing": "picture", "picture_px": (450, 450),
        "resize": "bilinear",
    }  # fmt: skip
    return InputContract(**(wanted | settings))


def picture(seed: int = 0, size: int = 450) -> npt.NDArray[np.uint8]:
    """Draw a textured cell on black, not quite in the middle."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.integers(0, 256, (size, size, 3), dtype=np.uint8), (0, 0), 3)
    rows, columns = np.mgrid[:size, :size]
    inside = (rows - size * 0.48) ** 2 + (columns - size * 0.53) ** 2 < (size * 0.2) ** 2
    return np.where(inside[..., None], np.maximum(noise, 1), 0).astype(np.uint8)


@pytest.mark.parametrize(("scale", "offset"), SCALES)
def test_bytes_become_the_same_numbers_by_table_and_by_formula(scale: Any, offset: Any) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
    table = real_table(scale, offset)
    wanted = pixels * np.asarray(scale, np.float64) + np.asarray(offset, np.float64)
    np.testing.assert_allclose(look_up(table, pixels), wanted, rtol=1e-6, atol=1e-5)
    low, high = real_ends(scale, offset)
    assert (low, high) == pytest.approx((float(np.min(table)), float(np.max(table))), abs=1e-5)
    # One scale for all channels of an int8 tensor: little more than half a byte is lost.
    affine = Affine((high - low) / 255, round(-low / ((high - low) / 255)) - 128)
    rounded = dequantize(look_up(byte_table(affine, scale=scale, offset=offset), pixels), affine)
    assert (np.abs(rounded - wanted) / np.asarray(scale)).max() <= 0.6


@pytest.mark.parametrize("size", [(64, 64), (50, 70), (224, 224), (450, 450), (600, 500)])
@pytest.mark.parametrize("seed", [0, 1])
def test_resizing_is_what_people_use(size: tuple[int, int], seed: int) -> None:
    image = picture(seed)
    bilinear = resized(image, size, "bilinear").astype(int)
    assert np.abs(bilinear - cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)).max() <= 1
    nearest = resized(image, size, "nearest")
    np.testing.assert_array_equal(nearest, cv2.resize(image, size, interpolation=cv2.INTER_NEAREST_EXACT))
    area = resized(image, size, "area").astype(int)
    wanted = cv2.resize(image, size, interpolation=cv2.INTER_AREA if size[0] <= 450 else cv2.INTER_LINEAR)
    assert np.abs(area - wanted).max() <= 1


@given(st.integers(8, 90), st.integers(8, 90), st.integers(0, 255))
def test_one_colour_stays_itself(have: int, want: int, level: int) -> None:
    flat = np.full((have, have, 3), level, np.uint8)
    for kind in ("bilinear", "nearest", "area"):
        assert (resized(flat, (want, want), kind) == level).all()  # type: ignore[arg-type]


def test_a_picture_of_its_own_is_taken_as_it_is() -> None:
    image = picture()
    tensor = to_tensor(CellCrop.on_black(image, 18.5, whole=True), contract())
    np.testing.assert_array_equal(tensor, resized(image, (64, 64), "bilinear"))
    turned = to_tensor(
        CellCrop.on_black(image, 18.5, whole=True), contract(channels=("blue", "green", "red"))
    )
    np.testing.assert_array_equal(turned, tensor[..., ::-1])


def test_a_cell_from_a_field_is_put_into_the_middle_of_such_a_picture() -> None:
    image = picture()
    x, y, w, h = cv2.boundingRect(CellCrop.on_black(image, 18.5).mask)
    tight = CellCrop.on_black(np.ascontiguousarray(image[y : y + h, x : x + w]), 18.5)
    whole = framed(tight, contract())
    assert whole.shape == (450, 450, 3)
    top, left = (450 - h) // 2, (450 - w) // 2
    np.testing.assert_array_equal(whole[top : top + h, left : left + w], tight.pixels)
    assert int(whole.sum()) == int(tight.pixels.sum())
    # Half the scale, and the cell is as large in the picture all the same.
    half = CellCrop.on_black(cv2.resize(tight.pixels, (w // 2, h // 2)), 9.25)  # type: ignore[arg-type]
    sizes = [
        cv2.boundingRect(CellCrop.on_black(framed(of, contract()), 1.0).mask)[2:] for of in (tight, half)
    ]
    assert sizes[1] == pytest.approx(sizes[0], abs=3)


def test_a_box_is_stretched() -> None:
    crop = CellCrop.on_black(picture(), 18.5, whole=True)
    x, y, w, h = cv2.boundingRect(crop.mask)
    tensor = to_tensor(crop, contract(framing="box", picture_px=None))
    np.testing.assert_array_equal(tensor, resized(crop.pixels[y : y + h, x : x + w], (64, 64), "bilinear"))


def field_with_cell(x: int, y: int) -> tuple[npt.NDArray[np.uint8], Cell]:
    field = np.random.default_rng(4).integers(90, 200, (120, 160, 3), dtype=np.uint8)
    return field, Cell(Box(x, y, 20, 24), np.full((24, 20), 255, np.uint8))


@pytest.mark.parametrize("place", [(60, 50), (0, 0), (139, 95)])
def test_surroundings_come_from_the_field(place: tuple[int, int]) -> None:
    field, cell = field_with_cell(*place)
    crop = crop_with_surroundings(field, cell, 10.0, (6.0, 8.0))
    assert crop.pixels.shape == (60, 80, 3)
    ys, xs = np.nonzero(crop.mask)
    np.testing.assert_array_equal(
        crop.pixels[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1], field[cell.box.slices]
    )
    alone = crop_cell(field, cell, 10.0)
    assert np.count_nonzero(crop.mask) == np.count_nonzero(alone.mask)
    kept = contract(surroundings="kept", crop_px_per_um=10.0, picture_px=(60, 80), height=60, width=80)
    np.testing.assert_array_equal(to_tensor(crop, kept), crop.pixels)
    black = to_tensor(crop, contract(crop_px_per_um=10.0, picture_px=(60, 80), height=60, width=80))
    assert 0 < np.count_nonzero(black.any(axis=2)) <= np.count_nonzero(crop.mask)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a scale for two": ({"scale": (1.0, 1.0)}, "one scale for each of 3 channels, got 2"),
    "an offset for four": ({"offset": (1.0,) * 4}, "one offset for each of 3 channels, got 4"),
    "halved pictures": ({"resize": "halve-exact"}, "halve-exact of centred cells alone"),
    "bilinear cells": ({"framing": "centred", "picture_px": None}, "halve-exact of centred cells alone"),
    "normalised pictures": ({"normalise": True}, "without masks, normalise or rim_um"),
    "a rim": ({"rim_um": 0.5}, "without masks, normalise or rim_um"),
    "masks": ({"channels": ("red", "green", "mask")}, "without masks"),
    "no size": ({"picture_px": None}, "picture_px of whole pictures alone, got None"),
    "a box of a size": ({"framing": "box"}, "picture_px of whole pictures alone"),
    "a tiny picture": ({"picture_px": (4, 450)}, "picture_px from 8 to 4096"),
    "centred, kept": (
        {"framing": "centred", "picture_px": None, "resize": "halve-exact", "surroundings": "kept"},
        "black surroundings of centred cells",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_contracts_that_contradict_themselves(case: str) -> None:
    settings, sentence = REFUSED[case]
    with pytest.raises(ValueError, match=sentence):
        contract(**settings)


def test_several_classes_may_be_positive() -> None:
    labels = ("Benign", "Early", "Pre", "Pro")
    output = OutputContract(kind="logits", labels=labels, positive=("Early", "Pre", "Pro"))
    assert output.positive_label == "Early or Pre or Pro"
    assert output.negative_label == "Benign"
    logits = np.log([[0.4, 0.3, 0.2, 0.1]])
    assert log_odds(logits, output) == pytest.approx(np.log(0.6 / 0.4))
    as_softmax = OutputContract(kind="softmax", labels=labels, positive=("Early", "Pre", "Pro"))
    assert log_odds(np.exp(logits), as_softmax) == pytest.approx(np.log(0.6 / 0.4))
    for positive in ((), labels, ("Late",)):
        with pytest.raises(ValueError, match="expected positive as one of"):
            OutputContract(kind="logits", labels=labels, positive=positive)


def test_sigmoids_of_each_class_count_by_their_shares() -> None:
    """So that what is larger wins, as whoever trained the network takes it."""
    sigmoids = OutputContract(kind="sigmoids", labels=("blast", "normal"), positive="blast")
    shares = OutputContract(kind="softmax", labels=("blast", "normal"), positive="blast")
    logits = np.array([[1.0, -2.0], [0.3, 0.2], [-3.0, -2.0], [40.0, 30.0]])
    probabilities = 1 / (1 + np.exp(-logits))
    found = log_odds(logits, sigmoids)
    assert found == pytest.approx(log_odds(probabilities, shares))
    assert ((found > 0) == (logits[:, 0] > logits[:, 1]))[:3].all()
