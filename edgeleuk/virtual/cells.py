"""How single cells look: white cells from their measures, red cells and platelets from a library.

All lengths are in micrometres until the last step, so a cell is the same at every scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeleuk.frames import CellCrop
from edgeleuk.virtual.population import draw_measures, statistics

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    RgbImage = npt.NDArray[np.uint8]
    Mask = npt.NDArray[np.uint8]

CROP_SIZE_PX = 450
CLEAR = 200  # a library sprite's value that leaves the light as it is
_OUTLINE_POINTS = 192
_HARMONICS = {
    "log_outline_2": (2, 3),
    "log_outline_3": (3, 4),
    "log_outline_4": (4, 7),
    "log_outline_7": (7, 17),
}
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
_SUBPIXEL_BITS = 4
_MIXED_PX = 0.7
# A Gaussian is nothing further from its middle, in standard deviations.
_NEAR_NODES = 5
_LEAST_SHARE = 32  # of 255; C-NMC's masks reach this far out
_MIXED_UM = 0.045  # from there to the true outline
_RIM_PATCH_UM = 0.8
_VEIL = 0.6
_RIM_DEPTH_UM = 0.36
# What rim and profile add to each band of the core beside the chromatin: measured on drawn cells.
_RIM_ENERGY = np.array([0.0010, 0.0035, 0.0061, 0.0047, 0.0016, 0.0045])


@dataclass(frozen=True, slots=True)
class WhiteSprite:
    """A white cell drawn in its own small picture.

    Attributes
    ----------
    pixels : (n, n, 3) uint8, RGB
        The cell's colour; meaningless where `alpha` is 0.
    alpha : (n, n) uint8
        255 inside, 0 outside, between the two on the rim.
    """

    pixels: RgbImage
    alpha: Mask

    @property
    def half(self) -> int:
        """Index of the centre pixel in both directions."""
        return int(self.alpha.shape[0] // 2)


def single_cell(label: str, seed: int | np.random.Generator, *, px_per_um: float | None = None) -> CellCrop:
    """Draw one white cell as C-NMC shows it: 450x450 at 18.5 px/um, black around the cell.

    Parameters
    ----------
    label : str
        ``blast`` or ``normal``.
    seed : int or numpy.random.Generator
    px_per_um : float, optional
        Another scale; the picture grows with it.
    """
    rng = np.random.default_rng(seed)
    of_data = statistics().px_per_um
    px_per_um = px_per_um or of_data
    size = round(CROP_SIZE_PX * px_per_um / of_data)
    sprite = white_sprite(draw_measures(label, rng), rng, px_per_um)
    # C-NMC's outermost pixels are mixed with the black beside them.
    share = cv2.GaussianBlur(sprite.alpha, (0, 0), _MIXED_PX).astype(np.uint16)[..., None]
    mixed = ((sprite.pixels * share + 127) // 255).astype(np.uint8)
    mixed = np.where(share < _LEAST_SHARE, np.uint8(0), np.maximum(mixed, 1))
    picture = np.zeros((size, size, 3), np.uint8)
    under, over = overlap(picture, mixed, size // 2 - sprite.half, size // 2 - sprite.half)
    under[...] = over
    return CellCrop.on_black(picture, px_per_um)


def overlap(
    below: npt.NDArray[np.uint8], above: npt.NDArray[np.uint8], x: int, y: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return views of the parts of two pictures that cover each other, the upper one's corner at (x, y)."""
    rows = slice(max(y, 0), max(min(y + above.shape[0], below.shape[0]), 0))
    columns = slice(max(x, 0), max(min(x + above.shape[1], below.shape[1]), 0))
    return below[rows, columns], above[
        rows.start - y : max(rows.stop - y, 0), columns.start - x : max(columns.stop - x, 0)
    ]


def white_sprite(measures: Mapping[str, float], rng: np.random.Generator, px_per_um: float) -> WhiteSprite:
    """Draw a white cell from its measures.

    Parameters
    ----------
    measures : mapping
        As ``population.draw_measures`` draws them.
    rng : numpy.random.Generator
        What the measures leave open: phases of the outline, of the chromatin and so on. The same numbers
        give the same cell at every scale.
    px_per_um : float
    """
    radius_um, outline = _outline(measures, rng)
    reach_um = radius_um * float(outline.max()) + 0.3
    half = math.ceil(reach_um * px_per_um)
    alpha = _filled_outline((radius_um * outline - _MIXED_UM) * px_per_um, half)
    inside = alpha >= 128
    depth = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    depth_um = np.maximum((depth - 0.5) / px_per_um + _MIXED_UM, 0)
    along_um = (np.arange(2 * half + 1, dtype=np.float32) - half) / np.float32(px_per_um)
    inside &= depth_um >= statistics().depths_um[0]  # what the measures speak of

    luminance = _profile(measures, depth_um) + _one_sided(measures, depth_um, along_um, rng)
    luminance += _chromatin(measures, rng, along_um, math.ceil(reach_um) + 1)
    veil = _rim_veil(
        luminance, depth_um, inside, _smooth_noise(rng, along_um, math.ceil(reach_um) + 1, _RIM_PATCH_UM)
    )
    spread = max(float((luminance + veil)[inside].std()), 0.7)
    luminance, veil = luminance / spread, veil / spread
    return WhiteSprite(_coloured(measures, luminance, veil, depth_um, inside), alpha)


def _outline(
    measures: Mapping[str, float], rng: np.random.Generator
) -> tuple[float, npt.NDArray[np.float64]]:
    """Equivalent radius (um) and the outline's radius at equal angles, relative to it."""
    angle = np.linspace(0, 2 * np.pi, _OUTLINE_POINTS, endpoint=False)
    outline = np.ones(_OUTLINE_POINTS)
    for name, (low, high) in _HARMONICS.items():
        orders = np.arange(low, high)
        # Nearly common phases: a dent or a bulge in one place, as smears have them, not a flower.
        phase = orders * rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.9, orders.size)
        weight = rng.choice((-1.0, 1.0)) * np.abs(1 + 0.5 * rng.standard_normal(orders.size)) / orders
        weight *= math.exp(measures[name]) / math.sqrt(float((weight**2).sum()) + 1e-12)
        outline += weight @ np.cos(np.outer(orders, angle) - phase[:, None])
    outline = np.clip(outline, 0.55, 1.7)
    radius_um = math.sqrt(math.exp(measures["log_area_um2"]) / math.pi)
    return radius_um, outline / math.sqrt(float((outline**2).mean()))


def _filled_outline(radius_px: npt.NDArray[np.float64], half: int) -> Mask:
    """Fill the outline around the centre of a (2 half + 1) square, its rim smooth."""
    angle = np.linspace(0, 2 * np.pi, radius_px.size, endpoint=False)
    points = half + np.stack([radius_px * np.cos(angle), radius_px * np.sin(angle)], axis=1)
    alpha = np.zeros((2 * half + 1, 2 * half + 1), np.uint8)
    fixed = np.round(points * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillPoly(alpha, [fixed], 255, lineType=cv2.LINE_AA, shift=_SUBPIXEL_BITS)
    return alpha


def _profile(measures: Mapping[str, float], depth_um: Floats) -> Floats:
    """Mean normalised luminance from the rim inwards."""
    edges = statistics().depths_um
    centres = np.append((edges[:-1] + edges[1:]) / 2, edges[-1] + 0.8)
    centres[1:5] -= (0.03, 0.08, 0.2, 0.2)  # the profile is hollow: a ring's mean lies above its middle
    values = [measures[f"ring_{ring}"] for ring in range(centres.size)]
    return np.interp(depth_um, centres, values).astype(np.float32)


def _one_sided(
    measures: Mapping[str, float], depth_um: Floats, along_um: Floats, rng: np.random.Generator
) -> Floats:
    """One side of the rim lighter than the other: cytoplasm lies round the nucleus as a crescent."""
    towards = rng.uniform(0, 2 * math.pi)
    x, y = along_um[None, :], along_um[:, None]
    cosine = (x * np.float32(math.cos(towards)) + y * np.float32(math.sin(towards))) / (np.hypot(x, y) + 0.5)
    outer, inner = math.exp(measures["log_side_0"]), math.exp(measures["log_side_1"])
    strength = np.interp(depth_um, (0.35, 1.15, 3.5), (0.45 * outer, 0.95 * inner, 0.2 * inner))
    return np.asarray(strength * cosine, np.float32)


def _chromatin(
    measures: Mapping[str, float], rng: np.random.Generator, along_um: Floats, reach_um: float
) -> Floats:
    """Noise with the measured energy in each band of scale and the measured skewness."""
    borders = statistics().band_sigmas_um
    sigmas = np.sqrt(borders[:-1] * borders[1:])
    energy = np.exp([measures[f"log_band_{band}"] for band in range(sigmas.size)])
    energy = np.maximum(energy - _RIM_ENERGY, 0.3 * energy)
    amplitude = np.sqrt(_component_powers(energy))
    texture = np.zeros((along_um.size, along_um.size), np.float32)
    for sigma_um, strength in zip(sigmas, amplitude, strict=True):
        texture += np.float32(strength) * _smooth_noise(rng, along_um, reach_um, float(sigma_um))
    spread = float(np.sqrt((amplitude**2).sum()))
    skew = 0.5 * (measures["skew_2"] + measures["skew_3"])
    bend = np.float32(np.clip(0.6 * skew + 0.15, -0.5, 0.9) / max(spread, 1e-6))
    if abs(bend * spread) > 0.02:
        texture = np.expm1(bend * texture) / bend
        texture *= np.float32(spread / max(float(texture.std()), 1e-6))
    return texture


def _rim_veil(
    luminance: Floats,
    depth_um: Floats,
    inside: npt.NDArray[np.bool_],
    noise: Floats,
) -> Floats:
    """Grey light along the rim, for part of the variance that a normalised cell has and this one lacks.

    A cell's rim is where its cytoplasm, its neighbours and the background shine in.
    """
    noise = noise * np.exp(-((depth_um / np.float32(_RIM_DEPTH_UM)) ** 2)) * inside
    values = luminance[inside]
    lacking = 1 - float(values.var())
    share = float((noise[inside] ** 2).mean())
    noise *= np.float32(_VEIL * math.sqrt(max(lacking, 0.0) / max(share, 1e-9)))
    return noise


def _smooth_noise(rng: np.random.Generator, along_um: Floats, reach_um: float, sigma_um: float) -> Floats:
    """White noise through a Gaussian of `sigma_um`, of unit variance, on the sprite's pixels.

    The noise lives on a grid of its own, so that the scale of the picture does not change it.
    """
    half = math.ceil((reach_um + 3 * sigma_um) / sigma_um)
    white = rng.standard_normal((2 * half + 1, 2 * half + 1), dtype=np.float32)
    place = along_um / np.float32(sigma_um) + np.float32(half)
    nodes = np.rint(place).astype(np.intp)[:, None] + np.arange(-_NEAR_NODES, _NEAR_NODES + 1)
    weights = np.exp(-0.5 * (place[:, None] - nodes.astype(np.float32)) ** 2)
    weights[(nodes < 0) | (nodes > 2 * half)] = 0
    weights /= np.sqrt((weights**2).sum(axis=1, keepdims=True))
    nodes = np.clip(nodes, 0, 2 * half)

    # Term by term: a product of matrices would go to a library whose sums change with its number of threads.
    def along(rows: Floats) -> Floats:
        total = np.zeros((len(nodes), rows.shape[1]), np.float32)
        for node, weight in zip(nodes.T, weights.T, strict=True):
            total += weight[:, None] * rows[node]
        return total

    smooth: Floats = along(np.ascontiguousarray(along(white).T)).T
    return smooth


def _component_powers(energy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Variances of the smooth noises that together have these difference-of-Gaussian energies.

    White noise through a Gaussian s, scaled to variance 1, keeps s^2 / (s^2 + t^2) of it after another
    Gaussian t (both isotropic, in two dimensions); the band's energy follows by expanding the square.
    Non-negative least relative error by Richardson's and Lucy's iteration.
    """
    borders = statistics().band_sigmas_um ** 2
    noise = (np.sqrt(borders[:-1] * borders[1:]))[None, :]
    low, high = borders[:-1, None], borders[1:, None]
    response = noise / (noise + low) - 2 * noise / (noise + (low + high) / 2) + noise / (noise + high)
    powers = energy / np.diag(response)
    total = response.sum(axis=0)
    for _ in range(60):
        powers = powers * (response.T @ (energy / (response @ powers))) / total
    return np.asarray(powers, np.float64)


def _coloured(
    measures: Mapping[str, float],
    luminance: Floats,
    veil: Floats,
    depth_um: Floats,
    inside: npt.NDArray[np.bool_],
) -> RgbImage:
    """Give normalised luminance its mean colour; red and blue follow it, and the rim has its tint."""
    lab = np.array([[[measures["colour_l"], measures["colour_a"], measures["colour_b"]]]], np.float32)
    mean = cv2.cvtColor(lab, cv2.COLOR_Lab2RGB)[0, 0] * 255
    mean_luminance = float(mean @ _LUMINANCE)
    contrast = np.float32(math.exp(measures["log_contrast"]) * mean_luminance)
    picture = np.empty((*luminance.shape, 3), np.float32)
    for name, channel in (("red", 0), ("blue", 2)):
        outer, inner = measures[f"{name}_rim_0"], measures[f"{name}_rim_1"]
        tint = np.interp(depth_um, (0.26, 0.42, 0.6, 1.0), (outer, inner, inner, 0.0)).astype(np.float32)
        # The veil is as grey as the light; only the stain has a colour.
        values = contrast * (np.float32(measures[f"{name}_slope"]) * luminance + veil) + tint
        picture[..., channel] = values - values[inside].mean() + mean[channel]
    whole = contrast * (luminance + veil)
    whole += mean_luminance - whole[inside].mean()
    rest = whole - _LUMINANCE[0] * picture[..., 0] - _LUMINANCE[2] * picture[..., 2]
    picture[..., 1] = rest / _LUMINANCE[1]
    return np.clip(np.round(picture), 0, 255).astype(np.uint8)


def red_library(rng: np.random.Generator, px_per_um: float, count: int) -> list[RgbImage]:
    """Draw red cells as what they leave of the light: ``CLEAR`` for all of it.

    Returns
    -------
    list of (n, n, 3) uint8, RGB
        n is odd and the cell in the middle.
    """
    return [_red_sprite(rng, px_per_um) for _ in range(count)]


def platelet_library(rng: np.random.Generator, px_per_um: float, count: int) -> list[RgbImage]:
    """Draw platelets the same way: small, purple, granular."""
    return [_platelet_sprite(rng, px_per_um) for _ in range(count)]


def _red_sprite(rng: np.random.Generator, px_per_um: float) -> RgbImage:
    radius_um = float(np.clip(rng.normal(3.75, 0.22), 3.1, 4.5))
    relative, depth_um = _round_shape(rng, radius_um, px_per_um, (0.085, 0.035, 0.012))
    # Evans and Fung's biconcave disc, thickness relative to its greatest.
    square = np.minimum(relative, 1) ** 2
    disc = np.sqrt(1 - square) * (0.207 + 2.003 * square - 1.123 * square**2) / 0.77
    flat = np.sqrt(1 - square**3)
    pallor = rng.uniform(0.35, 0.95)
    thickness = (pallor * disc + (1 - pallor) * flat) * rng.uniform(0.85, 1.12)
    blur = 0.16 * px_per_um
    thickness = cv2.GaussianBlur(thickness.astype(np.float32), (0, 0), blur)
    # Refraction: a dark line just inside the rim, a faint light one outside.
    line = 0.22 * np.exp(-(((depth_um - 0.18) / 0.2) ** 2)) - 0.06 * np.exp(
        -(((depth_um + 0.35) / 0.25) ** 2)
    )
    absorbance = thickness[..., None] * np.array([0.19, 0.47, 0.45]) + line[..., None] * np.array(
        [0.6, 1.0, 0.9]
    )
    return _transmitted(absorbance)


def _platelet_sprite(rng: np.random.Generator, px_per_um: float) -> RgbImage:
    radius_um = rng.uniform(0.9, 1.5)
    _, depth_um = _round_shape(rng, radius_um, px_per_um, (0.2, 0.1, 0.05))
    half = depth_um.shape[0] // 2
    along_um = (np.arange(2 * half + 1, dtype=np.float32) - half) / np.float32(px_per_um)
    granules = _smooth_noise(rng, along_um, radius_um + 1.5, 0.16)
    body = 1 / (1 + np.exp(-(depth_um - 0.1) / 0.12))
    dense = body * np.clip(0.75 + 0.3 * granules, 0.2, 1.6)
    return _transmitted(dense[..., None] * np.array([0.45, 0.75, 0.22]) * rng.uniform(0.7, 1.0))


def _round_shape(
    rng: np.random.Generator, radius_um: float, px_per_um: float, amplitudes: tuple[float, ...]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Relative radius of each pixel (1 on a wavy outline) and its depth inside the outline in um."""
    half = math.ceil((radius_um * (1 + 1.5 * sum(amplitudes)) + 0.8) * px_per_um)
    along = (np.arange(2 * half + 1) - half) / px_per_um
    x, y = along[None, :], along[:, None]
    angle, distance = np.arctan2(y, x), np.hypot(x, y)
    outline = np.full(angle.shape, 1.0)
    for order, amplitude in enumerate(amplitudes, start=2):
        outline += amplitude * rng.uniform(0.2, 1) * np.cos(order * (angle - rng.uniform(0, 2 * np.pi)))
    relative = distance / (radius_um * outline)
    return relative, radius_um * outline - distance


def _transmitted(absorbance: npt.NDArray[np.float64]) -> RgbImage:
    return np.clip(np.round(CLEAR * np.exp(-absorbance)), 0, 255).astype(np.uint8)
