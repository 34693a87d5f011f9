"""Is a field worth judging: focus, motion, exposure, white balance, and whether anything is there.

Every figure is a ratio within one picture, so that neither the contrast of a stain nor the number of cells
nor the lamp moves it, and each is measured at about 640 pixels across, so that a camera of five megapixels
takes the same path.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from statistics import NormalDist
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeleuk.frames import require_rgb
from edgeleuk.vision.reducing import green_of, percentiles, thinned
from edgeleuk.vision.stain import background_colour

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeleuk.frames import RgbImage

    Bytes = npt.NDArray[np.uint8]
    Doubles = npt.NDArray[np.float64]

# Detail is measured in a picture of about so many pixels on its longest side, the rest in a quarter of it.
_LONGEST_SIDE = 640
_COARSER = 4
# A field is wider than that; a picture of one cell is not.
_LEAST_FIELD_SIDE = 160
# Of a camera's 255 levels.
BLACK_LEVEL = 8
_CLIPPED = 254
_WHITE = 240
_CRUSHED = 2
_LIT = 60
# Glass at least this bright in red and green may be clipped there, and then its colour is not known.
_SATURATED_GLASS = 248.0
# Of the field's width: what is narrower and darker than its surroundings is an object, and no shading.
_OBJECT_SHARE = 0.19
_OBJECT_DEPTH = 0.1
_GLASS_LEVEL = 0.85
# Cubes favour edges over grain; higher powers would leave the verdict to a few pixels.
_POWER = 3
# Levels: less is a sensor's grain, or the seams between the squares of a JPEG, and no edge.
_SEAMS = 4
# Grain is read from the flattest part of a picture, where there is little else.
_FLATTEST = 0.12
_SURELY = 0.9999
# A margin for how well grain is known.
_GRAIN_MARGIN = 1.15
# Detail of less than half a level is none.
_LEAST_DETAIL = 0.5


class QualityFault(str, Enum):
    """Why a frame is rejected; the words are those of the session and its summary."""

    UNDEREXPOSED = "underexposed"
    OVEREXPOSED = "overexposed"
    WHITE_BALANCE = "white balance"
    EMPTY = "empty field"
    TOO_THICK = "too thick"
    MOTION = "motion blur"
    FOCUS = "out of focus"


# On a stage that stands, a blur of either name is a matter of the focus.
BLURS = (QualityFault.FOCUS, QualityFault.MOTION)


@dataclass(frozen=True, slots=True)
class FieldQuality:
    """What was measured of one field.

    Attributes
    ----------
    sharpness : float
        Second differences over 4 px of a picture 640 px across, relative to those over 8 px of the same
        edges, mean over four directions; of edges alone, for what is slight and what a sensor's grain adds
        is left out. Below 0.29 where a blur hides the finest detail, 0.32 to 0.6 in focus. A ratio of two
        scales, as in Zhuo and Sim, "Defocus map estimation from a single image", Pattern Recognition 44
        (2011).
    least_sharpness, most_sharpness : float
        The same in the direction in which it is least, which a moving stage blurs, and in which it is most.
    evenness : float
        Detail over 8 px of the direction that has least, relative to the one that has most, 0 to 1.
    glass : tuple of 3 floats
        Level of the empty glass, RGB, 0 to 255: the exposure.
    clipped_share : float
        Share of the pixels that are nearly white and clipped in a channel.
    crushed_share : float
        Share of the pixels that are black in two channels and not in the third.
    red_cast, blue_cast : float
        Natural logarithm of the glass's red and blue relative to its green, 0 for neutral light.
    object_share : float
        Share of the field that is darker than the glass around it, cells and platelets alike.
    glass_share : float
        Share of the field that is as bright as glass.
    """

    sharpness: float
    least_sharpness: float
    most_sharpness: float
    evenness: float
    glass: tuple[float, float, float]
    clipped_share: float
    crushed_share: float
    red_cast: float
    blue_cast: float
    object_share: float
    glass_share: float


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """What a field may be; see `FieldQuality` for the figures.

    Attributes
    ----------
    sharpness, least_sharpness : float
        Least of each. Sharp fields of BCCD and of the virtual slide lie above, with as much grain as 3 levels
        and as JPEGs of quality 50; blurred ones below.
    evenness, evenness_to_sharpness : float
        A blur is called a motion below the one, and below the other times `most_sharpness`: it spares one
        direction, and spoils the others down to coarse detail. Else it is called a lack of focus.
    dark_glass : float
        Least level of the glass in its brightest channel.
    clipped_share, crushed_share : float
        Most of each.
    red_cast, blue_cast : tuple of 2 floats
        From, to. Wide enough for purple grounds and warm lamps, as density relative to the glass takes
        casts out; narrow enough that no channel is lost.
    saturated_blue_cast : float
        The least blue of glass that clips in red and green, as yellow grounds do.
    object_share : float
        Least: the smallest white cell in the widest field covers more.
    glass_share : float
        Least: where no glass is seen between cells, they lie over each other.
    """

    sharpness: float = 0.305
    least_sharpness: float = 0.23
    evenness: float = 0.52
    evenness_to_sharpness: float = 2.2
    dark_glass: float = 110.0
    clipped_share: float = 0.1
    crushed_share: float = 0.005
    red_cast: tuple[float, float] = (-0.13, 0.19)
    blue_cast: tuple[float, float] = (-0.25, 0.12)
    saturated_blue_cast: float = -0.75
    object_share: float = 0.0005
    glass_share: float = 0.05


_LIMITS = QualityLimits()


def measure_quality(pixels: RgbImage) -> FieldQuality:
    """Measure one field.

    Parameters
    ----------
    pixels : (H, W, 3) uint8, RGB

    Returns
    -------
    FieldQuality
    """
    require_rgb(pixels)
    green, coarse, colours = _reduced(pixels)
    fine = _detail(np.asarray(cv2.GaussianBlur(green, (3, 3), 0), np.uint8), 2)
    middling = _detail(coarse, 1)
    ratios = fine / np.maximum(middling, _LEAST_DETAIL)
    glass = background_colour(colours)
    red, green_level, blue = (float(level) for level in glass)
    darkest, middle, brightest = _ordered(colours)
    return FieldQuality(
        sharpness=float(ratios.mean()),
        least_sharpness=float(ratios.min()),
        most_sharpness=float(ratios.max()),
        evenness=_evenness(middling),
        glass=(red, green_level, blue),
        clipped_share=float(np.mean((brightest >= _CLIPPED) & (darkest >= _WHITE))),
        crushed_share=float(np.mean((middle <= _CRUSHED) & (brightest > 2 * BLACK_LEVEL))),
        red_cast=math.log(red / green_level),
        blue_cast=math.log(blue / green_level),
        object_share=_object_share(coarse),
        glass_share=float(np.mean(coarse >= _GLASS_LEVEL * percentiles(coarse, [98])[0])),
    )


def fault_of(quality: FieldQuality, limits: QualityLimits = _LIMITS) -> QualityFault | None:
    """Return the first reason not to judge a field, or None.

    Light is judged first, because it spoils all other figures. A field in which nothing is darker than the
    glass has neither a focus nor a fault of the camera: it is counted as empty, never as out of focus. Red
    cells or a few platelets are something, and such a field passes without white cells. A blur so wide that
    nothing stands out any more cannot be told from an empty field, and is called one. A motion blurs
    one direction more than the others, coarse detail too, or it is called a lack of focus.

    Examples
    --------
    >>> import numpy as np
    >>> fault_of(measure_quality(np.full((480, 640, 3), 200, np.uint8)))
    <QualityFault.EMPTY: 'empty field'>
    """
    red_low, red_high = limits.red_cast
    blue_low, blue_high = limits.blue_cast
    saturated = min(quality.glass[:2]) >= _SATURATED_GLASS
    if saturated:
        blue_low = limits.saturated_blue_cast
    blurred = quality.sharpness < limits.sharpness or quality.least_sharpness < limits.least_sharpness
    most_even = min(limits.evenness, limits.evenness_to_sharpness * quality.most_sharpness)
    faults = (
        (QualityFault.UNDEREXPOSED, max(quality.glass) < limits.dark_glass),
        (QualityFault.UNDEREXPOSED, quality.crushed_share > limits.crushed_share),
        (QualityFault.OVEREXPOSED, quality.clipped_share > limits.clipped_share),
        (QualityFault.WHITE_BALANCE, not red_low <= quality.red_cast <= red_high),
        (QualityFault.WHITE_BALANCE, not blue_low <= quality.blue_cast <= blue_high),
        (QualityFault.EMPTY, quality.object_share < limits.object_share),
        (QualityFault.TOO_THICK, quality.glass_share < limits.glass_share),
        (QualityFault.MOTION, blurred and quality.evenness < most_even),
        (QualityFault.FOCUS, blurred),
    )
    return next((fault for fault, found in faults if found), None)


def quality_check(pixels: RgbImage) -> str | None:
    """Return the reason to reject a frame, or None: what `edgeleuk.pipeline.run.Engine` asks.

    Pictures that are no fields pass: a cell cut out on black, and what is narrower than 160 pixels.

    Parameters
    ----------
    pixels : (H, W, 3) uint8, RGB

    Returns
    -------
    str or None
        One of `QualityFault`'s words.
    """
    require_rgb(pixels)
    if min(pixels.shape[:2]) < _LEAST_FIELD_SIDE or is_cell_on_black(pixels, black=BLACK_LEVEL):
        return None
    fault = fault_of(measure_quality(pixels))
    return None if fault is None else fault.value


def is_cell_on_black(pixels: RgbImage, *, black: int = 0) -> bool:
    """Whether a picture is one cell cut out on black, as C-NMC has them: its rim is black, and more is lit.

    Parameters
    ----------
    pixels : (H, W, 3) uint8, RGB
    black : int
        The brightest level that counts as black: 0 in files, more where noise or a JPEG lies over it.

    Examples
    --------
    >>> import numpy as np
    >>> cell = np.zeros((32, 32, 3), np.uint8)
    >>> cell[4:28, 4:28] = 120
    >>> is_cell_on_black(cell), is_cell_on_black(cell[4:28, 4:28]), is_cell_on_black(0 * cell)
    (True, False, False)
    """
    rim = (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
    dark = sum(int(np.count_nonzero(line.max(axis=1) <= black)) for line in rim)
    # Single bright pixels are a sensor's noise: a few of them are looked at, and fewer in a small picture.
    step = min(8, max(1, min(pixels.shape[:2]) // 16))
    return dark > 0.5 * sum(len(line) for line in rim) and bool((pixels[::step, ::step] > _LIT).any())


def _reduced(pixels: RgbImage) -> tuple[Bytes, Bytes, RgbImage]:
    """Green at about 640 px across, green at 160, and sampled colours, which no averaging has unclipped."""
    height, width = pixels.shape[:2]
    step = max(1, round(max(height, width) / _LONGEST_SIDE))
    green = green_of(pixels)
    if step > 1:
        size = (max(1, width // step), max(1, height // step))
        green = np.asarray(cv2.resize(green, size, interpolation=cv2.INTER_AREA), np.uint8)
    size = (max(1, green.shape[1] // _COARSER), max(1, green.shape[0] // _COARSER))
    coarse = np.asarray(cv2.resize(green, size, interpolation=cv2.INTER_AREA), np.uint8)
    stride = step * _COARSER
    return green, coarse, thinned(pixels, stride)


def _ordered(colours: RgbImage) -> tuple[Bytes, Bytes, Bytes]:
    """Least, middle and greatest channel of each pixel, (H, W) uint8 each."""
    red, green, blue = (np.asarray(plane, np.uint8) for plane in cv2.split(colours))
    low, high = np.minimum(red, green), np.maximum(red, green)
    return np.minimum(low, blue), np.maximum(low, np.minimum(high, blue)), np.maximum(high, blue)


# Along rows, columns and both diagonals: (down, right).
_DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))
# A diagonal's ends are further apart: an edge changes so much more over them.
_DIAGONAL = np.array([1.0, 1.0, 0.75, 0.75])
_CUBES = np.maximum(np.arange(256.0) - _SEAMS, 0.0) ** _POWER


def _detail(plane: Bytes, reach: int) -> Doubles:
    """Cubic mean of the second differences in four directions, without grain: (4,) float64."""
    sums = []
    height, width = plane.shape
    # Wider by as much as the ends reach, so that these are cut out of it: a filter takes half as long again.
    wider = cv2.copyMakeBorder(plane, reach, reach, reach, reach, cv2.BORDER_REFLECT_101)
    wider = np.asarray(wider, np.int16)
    twice = 2 * wider[reach : reach + height, reach : reach + width]
    for down, right in _DIRECTIONS:
        ends = (
            wider[reach + y : reach + y + height, reach + x : reach + x + width]
            for y, x in ((down * reach, right * reach), (-down * reach, -right * reach))
        )
        change = cv2.convertScaleAbs(sum(ends) - twice)
        counts = np.asarray(cv2.calcHist([change], [0], None, [256], [0, 256]).ravel(), np.float64)
        grain = _GRAIN_MARGIN * _cube_of_grain(_deviation(counts))
        sums.append(max(float(counts @ _CUBES) / plane.size - grain, 0.0))
    return np.array(sums) ** (1 / _POWER)


def _cube_of_grain(deviation: float) -> float:
    """Mean of `_CUBES` over normally distributed differences: a partial moment of the normal distribution."""
    t = _SEAMS / deviation
    density = math.exp(-t * t / 2) / math.sqrt(2 * math.pi)
    beyond = math.erfc(t / math.sqrt(2)) / 2
    return 2 * deviation**3 * ((t * t + 2) * density - (t**3 + 3 * t) * beyond)


def _deviation(counts: Doubles) -> float:
    """Return the standard deviation of the normal distribution that has as many small values as these counts.

    Parameters
    ----------
    counts : (256,) float64
        Of the absolute values 0, 1, ..., each of which stands for half a level more and less.
    """
    shares = np.cumsum(counts) / max(float(counts.sum()), 1.0)
    most = int(np.searchsorted(shares, _FLATTEST))
    share = min(float(shares[most]), _SURELY)
    return (most + 0.5) / NormalDist().inv_cdf(0.5 + share / 2)


def _evenness(detail: Doubles) -> float:
    """Least direction's share of the greatest's."""
    fair = detail * _DIAGONAL
    return float(fair.min() / max(float(fair.max()), 1e-6))


def _object_share(coarse: Bytes) -> float:
    """Share of what a closing fills: narrow and dark things, not the slow fall of light to the corners."""
    side = round(_OBJECT_SHARE * max(coarse.shape)) | 1
    surroundings = cv2.morphologyEx(coarse, cv2.MORPH_CLOSE, np.ones((side, side), np.uint8))
    return float(np.mean(coarse < (1 - _OBJECT_DEPTH) * surroundings))
