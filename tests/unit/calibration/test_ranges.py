"""The checks of calibrated ranges: what they count, and that memory does not grow with the set."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleuk.errors import DataRefusedError
from edgeleuk.inference.quantization import Affine
from edgeleuk_calibration.ranges import check_ranges, ranges_text, real_range
from edgeleuk_calibration.size_curve import SizeResult, curve_text, recommendation, recommended

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

UNIT = Affine(1 / 255, -128)  # 0 to 1


def images(*values: list[float]) -> list[tuple[str, dict[str, Floats]]]:
    return [(f"image {n}", {"t": np.array(of, np.float32)}) for n, of in enumerate(values)]


FOUR = images([0, 0.4], [0.1, 1.0], [0.2, 0.5], [0.0, 0.3])


def test_what_lies_outside_is_counted() -> None:
    (of,) = check_ranges({"t": UNIT}, FOUR, images([0.5, 2.0, -1.0, 1.001], [0.2, 0.3, 0.4, 0.5])).tensors
    assert (of.low, of.high) == (0, pytest.approx(1))
    assert of.outside == 2 / 8  # 1.001 is less than half a step beyond
    assert of.furthest == pytest.approx(1.0)


def test_the_images_that_set_an_end_are_named() -> None:
    checks = check_ranges({"t": UNIT}, FOUR, images([0.5]))
    (of,) = checks.tensors
    assert (of.highest_image, of.highest_alone) == ("image 1", pytest.approx(0.5))
    # Two images reach the low end: nobody sets it alone.
    assert of.lowest_alone == 0
    assert [(one.image, one.lowest_of, one.highest_of) for one in checks.extremes] == [
        ("image 1", (), ("t",))
    ]


def test_halves_are_compared() -> None:
    # Images 0 and 2 span 0 to 0.5, images 1 and 3 span 0 to 1.
    (of,) = check_ranges({"t": UNIT}, FOUR, images([0.5])).tensors
    assert of.stability == pytest.approx(0.5)
    (flat,) = check_ranges({"t": UNIT}, images([1], [1], [1], [1]), images([1])).tensors
    assert flat.stability == 1


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=20, max_size=60), st.integers(1, 5))
def test_percentiles_are_within_their_bins_and_images_do_not_matter(values: list[float], cuts: int) -> None:
    whole = np.array(values, np.float32)
    parts = [part.tolist() for part in np.array_split(whole, cuts) if len(part)]
    one, many = (check_ranges({"t": UNIT}, FOUR, images(*of)).tensors[0] for of in ([values], parts))
    assert one == many
    low, high = np.sort(whole)[0], np.sort(whole)[-1]
    assert one.held_out_low == pytest.approx(float(low), rel=0.011, abs=1e-5)
    assert one.held_out_high == pytest.approx(float(high), rel=0.011, abs=1e-5)


def test_a_range_that_covers_everything_leaves_nothing_outside() -> None:
    rng = np.random.default_rng(0)
    values = [rng.normal(0, 3, 50).tolist() for _ in range(6)]
    low, high = min(map(min, values)), max(map(max, values))
    scale = (high - low) / 255
    affine = Affine(scale, round(-128 - low / scale))
    (of,) = check_ranges({"t": affine}, images(*values), images(*values)).tensors
    assert of.outside == 0
    assert of.furthest < 1 / 255
    assert real_range(affine) == (of.low, of.high)


def stream(count: int) -> Iterator[tuple[str, dict[str, Floats]]]:
    rng = np.random.default_rng(1)
    for n in range(count):
        yield f"image {n}", {f"tensor {k}": rng.normal(size=(40, 40, 8)).astype(np.float32) for k in range(4)}


def peak(count: int) -> int:
    ranges = {f"tensor {k}": Affine(1 / 32, 0) for k in range(4)}
    tracemalloc.start()
    check_ranges(ranges, stream(count), stream(count))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


def test_memory_does_not_grow_with_the_set() -> None:
    peak(4)
    # 200 kB for each image, were they kept.
    assert peak(84) - peak(4) < 50_000


def test_too_little_is_refused() -> None:
    with pytest.raises(DataRefusedError, match="got 3, allowed 4 or more"):
        check_ranges({"t": UNIT}, FOUR[:3], FOUR)
    with pytest.raises(DataRefusedError, match="no held-out image"):
        check_ranges({"t": UNIT}, FOUR, [])
    with pytest.raises(DataRefusedError, match="no tensor of the float network"):
        check_ranges({}, FOUR, FOUR)


def test_the_text_names_the_worst() -> None:
    checks = check_ranges({"t": UNIT}, FOUR, images([0.5, 2.0]), unmatched=("pool (int8)",))
    text = ranges_text(checks)
    assert "50.0000%  t" in text
    assert "1  image 1" in text
    assert "without a counterpart: pool (int8)" in text
    assert checks.to_json()["outside_worst"] == 0.5


def size(images: int, drop: float) -> SizeResult:
    return SizeResult(
        asked=images,
        images=images,
        weighted_f1=0.8 - drop,
        weighted_f1_drop=drop,
        max_logit_difference=0.5,
        mean_logit_difference=0.1,
        flips=3,
    )


def test_the_smallest_set_that_does_as_the_largest_is_recommended() -> None:
    curve = [size(500, 0.001), size(25, 0.001), size(50, 0.009), size(100, 0.003), size(200, -0.001)]
    # 25 does as 500 by luck: 50 does not.
    assert recommended(curve).images == 100
    assert recommendation(curve).startswith("100 images are enough")
    assert curve_text(curve).splitlines()[1].split()[0] == "25"
    assert recommendation([size(25, 0.02), size(50, 0.001)]).startswith("use 50 images, or more")
