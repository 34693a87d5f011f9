"""Laws of affine quantization."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleuk.inference.quantization import Affine, byte_table, dequantize, integer_range, quantize

DTYPES = st.sampled_from(["int8", "uint8", "int16"])


@st.composite
def affines(draw: st.DrawFn) -> Affine:
    dtype = draw(DTYPES)
    low, high = integer_range(dtype)
    return Affine(draw(st.floats(1e-4, 1e3)), draw(st.integers(low, high)), dtype)


@given(affines(), st.data())
def test_every_quantized_value_survives_the_round_trip(affine: Affine, data: st.DataObject) -> None:
    low, high = integer_range(affine.dtype)
    value = data.draw(st.integers(low, high))
    assert quantize(dequantize([value], affine), affine).tolist() == [value]


@given(affines(), st.floats(-1, 1))
def test_error_is_at_most_half_a_step_inside_the_range(affine: Affine, share: float) -> None:
    low, high = integer_range(affine.dtype)
    span = (low - affine.zero_point if share < 0 else high - affine.zero_point) * affine.scale
    real = abs(share) * span
    assert abs(float(dequantize(quantize([real], affine), affine)[0]) - real) <= affine.scale * 0.5001


@given(affines(), st.lists(st.floats(-1e6, 1e6), min_size=2))
def test_order_is_kept(affine: Affine, reals: list[float]) -> None:
    quantized = quantize(sorted(reals), affine).astype(int)
    assert (np.diff(quantized) >= 0).all()


@pytest.mark.parametrize(
    ("dtype", "low", "high"), [("int8", -128, 127), ("uint8", 0, 255), ("int16", -32768, 32767)]
)
def test_ranges(dtype: str, low: int, high: int) -> None:
    assert integer_range(dtype) == (low, high)
    assert quantize([-1e9, 1e9], Affine(1.0, 0, dtype)).tolist() == [low, high]


def test_image_bytes_become_int8_by_flipping_the_top_bit() -> None:
    table = byte_table(Affine(1.0, -128), scale=1.0, offset=0.0)
    assert np.array_equal(table, (np.arange(256, dtype=np.uint8) ^ 0x80).view(np.int8))


def test_the_same_image_scaled_to_unit_range_gives_the_same_table() -> None:
    unit = byte_table(Affine(1 / 255, -128), scale=1 / 255, offset=0.0)
    assert np.array_equal(unit, byte_table(Affine(1.0, -128), scale=1.0, offset=0.0))


@pytest.mark.parametrize(("scale", "offset"), [(1 / 127.5, -1.0), (1.0, -127.5), (2.0, -255.0)])
@pytest.mark.parametrize("zero_point", [-1, 0])
def test_bytes_keep_apart_where_zero_lies_between_two_of_them(
    scale: float, offset: float, zero_point: int
) -> None:
    # As the converter stores it.
    stored = float(np.float32(scale))
    table = byte_table(Affine(stored, zero_point), scale=scale, offset=offset).astype(int)
    assert (np.diff(table) == 1).all()


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_no_scale_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="finite scale above 0"):
        Affine(scale, 0)


def test_a_zero_point_outside_the_range_is_refused() -> None:
    with pytest.raises(ValueError, match="zero point from -128 to 127, got 200"):
        Affine(1.0, 200)
