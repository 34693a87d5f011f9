"""What is wrong with a camera's stream, as one picture after the other tells it.

A microscope's live picture fails without a word: the driver repeats its last buffer, the lamp is off, a
converter hands out BGR for RGB, the camera comes back with another resolution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from edgeleuk.vision.quality import BLACK_LEVEL, is_cell_on_black
from edgeleuk.vision.reducing import percentiles, thinned
from edgeleuk.vision.stain import background_colour, optical_density

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeleuk.frames import RgbImage

    Bytes = npt.NDArray[np.uint8]

BLACK = "black picture"
MONOCHROME = "monochrome picture"
FROZEN = "frozen picture"
SWAPPED = "red and blue swapped"
# These are rejected even where the quality check is off: there is nothing to be judged in them.
OF_THE_LIGHT = (BLACK, MONOCHROME, SWAPPED)
# Rejection reason -> kind and sentence of its event.
_SAID = {
    BLACK: ("black", "the picture is black: hardly any light reaches the sensor"),
    MONOCHROME: ("monochrome", "the picture has no colour: neither stain nor blast can be told"),
    FROZEN: ("frozen", "the camera repeats one picture bit for bit, which no sensor's noise does"),
    SWAPPED: ("swapped", "red and blue are exchanged: nuclei look red and red cells blue"),
}
# Encoders and slow sensors repeat a picture now and then; more in a row is a camera that hangs.
FROZEN_AFTER = 3
# Video black is 16, and a dark sensor has noise.
_DARK_LEVEL = 24
_LOOKED_AT_PX = 160  # of each side, at least, where the picture has them
_LEVELS = (5, 25, 50, 75, 95)
# Optical densities of green: of red cells, and of nuclei and red cells over each other.
_LIGHT, _DENSE = (0.12, 0.5), 0.75
_LEAST_LIGHT_SHARE, _LEAST_DENSE_SHARE, _LEAST_TILT = 0.02, 0.003, 0.1
# JPEG leaves this much colour in a grey picture, in levels; stained smears have many times as much.
_GREY = 8
# Medians of optical densities differ by less where a grey picture is tinted; stained smears from 0.08 on.
_TINTED = 0.035
# A field is wider; a picture of one cell tells nothing of red cells.
_FIELD_PX = 160
# Red and blue must fit the stream's history twice as well exchanged, by so many levels.
_FITS_BETTER, _LEAST_GAIN = 2.0, 3.0
_FORGETTING = 0.1

Levels = tuple["npt.NDArray[np.float64]", "npt.NDArray[np.float64]"]


class Notice(NamedTuple):
    """An event of the stream: one word and one sentence, as in a session's log."""

    kind: str
    text: str


class PictureCheck(NamedTuple):
    """What a look at a picture says: the reason to reject it, or None, and what is worth an event."""

    reason: str | None
    notices: tuple[Notice, ...] = ()


class StreamWatch:
    """Looks at every picture of one stream, in order.

    Parameters
    ----------
    camera : bool
        False for folders and recordings, which may repeat a picture, change their size, and come from
        anywhere: each picture of those is judged by itself, as `fault_of_light` does.

    Notes
    -----
    Frozen is a picture that equals the one before it bit for bit. The noise of a sensor never repeats, that
    of the virtual slide's camera neither; so there is no threshold, and a stage at rest is not frozen.

    Swapped is decided by what stain does. A nucleus absorbs more red than blue and a red cell more blue than
    red; where a field has dense and light pixels of opposite sign, that settles it. Other fields are compared
    with the levels of red and blue that the stream had so far.

    Examples
    --------
    >>> StreamWatch(camera=True).look(np.zeros((48, 64, 3), np.uint8)).reason
    'black picture'
    """

    def __init__(self, *, camera: bool) -> None:
        self._camera = camera
        self._last: RgbImage | None = None
        self._levels: Levels | None = None
        self._reason: str | None = None
        self._count = 0

    def look(self, pixels: RgbImage) -> PictureCheck:
        """Judge the next picture.

        Parameters
        ----------
        pixels : (H, W, 3) uint8, RGB
            Kept until the next call; must not change.
        """
        notices = []
        coarse = _coarse(pixels)
        last, self._last = self._last, pixels
        if self._camera and last is not None and last.shape != pixels.shape:
            height, width = pixels.shape[:2]
            notices.append(Notice("resolution", f"the camera now sends {width}x{height}"))
        reason = _light_fault(pixels, coarse)
        if reason is None and self._camera and last is not None and _equal(last, pixels):
            reason = FROZEN
        elif reason is None:
            # A camera's history tells of fields that do not tell by themselves.
            swapped = self._is_swapped(coarse) if self._camera else _tells_of_a_swap(coarse, pixels)
            reason = SWAPPED if swapped else None
        notices.extend(self._changes(reason))
        return PictureCheck(reason, tuple(notices))

    def _changes(self, reason: str | None) -> list[Notice]:
        """Tell when a fault begins, and when one that was told is over."""
        notices = []
        if reason != self._reason:
            if self._reason is not None and self._count >= _told_after(self._reason):
                notices.append(Notice("recovered", f"{self._reason}: over after {self._count} frames"))
            self._reason, self._count = reason, 0
        self._count += 1
        if reason is not None and self._count == _told_after(reason):
            notices.append(Notice(*_SAID[reason]))
        return notices

    def _is_swapped(self, coarse: RgbImage) -> bool:
        red, _, blue = (percentiles(np.asarray(plane), _LEVELS) for plane in cv2.split(coarse))
        swapped = stained_the_wrong_way(coarse)
        if swapped is None:
            swapped = self._levels is not None and _fits_exchanged((red, blue), self._levels)
            weight = 0.0 if swapped else _FORGETTING
        else:
            weight = 1.0
        # What is remembered is how red and blue should be.
        seen = (blue, red) if swapped else (red, blue)
        if self._levels is None or weight == 1.0:
            self._levels = seen
        else:
            before = self._levels
            self._levels = (
                before[0] + weight * (seen[0] - before[0]),
                before[1] + weight * (seen[1] - before[1]),
            )
        return swapped


def fault_of_light(pixels: RgbImage) -> str | None:
    """Return what is wrong with the light or the colours of a picture that stands for itself, or None.

    Parameters
    ----------
    pixels : (H, W, 3) uint8, RGB

    Returns
    -------
    str or None
        `BLACK`, `MONOCHROME` or `SWAPPED`.
    """
    return StreamWatch(camera=False).look(pixels).reason


def is_colourless(pixels: RgbImage) -> bool:
    """Whether no pixel has a colour; a coarse look settles it for all pictures that do.

    Parameters
    ----------
    pixels : (H, W, 3) uint8, RGB
    """
    for view in (pixels[::16, ::16], pixels):
        red, green, blue = (view[..., channel].astype(np.int16) for channel in range(3))
        if max(int(np.abs(red - green).max()), int(np.abs(green - blue).max())) > _GREY:
            return False
    return True


def is_tinted_grey(pixels: RgbImage) -> bool:
    """Whether a field's colour is its light's alone: nothing in it absorbs one colour more than another.

    Parameters
    ----------
    pixels : (H, W, 3) uint8, RGB
    """
    density = optical_density(pixels, background_colour(pixels))
    green = density[..., 1]
    light, dense = (green > _LIGHT[0]) & (green < _LIGHT[1]), green > _LIGHT[1]
    if light.mean() < _LEAST_LIGHT_SHARE:
        return False
    for part in (light, dense):
        if part.mean() < _LEAST_DENSE_SHARE:
            continue
        red, green, blue = density[part].T
        if max(abs(float(np.median(a - b))) for a, b in ((red, green), (green, blue), (red, blue))) > _TINTED:
            return False
    return True


def stained_the_wrong_way(pixels: RgbImage) -> bool | None:
    """Whether stained blood looks as if red and blue were exchanged; None where the field does not tell.

    Parameters
    ----------
    pixels : (H, W, 3) uint8, RGB
    """
    density = optical_density(pixels, background_colour(pixels))
    green, tilt = density[..., 1], density[..., 0] - density[..., 2]
    light, dense = (green > _LIGHT[0]) & (green < _LIGHT[1]), green > _DENSE
    if light.mean() < _LEAST_LIGHT_SHARE:
        return None
    of_light = float(np.median(tilt[light]))
    if of_light < 0 and (dense & (tilt > _LEAST_TILT)).mean() > _LEAST_DENSE_SHARE:
        return False
    # Many blasts without a red cell between them have dense and light pixels of one sign: no swap.
    wrong, right = (dense & (tilt < -_LEAST_TILT)).mean(), (dense & (tilt > _LEAST_TILT)).mean()
    # The granules of an eosinophil are dense and red, beside a nucleus that is larger.
    if of_light > 0 and wrong > _LEAST_DENSE_SHARE and wrong > right:
        return True
    return None


def _light_fault(pixels: RgbImage, coarse: RgbImage) -> str | None:
    if percentiles(_brightest(coarse), [99])[0] < _DARK_LEVEL:
        return BLACK
    if is_colourless(pixels) or (_is_field(coarse, pixels) and is_tinted_grey(coarse)):
        return MONOCHROME
    return None


def _tells_of_a_swap(coarse: RgbImage, pixels: RgbImage) -> bool:
    return _is_field(coarse, pixels) and stained_the_wrong_way(coarse) is True


def _is_field(coarse: RgbImage, pixels: RgbImage) -> bool:
    """Whether there may be red cells and glass: not in a cell that was cut out on black, or closely."""
    return min(pixels.shape[:2]) >= _FIELD_PX and not is_cell_on_black(coarse, black=BLACK_LEVEL)


def _told_after(reason: str) -> int:
    return FROZEN_AFTER if reason == FROZEN else 1


def _coarse(pixels: RgbImage) -> RgbImage:
    """Take every so-many-th pixel."""
    height, width = pixels.shape[:2]
    step = max(1, min(height, width) // _LOOKED_AT_PX)
    return thinned(pixels, step)


def _brightest(pixels: RgbImage) -> Bytes:
    """Brightest channel of each pixel, (H, W) uint8."""
    red, green, blue = cv2.split(pixels)
    return np.asarray(cv2.max(cv2.max(red, green), blue), np.uint8)


def _equal(one: RgbImage, other: RgbImage) -> bool:
    """Whether all pixels are equal; a coarse look settles it for nearly all pictures that differ."""
    return one.shape == other.shape and all(
        np.array_equal(one[::step, ::step], other[::step, ::step]) for step in (16, 1)
    )


def _fits_exchanged(levels: Levels, history: Levels) -> bool:
    (red, blue), (red_before, blue_before) = levels, history
    same = float(np.abs(red - red_before).mean() + np.abs(blue - blue_before).mean())
    exchanged = float(np.abs(red - blue_before).mean() + np.abs(blue - red_before).mean())
    return same > _FITS_BETTER * exchanged and same - exchanged > _LEAST_GAIN
