"""What the microscope sees: fields of the virtual slide, through the optics and onto the sensor.

The slide itself is drawn once in blocks of whole pixels and kept for a while; a field is put together
from blocks, then blurred by defocus, shaded by the lamp and the vignette, and given sensor noise. So two
fields that overlap show the same slide, pixel for pixel, and each costs what is new in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeleuk.frames import TrueCell, require_rgb
from edgeleuk.virtual.cells import CLEAR, WhiteSprite, overlap, platelet_library, red_library, white_sprite
from edgeleuk.virtual.slide import PLATELET_SHAPES, RED_SHAPES, WHITE_REACH_UM, Recent, Smear, WhiteCell

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    RgbImage = npt.NDArray[np.uint8]

BLOCK_PX = 256
BLOCKS_KEPT = 160  # about 30 MB
DEFOCUS_PX_PER_PX = 0.22  # standard deviation of the blur for a unit of defocus
LARGEST_BLUR_PX = 60.0
NOISE_STD = 1.4
# Of the noise, the part that all three colours share: cameras smooth colour far more than brightness.
NOISE_IN_COMMON = 0.95
VIGNETTE = 0.12  # of the light is lost in the corners
# C-NMC's cells are dark beside a background of 220; a factor leaves normalised luminance as it is.
EXPOSURE = 1.35

_RED_REACH_UM = 6.5
# As wide as a cell's edge is sharp in C-NMC; a wider one makes cells sharper than any there.
_RIM_BLUR_UM = 0.02
_NOISE_SHIFTS = 64
# Streams of random numbers, apart from those of the geometry.
_LIBRARY, _STAIN, _SHADE, _SENSOR = range(100, 104)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of view.

    Attributes
    ----------
    pixels : (H, W, 3) uint8, RGB
    truth : tuple of TrueCell
        Every white cell of which any pixel shows.
    """

    pixels: RgbImage
    truth: tuple[TrueCell, ...]

    def __post_init__(self) -> None:
        require_rgb(self.pixels)


class VirtualSlide:
    """A simulated blood smear without end, the same for the same seed.

    Not safe for several threads at a time: it keeps what it drew last.

    Parameters
    ----------
    seed : int
        0 or more; another seed is another slide, with another stain.
    px_per_um : float
        Scale of the fields, 2 to 60.
    blast_share : float
        Share of the white cells that are blasts, 0 to 1.
    white_cells_per_field : float
        Mean number of white cells in 98 by 74 um, which is 1280x960 at 13 px/um; 0 to 14.

    Examples
    --------
    >>> slide = VirtualSlide(seed=1)
    >>> slide.field(0, 0, width=320, height=240).pixels.shape
    (240, 320, 3)
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        px_per_um: float = 13.0,
        blast_share: float = 0.3,
        white_cells_per_field: float = 3.0,
    ) -> None:
        if seed < 0:
            msg = f"expected a seed of 0 or more, got {seed}"
            raise ValueError(msg)
        if not 2 <= px_per_um <= 60:
            msg = f"expected px_per_um from 2 to 60, got {px_per_um}"
            raise ValueError(msg)
        self.seed = seed
        self.px_per_um = px_per_um
        self._smear = Smear(seed, blast_share, white_cells_per_field)
        rng = self._smear.rng(_LIBRARY, 0, 0)
        self._reds = red_library(rng, px_per_um, RED_SHAPES)
        self._platelets = platelet_library(rng, px_per_um, PLATELET_SHAPES)
        stain = self._smear.rng(_STAIN, 0, 0).uniform(-1, 1, 3)
        self._background = np.array([221, 212, 205]) + np.array([5, 5, 9]) * stain
        self._blocks: Recent[RgbImage] = Recent(BLOCKS_KEPT)
        self._whites: Recent[WhiteSprite] = Recent(96)
        self._vignettes: Recent[RgbImage] = Recent(2)
        self._noises: Recent[npt.NDArray[np.int8]] = Recent(2)

    def field(
        self,
        x_um: float,
        y_um: float,
        *,
        z_um: float = 0.0,
        lamp: float = 1.0,
        exposure: int = 0,
        width: int = 1280,
        height: int = 960,
    ) -> Field:
        """Render what lies around a place of the slide.

        Parameters
        ----------
        x_um, y_um : float
            Where on the slide the field's centre is, rounded to a whole pixel; any finite numbers.
        z_um : float
            Distance from focus.
        lamp : float
            Brightness of the lamp; above about 1.15 the background saturates.
        exposure : int
            Its number: the sensor's noise differs from one to the next, and nothing else does.
        width, height : int
            Of the field, in pixels.
        """
        if width < 1 or height < 1:
            msg = f"expected width and height of 1 or more, got {width}x{height}"
            raise ValueError(msg)
        if not (math.isfinite(x_um) and math.isfinite(y_um) and math.isfinite(z_um)):
            msg = f"expected finite x_um, y_um and z_um, got {x_um}, {y_um}, {z_um}"
            raise ValueError(msg)
        if not 0 <= lamp <= 10:
            msg = f"expected lamp from 0 to 10, got {lamp}"
            raise ValueError(msg)
        left = round(x_um * self.px_per_um) - width // 2
        top = round(y_um * self.px_per_um) - height // 2
        sigma = min(DEFOCUS_PX_PER_PX * abs(z_um) * self.px_per_um, LARGEST_BLUR_PX)
        margin = math.ceil(3.5 * sigma) if sigma > 0 else 0
        pixels = self._slide(left - margin, top - margin, width + 2 * margin, height + 2 * margin)
        if margin:
            pixels = np.ascontiguousarray(_blurred(pixels, sigma)[margin:-margin, margin:-margin])
        cv2.multiply(pixels, self._vignette(width, height), dst=pixels, scale=lamp / 255)
        noise = self._noise(width, height)
        shift = self._smear.rng(_SENSOR, left + exposure, top).integers(0, _NOISE_SHIFTS, 2)
        noise = noise[shift[0] : shift[0] + height, shift[1] : shift[1] + width]
        seen = np.asarray(cv2.add(pixels, noise, dtype=cv2.CV_8U), np.uint8)
        return Field(seen, self._truth(left, top, width, height))

    def _truth(self, left: int, top: int, width: int, height: int) -> tuple[TrueCell, ...]:
        found = []
        for cell in self._white_cells_near(left, top, width, height):
            sprite = self._white(cell)
            x, y = self._pixel(cell.x_um) - left, self._pixel(cell.y_um) - top
            rows = slice(max(sprite.half - y, 0), max(sprite.half - y + height, 0))
            columns = slice(max(sprite.half - x, 0), max(sprite.half - x + width, 0))
            if (sprite.alpha[rows, columns] >= 128).any():
                radius_px = cell.radius_um * self.px_per_um
                found.append(TrueCell(cell.identity, cell.label, x + 0.5, y + 0.5, radius_px))
        return tuple(found)

    def _slide(self, left: int, top: int, width: int, height: int) -> RgbImage:
        """Put a picture of the slide together from blocks; `left` and `top` count pixels on the slide."""
        picture = np.empty((height, width, 3), np.uint8)
        for j in range(top // BLOCK_PX, (top + height - 1) // BLOCK_PX + 1):
            for i in range(left // BLOCK_PX, (left + width - 1) // BLOCK_PX + 1):
                block = self._blocks.get((i, j), lambda i=i, j=j: self._draw_block(i, j))  # type: ignore[misc]
                _paste(picture, block, i * BLOCK_PX - left, j * BLOCK_PX - top)
        return picture

    def _draw_block(self, i: int, j: int) -> RgbImage:
        left, top = i * BLOCK_PX, j * BLOCK_PX
        block = self._draw_background(i, j)
        reach = _RED_REACH_UM
        box = (
            left / self.px_per_um - reach,
            top / self.px_per_um - reach,
            (left + BLOCK_PX) / self.px_per_um + reach,
            (top + BLOCK_PX) / self.px_per_um + reach,
        )
        for particles, library in (
            (self._smear.red_cells(*box), self._reds),
            (self._smear.platelets(*box), self._platelets),
        ):
            for particle in particles:
                sprite = library[particle.shape]
                half = sprite.shape[0] // 2
                x, y = self._pixel(particle.x_um) - left - half, self._pixel(particle.y_um) - top - half
                under, over = overlap(block, sprite, x, y)
                if over.size:
                    under[...] = cv2.multiply(under, over, scale=1 / CLEAR)
        for cell in self._white_cells_near(left, top, BLOCK_PX, BLOCK_PX):
            white = self._white(cell)
            x, y = self._pixel(cell.x_um) - left - white.half, self._pixel(cell.y_um) - top - white.half
            under, over = overlap(block, white.pixels, x, y)
            if over.size:
                alpha = overlap(block, white.alpha, x, y)[1][..., None].astype(np.uint16)
                under[...] = (under * (255 - alpha) + over * alpha + 127) // 255
        return block

    def _draw_background(self, i: int, j: int) -> RgbImage:
        """Empty slide: the film's thickness varies slowly, block corner to block corner."""
        corners = np.array(
            [[self._smear.rng(_SHADE, i + di, j + dj).uniform(-1, 1, 2) for di in (0, 1)] for dj in (0, 1)]
        )
        # It varies so slowly that every fourth pixel will do.
        t = (np.arange(BLOCK_PX // 4, dtype=np.float32) + 0.5) / (BLOCK_PX // 4)
        t = t * t * (3 - 2 * t)
        ends = np.stack([1 - t, t], axis=1)
        shade = np.einsum("yj,jic,xi->yxc", ends, corners, ends, optimize=True)
        tone = shade @ np.array([[0.018, 0.018, 0.018], [-0.004, 0.002, 0.012]])
        coarse = np.asarray(self._background * (1 + tone) + 0.5, np.float32)
        return np.asarray(cv2.resize(coarse, (BLOCK_PX, BLOCK_PX), interpolation=cv2.INTER_LINEAR), np.uint8)

    def _white_cells_near(self, left: int, top: int, width: int, height: int) -> list[WhiteCell]:
        return self._smear.white_cells(
            left / self.px_per_um - WHITE_REACH_UM,
            top / self.px_per_um - WHITE_REACH_UM,
            (left + width) / self.px_per_um + WHITE_REACH_UM,
            (top + height) / self.px_per_um + WHITE_REACH_UM,
        )

    def _white(self, cell: WhiteCell) -> WhiteSprite:
        def make() -> WhiteSprite:
            sharp = white_sprite(cell.measures, np.random.default_rng(cell.seed), self.px_per_um)
            pixels = np.asarray(cv2.convertScaleAbs(sharp.pixels, alpha=EXPOSURE), np.uint8)
            alpha = np.asarray(cv2.GaussianBlur(sharp.alpha, (0, 0), _RIM_BLUR_UM * self.px_per_um), np.uint8)
            return WhiteSprite(pixels, alpha)

        return self._whites.get(cell.identity, make)

    def _pixel(self, position_um: float) -> int:
        return round(position_um * self.px_per_um)

    def _vignette(self, width: int, height: int) -> RgbImage:
        def make() -> RgbImage:
            x = (np.arange(width, dtype=np.float32) - (width - 1) / 2) / (math.hypot(width, height) / 2)
            y = (np.arange(height, dtype=np.float32) - (height - 1) / 2) / (math.hypot(width, height) / 2)
            square = (x**2)[None, :] + (y**2)[:, None]
            light = 255 * (1 - VIGNETTE * square * (0.4 + 0.6 * square))
            return np.repeat(np.round(light).astype(np.uint8)[..., None], 3, axis=2)

        return self._vignettes.get((width, height), make)

    def _noise(self, width: int, height: int) -> npt.NDArray[np.int8]:
        def make() -> npt.NDArray[np.int8]:
            rng = self._smear.rng(_SENSOR, 0, 0)
            shape = (height + _NOISE_SHIFTS, width + _NOISE_SHIFTS, 3)
            own = rng.standard_normal(shape, dtype=np.float32)
            common = rng.standard_normal((*shape[:2], 1), dtype=np.float32)
            noise = NOISE_IN_COMMON * common + math.sqrt(1 - NOISE_IN_COMMON**2) * own
            return np.round(NOISE_STD * noise).astype(np.int8)

        return self._noises.get((width, height), make)


def _paste(picture: RgbImage, block: RgbImage, x: int, y: int) -> None:
    under, over = overlap(picture, block, x, y)
    under[...] = over


def _blurred(pixels: RgbImage, sigma: float) -> RgbImage:
    """Gaussian blur; three box blurs where the kernel is large, at a cost that does not grow with it."""
    if sigma < 4:
        return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), np.uint8)
    width = 2 * round((math.sqrt(4 * sigma**2 + 1) - 1) / 2) + 1
    for _ in range(3):
        pixels = np.asarray(cv2.blur(pixels, (width, width)), np.uint8)
    return pixels
