"""Statistics of C-NMC's cells: the numbers from which the virtual slide draws its white cells.

No pixel leaves this module. Each cell becomes about thirty measures (size, outline, mean colour,
energy of the luminance in bands of scale, profile from the rim inwards); what is kept of a class is
each measure's quantiles and the correlation between measures, a Gaussian copula. Luminance is
normalised within the cell first, so that the slide's stain and light do not speak for the class.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from edgeleuk.errors import DataRefusedError
from edgeleuk.frames import not_black

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Mask = npt.NDArray[np.uint8]

PX_PER_UM = 18.5
LABELS = {"all": "blast", "hem": "normal"}
LEAST_CELLS = 30

# Standard normal scores of the quantiles that are kept: 0.5, 2.5, 10, 25, 50, 75, 90, 97.5, 99.5 %.
QUANTILE_Z = (-2.5758, -1.96, -1.2816, -0.6745, 0.0, 0.6745, 1.2816, 1.96, 2.5758)
QUANTILE_P = (0.005, 0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975, 0.995)

# Borders between the difference-of-Gaussian bands, and between the rings of the depth profile.
BAND_SIGMAS_UM = (0.08, 0.14, 0.24, 0.42, 0.72, 1.25, 2.16)
DEPTHS_UM = (0.1, 0.2, 0.35, 0.7, 1.2, 2.0)
# C-NMC's outermost two pixels are mixed with the black around the cell: they say nothing of the cell, yet
# make a quarter of the luminance's standard deviation. Size and outline count them, nothing else does.
MIXED_PX = 2.2
OUTLINE_HARMONICS = ((2, 3), (3, 4), (4, 7), (7, 17))
COLOUR_MEASURES = ("colour_l", "colour_a", "colour_b")
_EXTENSIONS = {".bmp", ".png", ".webp", ".tif", ".tiff"}


def fit(folder: str | Path) -> dict[str, Any]:
    """Fit the statistics to a C-NMC folder, whose cells lie in folders ``all`` and ``hem``.

    Parameters
    ----------
    folder : path
        Any folder above the ``all`` and ``hem`` folders.

    Returns
    -------
    dict
        Names and numbers only, ready for ``json.dumps``; under 20 kB as JSON.

    Raises
    ------
    DataRefusedError
        If fewer than 30 cells of either class can be read.
    """
    measured: dict[str, list[dict[str, float]]] = {label: [] for label in LABELS.values()}
    subjects: dict[str, list[str]] = {label: [] for label in LABELS.values()}
    for path in sorted(Path(folder).rglob("*")):
        label = LABELS.get(path.parent.name)
        if label is None or path.suffix.lower() not in _EXTENSIONS:
            continue
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        measures = None if image is None else measure(np.ascontiguousarray(image[..., ::-1], np.uint8))
        if measures is not None:
            measured[label].append(measures)
            subjects[label].append(_subject(path))
    for label, cells in measured.items():
        if len(cells) < LEAST_CELLS:
            raise DataRefusedError(
                f"too few {label} cells to fit a virtual slide in {folder}",
                got=len(cells),
                allowed=f"{LEAST_CELLS} or more",
                cure="point at C-NMC's training folders, which hold folders named all and hem",
            )
    return summarise(measured, subjects)


def summarise(
    measured: Mapping[str, Sequence[Mapping[str, float]]], subjects: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """Condense the measures of each class's cells into quantiles and correlations.

    Parameters
    ----------
    measured : label -> one mapping of measures per cell
    subjects : label -> the subject of each cell, in the same order
    """
    classes: dict[str, Any] = {}
    for label, cells in measured.items():
        names = list(cells[0])
        table = np.array([[cell[name] for name in names] for cell in cells])
        quantiles = np.quantile(table, QUANTILE_P, axis=0).T
        scores = normal_scores(table, quantiles)
        correlation = np.corrcoef(scores, rowvar=False)
        classes[label] = {
            "cells": len(cells),
            "quantiles": {
                name: [float(f"{v:.4g}") for v in row] for name, row in zip(names, quantiles, strict=True)
            },
            "correlation": [[round(float(v), 2) for v in correlation[i, :i]] for i in range(1, len(names))],
            "colour_share_of_slide": [
                round(_between_share(scores[:, names.index(name)], subjects[label]), 3)
                for name in COLOUR_MEASURES
            ],
        }
    return {
        "schema_version": 1,
        "px_per_um": PX_PER_UM,
        "quantile_z": list(QUANTILE_Z),
        "band_sigmas_um": list(BAND_SIGMAS_UM),
        "depths_um": list(DEPTHS_UM),
        "classes": classes,
    }


def normal_scores(table: npt.NDArray[np.float64], quantiles: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    """Map each measure to a standard normal by its quantiles, flat beyond the outermost ones.

    Parameters
    ----------
    table : (cells, measures) float64
    quantiles : (measures, 9) float64
    """
    # A measure that hardly varies has equal quantiles; interp wants them to rise.
    rising = np.maximum.accumulate(quantiles + np.arange(quantiles.shape[1]) * 1e-9, axis=1)
    return np.stack([np.interp(table[:, i], rising[i], QUANTILE_Z) for i in range(table.shape[1])], axis=1)


def measure(rgb: Mask, px_per_um: float = PX_PER_UM) -> dict[str, float] | None:
    """Measure one cell on black.

    Parameters
    ----------
    rgb : (H, W, 3) uint8, RGB
        0 outside the cell.
    px_per_um : float
        Scale of the picture.

    Returns
    -------
    dict or None
        Measure -> value; None where the picture holds no cell of 15 um2 or more.
    """
    mask = largest_part(rgb)
    area_px = int(np.count_nonzero(mask))
    if area_px < 15 * px_per_um**2:
        return None
    x, y, w, h = cv2.boundingRect(mask)
    pad = 2
    mask = np.pad(mask[y : y + h, x : x + w], pad)
    pixels = np.pad(rgb[y : y + h, x : x + w], ((pad, pad), (pad, pad), (0, 0))).astype(np.float32)
    depth_px = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    inside = depth_px > MIXED_PX
    depth_um = (depth_px - 0.5) / px_per_um
    luminance = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
    if not inside.any():
        return None
    mean, std = float(luminance[inside].mean()), float(luminance[inside].std())
    if mean < 1 or std < 0.1:
        return None
    normalised = (luminance - mean) / std
    return {
        "log_area_um2": float(np.log(area_px / px_per_um**2)),
        **_outline(mask),
        **_colour(pixels, luminance, inside, depth_um),
        "log_contrast": float(np.log(std / mean)),
        **_bands(normalised, inside, depth_um, px_per_um),
        **_profile(normalised, inside, depth_um),
    }


def largest_part(rgb: Mask) -> Mask:
    """Return the largest connected part that is not black, holes filled, as (H, W) uint8 of 0 and 1."""
    foreground = not_black(rgb)
    contours, _ = cv2.findContours(foreground, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros_like(foreground)
    if contours:
        cv2.drawContours(filled, [max(contours, key=cv2.contourArea)], -1, 1, cv2.FILLED)
    return filled


def _outline(mask: Mask) -> dict[str, float]:
    """Log amplitudes of the outline's harmonics, relative to the equivalent radius."""
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    points = max(contours, key=len)[:, 0, :].astype(np.float64)
    moments = cv2.moments(mask, binaryImage=True)
    dx = points[:, 0] - moments["m10"] / moments["m00"]
    dy = points[:, 1] - moments["m01"] / moments["m00"]
    angle, radius = np.arctan2(dy, dx), np.hypot(dx, dy)
    order = np.argsort(angle)
    grid = np.linspace(-np.pi, np.pi, 128, endpoint=False)
    sampled = np.interp(grid, angle[order], radius[order], period=2 * np.pi)
    amplitude = 2 * np.abs(np.fft.rfft(sampled / sampled.mean())) / 128
    return {
        f"log_outline_{low}": float(0.5 * np.log((amplitude[low:high] ** 2).sum() + 1e-8))
        for low, high in OUTLINE_HARMONICS
    }


def _colour(
    pixels: Floats, luminance: Floats, inside: npt.NDArray[np.bool_], depth_um: Floats
) -> dict[str, float]:
    """Mean colour in Lab, how red and blue follow the luminance, and the rim's tint against the core."""
    mean = pixels[inside].mean(axis=0)
    lab = cv2.cvtColor((mean / 255).reshape(1, 1, 3).astype(np.float32), cv2.COLOR_RGB2Lab)[0, 0]
    core = inside & (depth_um > 0.7)
    deviation = luminance[core] - luminance[core].mean()
    variance = float((deviation**2).mean()) + 1e-6
    measures = dict(zip(COLOUR_MEASURES, map(float, lab), strict=True))
    for name, channel in (("red", 0), ("blue", 2)):
        values = pixels[..., channel]
        core_mean = float(values[core].mean())
        slope = float((deviation * (values[core] - core_mean)).mean()) / variance
        measures[f"{name}_slope"] = slope
        tint = values - core_mean - slope * (luminance - float(luminance[core].mean()))
        for ring, (low, high) in enumerate(((0.1, 0.35), (0.35, 0.7))):
            measures[f"{name}_rim_{ring}"] = float(
                tint[inside & (depth_um > low) & (depth_um <= high)].mean()
            )
    return measures


def _bands(
    normalised: Floats, inside: npt.NDArray[np.bool_], depth_um: Floats, px_per_um: float
) -> dict[str, float]:
    """Log energy of the normalised luminance in each band of scale, and the skewness of two bands."""
    weight = inside.astype(np.float32)
    value = normalised * weight
    smooth = []
    for sigma_um in BAND_SIGMAS_UM:
        # Normalised convolution: the black around the cell takes no part.
        sigma = sigma_um * px_per_um
        below = cv2.GaussianBlur(weight, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
        smooth.append(cv2.GaussianBlur(value, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT) / (below + 1e-6))
    core = inside & (depth_um > 0.7)
    measures: dict[str, float] = {}
    for band in range(len(BAND_SIGMAS_UM) - 1):
        difference = (smooth[band] - smooth[band + 1])[core]
        difference = difference - difference.mean()
        energy = float((difference**2).mean())
        measures[f"log_band_{band}"] = float(np.log(energy + 1e-7))
        if band in (2, 3):
            measures[f"skew_{band}"] = float((difference**3).mean() / (energy**1.5 + 1e-9))
    return measures


def _profile(normalised: Floats, inside: npt.NDArray[np.bool_], depth_um: Floats) -> dict[str, float]:
    """Mean normalised luminance in rings from the rim inwards, and how one-sided two of the rings are."""
    measures: dict[str, float] = {}
    core = float(np.median(normalised[inside & (depth_um > DEPTHS_UM[-1] * 0.6)]))
    for ring, low in enumerate(DEPTHS_UM):
        high = DEPTHS_UM[ring + 1] if ring + 1 < len(DEPTHS_UM) else np.inf
        values = normalised[inside & (depth_um > low) & (depth_um <= high)]
        measures[f"ring_{ring}"] = float(values.mean()) if values.size else core
    rows, columns = np.nonzero(inside)
    angle = np.arctan2(
        np.arange(inside.shape[0])[:, None] - rows.mean(),
        np.arange(inside.shape[1])[None, :] - columns.mean(),
    )
    for name, low, high in (("log_side_0", 0.1, 0.7), ("log_side_1", 0.7, 1.6)):
        ring_mask = inside & (depth_um > low) & (depth_um <= high)
        values, direction = normalised[ring_mask], angle[ring_mask]
        design = np.stack([np.ones_like(direction), np.cos(direction), np.sin(direction)], axis=1)
        fitted = np.linalg.lstsq(design, values, rcond=None)[0] if values.size > 10 else np.zeros(3)
        measures[name] = float(np.log(np.hypot(fitted[1], fitted[2]) + 1e-3))
    return measures


def _between_share(scores: npt.NDArray[np.float64], subjects: Sequence[str]) -> float:
    """Share of a measure's variance that lies between subjects."""
    names = np.array(subjects)
    means = {name: scores[names == name].mean() for name in set(subjects)}
    within = float(np.mean((scores - np.array([means[name] for name in subjects])) ** 2))
    return float(np.clip(1 - within / max(float(scores.var()), 1e-9), 0, 0.95))


def _subject(path: Path) -> str:
    """Return the subject in C-NMC's file name ``UID_<subject>_<image>_<cell>_<label>``."""
    parts = path.stem.split("_")
    return parts[1].upper() if len(parts) > 1 else path.stem
