"""Check the ranges that an int8 network was calibrated to against what it meets.

Three questions of every tensor: which share of the activations of held-out images lies outside its range; do
two halves of the calibration set give the same range; and which images alone set an end of it. One image is
looked at after the other, and what is kept does not grow with their number.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeleuk.errors import DataRefusedError
from edgeleuk.inference.quantization import integer_range

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt

    from edgeleuk.inference.quantization import Affine

    Floats = npt.NDArray[np.float32]
    # The name of an image, and what it gave in each tensor of the float network.
    Observed = tuple[str, Mapping[str, Floats]]

LEAST_HALF = 2
# Relative width of the percentiles' bins, and what counts as 0.
_GROWTH = 1.02
_LEAST, _BINS = 1e-6, 1500
PERCENTILES = (0.1, 99.9)
TOLD = 5


@dataclass(frozen=True, slots=True)
class TensorRanges:
    """One tensor.

    Attributes
    ----------
    tensor : str
    low, high : float
        What int8 can hold: its calibrated range.
    outside : float
        Share of the held-out activations more than half a step outside of it: those saturate.
    furthest : float
        How far the furthest held-out activation lies outside, as a share of the range's width; 0 inside.
    held_out_low, held_out_high : float
        0.1th and 99.9th percentile of the held-out activations, within 1 %.
    stability : float
        What the ranges of two halves of the calibration set have in common, of what both span: 1 where they
        are the same.
    lowest_image, highest_image : str
        The calibration images that set the ends.
    lowest_alone, highest_alone : float
        By which share of the width the range would shrink without that image.
    """

    tensor: str
    low: float
    high: float
    outside: float
    furthest: float
    held_out_low: float
    held_out_high: float
    stability: float
    lowest_image: str
    highest_image: str
    lowest_alone: float
    highest_alone: float


@dataclass(frozen=True, slots=True)
class ExtremeImage:
    """A calibration image, and the tensors of which it sets an end."""

    image: str
    lowest_of: tuple[str, ...]
    highest_of: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RangeChecks:
    """Every tensor in the network's order, and the images that set ends, those of most tensors first.

    Attributes
    ----------
    tensors : tuple of TensorRanges
    extremes : tuple of ExtremeImage
    calibration_images, held_out_images : int
    unmatched : tuple of str
        Tensors of one network for which the other has none.
    """

    tensors: tuple[TensorRanges, ...]
    extremes: tuple[ExtremeImage, ...]
    calibration_images: int
    held_out_images: int
    unmatched: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what ``ranges.json`` holds."""
        return {
            "schema_version": 1,
            "calibration_images": self.calibration_images,
            "held_out_images": self.held_out_images,
            "outside_mean": float(np.mean([tensor.outside for tensor in self.tensors])),
            "outside_worst": max(tensor.outside for tensor in self.tensors),
            "stability_worst": min(tensor.stability for tensor in self.tensors),
            "unmatched": list(self.unmatched),
            "tensors": [asdict(tensor) for tensor in self.tensors],
            "extremes": [asdict(image) for image in self.extremes],
        }


def check_ranges(
    ranges: Mapping[str, Affine],
    calibration: Iterable[Observed],
    held_out: Iterable[Observed],
    *,
    unmatched: tuple[str, ...] = (),
) -> RangeChecks:
    """Look at every image once.

    Parameters
    ----------
    ranges : mapping of tensor to Affine
        How the int8 network quantizes each activation.
    calibration, held_out : iterable of (str, mapping of tensor to ndarray of float)
        Activations of the float network for one image after the other. Of calibration images, those at even
        places make one half and those at odd places the other.
    unmatched : tuple of str
        To be told in the result.

    Raises
    ------
    DataRefusedError
        Fewer than four calibration images, no held-out one, or no tensor.
    """
    if not ranges:
        raise DataRefusedError("no tensor of the float network has a counterpart in the int8 network")
    ends = {tensor: _Ends() for tensor in ranges}
    calibrated = 0
    for image, activations in calibration:
        for tensor, of in ends.items():
            of.see(image, activations[tensor], half=calibrated % 2)
        calibrated += 1
    if calibrated < 2 * LEAST_HALF:
        raise DataRefusedError(
            "too few calibration images to compare two halves of", got=calibrated, allowed="4 or more"
        )
    coverage = {tensor: _Coverage(affine) for tensor, affine in ranges.items()}
    held = 0
    for _, activations in held_out:
        for tensor, seen in coverage.items():
            seen.see(activations[tensor])
        held += 1
    if held == 0:
        raise DataRefusedError("there is no held-out image to check the calibrated ranges with")
    tensors = tuple(_ranges_of(tensor, ends[tensor], coverage[tensor]) for tensor in ranges)
    return RangeChecks(tensors, _extremes(tensors), calibrated, held, unmatched)


def ranges_text(checks: RangeChecks) -> str:
    """Say what the checks found: the worst tensors and the images that set most ends."""
    worst = sorted(checks.tensors, key=lambda tensor: -tensor.outside)[:TOLD]
    shaky = sorted(checks.tensors, key=lambda tensor: tensor.stability)[:TOLD]
    mean = float(np.mean([tensor.outside for tensor in checks.tensors]))
    lines = [
        f"{len(checks.tensors)} tensors, ranges of {checks.calibration_images} calibration images,"
        f" {checks.held_out_images} held-out images",
        f"held-out activations outside the calibrated range: {mean:.4%} on average; the most:",
        *(f"  {tensor.outside:9.4%}  {tensor.tensor}" for tensor in worst),
        "what two halves of the set agree on, of each tensor's range; the least:",
        *(f"  {tensor.stability:9.1%}  {tensor.tensor}" for tensor in shaky),
        "images that set an end of the most tensors:",
        *(f"  {len(one.lowest_of) + len(one.highest_of):9}  {one.image}" for one in checks.extremes[:TOLD]),
    ]
    if checks.unmatched:
        lines.append(f"without a counterpart: {', '.join(checks.unmatched)}")
    return "\n".join(lines)


def real_range(affine: Affine) -> tuple[float, float]:
    """Return the least and the greatest real number that a quantization holds.

    Examples
    --------
    >>> from edgeleuk.inference.quantization import Affine
    >>> real_range(Affine(0.5, -128))
    (0.0, 127.5)
    """
    low, high = integer_range(affine.dtype)
    return affine.scale * (low - affine.zero_point), affine.scale * (high - affine.zero_point)


class _Ends:
    """The ends of one tensor over the calibration images: of both halves, and who set them."""

    def __init__(self) -> None:
        self.halves = [[np.inf, -np.inf], [np.inf, -np.inf]]
        # The lowest value and image, and the lowest of the other images; the same for the highest.
        self.lowest, self.lowest_image, self.lowest_of_others = np.inf, "", np.inf
        self.highest, self.highest_image, self.highest_of_others = -np.inf, "", -np.inf

    def see(self, image: str, values: Floats, *, half: int) -> None:
        low, high = float(values.min()), float(values.max())
        ends = self.halves[half]
        ends[0], ends[1] = min(ends[0], low), max(ends[1], high)
        if low < self.lowest:
            self.lowest, self.lowest_image, self.lowest_of_others = low, image, self.lowest
        else:
            self.lowest_of_others = min(self.lowest_of_others, low)
        if high > self.highest:
            self.highest, self.highest_image, self.highest_of_others = high, image, self.highest
        else:
            self.highest_of_others = max(self.highest_of_others, high)

    @property
    def stability(self) -> float:
        (low, high), (other_low, other_high) = self.halves
        span = max(high, other_high) - min(low, other_low)
        shared = min(high, other_high) - max(low, other_low)
        return max(shared, 0.0) / span if span > 0 else 1.0


class _Coverage:
    """Held-out activations of one tensor against its range, their percentiles in bins that grow by 2 %."""

    def __init__(self, affine: Affine) -> None:
        self.low, self.high = real_range(affine)
        self._half_step = affine.scale / 2
        self._counts = np.zeros(2 * _BINS + 1, np.int64)
        self._outside = self._seen = 0
        self._least, self._greatest = np.inf, -np.inf

    def see(self, values: Floats) -> None:
        self._seen += values.size
        self._outside += int(np.count_nonzero(values < self.low - self._half_step))
        self._outside += int(np.count_nonzero(values > self.high + self._half_step))
        self._least = min(self._least, float(values.min()))
        self._greatest = max(self._greatest, float(values.max()))
        size = np.maximum(np.abs(values.ravel()), _LEAST) / _LEAST
        bins = np.minimum(np.log(size) / np.log(_GROWTH), _BINS).astype(np.int64)
        signed = np.where(values.ravel() < 0, -bins, bins) + _BINS
        self._counts += np.bincount(signed, minlength=len(self._counts))

    @property
    def outside(self) -> float:
        return self._outside / self._seen

    @property
    def furthest(self) -> float:
        beyond = max(self.low - self._least, self._greatest - self.high, 0.0)
        return beyond / (self.high - self.low)

    def percentile(self, percent: float) -> float:
        reached = np.cumsum(self._counts)
        number = int(np.searchsorted(reached, max(1, np.ceil(percent / 100 * self._seen)))) - _BINS
        if number == 0:
            return 0.0
        return float(np.sign(number) * _LEAST * _GROWTH ** (abs(number) + 0.5))


def _ranges_of(tensor: str, ends: _Ends, coverage: _Coverage) -> TensorRanges:
    width = coverage.high - coverage.low
    low, high = (coverage.percentile(percent) for percent in PERCENTILES)
    return TensorRanges(
        tensor=tensor,
        low=coverage.low,
        high=coverage.high,
        outside=coverage.outside,
        furthest=coverage.furthest,
        held_out_low=low,
        held_out_high=high,
        stability=ends.stability,
        lowest_image=ends.lowest_image,
        highest_image=ends.highest_image,
        lowest_alone=(ends.lowest_of_others - ends.lowest) / width,
        highest_alone=(ends.highest - ends.highest_of_others) / width,
    )


def _extremes(tensors: Iterable[TensorRanges]) -> tuple[ExtremeImage, ...]:
    """Turn tensors' extreme images round; an end that several images reach is nobody's."""
    of_image: dict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for one in tensors:
        if one.lowest_alone > 0:
            of_image[one.lowest_image][0].append(one.tensor)
        if one.highest_alone > 0:
            of_image[one.highest_image][1].append(one.tensor)
    ranked = sorted(of_image.items(), key=lambda item: (-len(item[1][0]) - len(item[1][1]), item[0]))
    return tuple(ExtremeImage(image, tuple(lowest), tuple(highest)) for image, (lowest, highest) in ranked)
