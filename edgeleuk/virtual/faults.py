"""What faults do to a picture: pure functions, the same for the same seed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeleuk.virtual.render import NOISE_STD
from edgeleuk.virtual.scenario import CameraFaultKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

    from edgeleuk.frames import RgbImage, TrueCell
    from edgeleuk.virtual.scenario import CameraFault

_BLACK_LEVEL = 2.0
_DUST_LIGHT = 0.25
_DUST_RADIUS = (0.004, 0.015)  # of the picture's width
# Rows: red, green and blue density of a smear whose dyes have given way to a bluer and greener one.
_OTHER_STAIN = np.array([[0.9, 0.3, 0.1], [0.2, 0.6, 0.1], [0.1, 0.1, 0.5]], np.float32)


def through_the_optics(
    pixels: RgbImage, acting: Mapping[CameraFaultKind, CameraFault], at_s: float, *, seed: int, sequence: int
) -> RgbImage:
    """Show a field as faulty optics and a faulty sensor would.

    Parameters
    ----------
    pixels : (H, W, 3) uint8, RGB
    acting : mapping
        As `Scenario.acting` gives it.
    at_s : float
        Stream time: how far a drift has come.
    seed, sequence : int
        The slide's, which places the dust; and the frame's, for the sensor's noise.

    Returns
    -------
    (H, W, 3) uint8, RGB
        `pixels` itself where no fault of these acts.
    """
    light: Floats | None = None
    for kind, fault in acting.items():
        if kind in _OPTICS:
            light = np.asarray(pixels, np.float32) if light is None else light
            light = _OPTICS[kind](light, fault, at_s, seed)
    if light is not None:
        # Blur has smoothed the noise that the field came with; the sensor adds its own behind the optics.
        rng = np.random.default_rng((seed, sequence))
        light = light + NOISE_STD * rng.standard_normal(light.shape, dtype=np.float32)
        pixels = np.clip(np.rint(light), 0, 255).astype(np.uint8)
    if CameraFaultKind.SWAP in acting:
        pixels = np.ascontiguousarray(pixels[..., ::-1])
    return pixels


def resized(
    pixels: RgbImage, truth: tuple[TrueCell, ...], factor: float
) -> tuple[RgbImage, tuple[TrueCell, ...]]:
    """Show a field, and its cells, at another resolution."""
    height, width = pixels.shape[:2]
    size = max(16, round(width * factor)), max(16, round(height * factor))
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    x, y = size[0] / width, size[1] / height
    cells = tuple(
        replace(cell, x=cell.x * x, y=cell.y * y, radius_px=cell.radius_px * factor) for cell in truth
    )
    return np.asarray(cv2.resize(pixels, size, interpolation=way), np.uint8), cells


def torn(pixels: RgbImage, share: float) -> bytes:
    """Encode a picture as the JPEG of which only so much arrived."""
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
    return data[: int(share * len(data))]


def _stain(light: Floats, fault: CameraFault, _at_s: float, _seed: int) -> Floats:
    # The empty glass, where all dyes are absent, keeps its colour.
    glass = np.percentile(light[::8, ::8].reshape(-1, 3), 90, axis=0).astype(np.float32)
    density = -np.log((light + 1) / (glass + 1))
    mix = (1 - fault.level) * np.eye(3, dtype=np.float32) + fault.level * _OTHER_STAIN
    return np.asarray((glass + 1) * np.exp(-cv2.transform(density, mix.astype(np.float32))) - 1, np.float32)


def _defocus(light: Floats, fault: CameraFault, _at_s: float, _seed: int) -> Floats:
    return np.asarray(cv2.GaussianBlur(light, (0, 0), fault.level), np.float32)


def _motion(light: Floats, fault: CameraFault, _at_s: float, _seed: int) -> Floats:
    return np.asarray(cv2.blur(light, (round(fault.level), 1)), np.float32)


def _lamp(light: Floats, fault: CameraFault, at_s: float, _seed: int) -> Floats:
    progress = (at_s - fault.at_s) / fault.for_s
    return np.asarray(light * np.float32(1 + (fault.level - 1) * progress), np.float32)


def _black(light: Floats, _fault: CameraFault, _at_s: float, _seed: int) -> Floats:
    return np.full_like(light, _BLACK_LEVEL)


def _dust(light: Floats, fault: CameraFault, _at_s: float, seed: int) -> Floats:
    height, width = light.shape[:2]
    rng = np.random.default_rng((seed, round(1000 * fault.at_s)))
    shade = np.ones((height, width), np.float32)
    for _ in range(round(fault.level)):
        centre = int(rng.integers(width)), int(rng.integers(height))
        radius = max(1, round(rng.uniform(*_DUST_RADIUS) * width))
        cv2.circle(shade, centre, radius, _DUST_LIGHT, -1, cv2.LINE_AA)
    blurred: Floats = np.asarray(cv2.GaussianBlur(shade, (0, 0), 1.5), np.float32)
    return light * blurred[..., None]


_OPTICS = {
    CameraFaultKind.STAIN: _stain,
    CameraFaultKind.DEFOCUS: _defocus,
    CameraFaultKind.MOTION: _motion,
    CameraFaultKind.LAMP: _lamp,
    CameraFaultKind.BLACK: _black,
    CameraFaultKind.DUST: _dust,
}
