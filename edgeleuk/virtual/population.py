"""Which white cells there are: measures of single cells, drawn from statistics fitted to C-NMC.

The statistics are a Gaussian copula for each class: the quantiles of about thirty measures and the
correlation between them. ``edgeleuk_convert.dataset.smear_statistics`` made the file
and defines every measure.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

BLAST = "blast"
NORMAL = "normal"
_ROUGHEST_Z = 1.2
_COLOURS = ("colour_l", "colour_a", "colour_b")


@dataclass(frozen=True, slots=True)
class ClassStatistics:
    """What is known of one class's cells.

    Attributes
    ----------
    names : tuple of str
        The measures, in the order of the arrays below.
    quantiles : (measures, 9) float64
    root : (measures, measures) float64
        Lower triangular; its product with its transpose is the correlation of the normal scores.
    slide_share : (measures,) float64
        Share of a measure's variance that is common to all cells of one slide: 0 except for colour.
    """

    names: tuple[str, ...]
    quantiles: npt.NDArray[np.float64]
    root: npt.NDArray[np.float64]
    slide_share: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Statistics:
    """The whole statistics file."""

    px_per_um: float
    quantile_z: npt.NDArray[np.float64]
    band_sigmas_um: npt.NDArray[np.float64]
    depths_um: npt.NDArray[np.float64]
    classes: Mapping[str, ClassStatistics]

    @property
    def between_medians(self) -> npt.NDArray[np.float64]:
        """(measures,) float64: from the blasts' median of each measure to the normal cells'."""
        middle = len(self.quantile_z) // 2
        return self.classes[NORMAL].quantiles[:, middle] - self.classes[BLAST].quantiles[:, middle]


@cache
def statistics() -> Statistics:
    """Read the statistics that are shipped beside this module."""
    text = resources.files(__package__).joinpath("statistics.json").read_text(encoding="utf-8")
    raw: dict[str, Any] = json.loads(text)
    return Statistics(
        px_per_um=float(raw["px_per_um"]),
        quantile_z=np.array(raw["quantile_z"]),
        band_sigmas_um=np.array(raw["band_sigmas_um"]),
        depths_um=np.array(raw["depths_um"]),
        classes={label: _class_statistics(raw["classes"][label]) for label in (BLAST, NORMAL)},
    )


def draw_slide_colour(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Draw a slide's stain: three normal scores (L, a, b) that all its cells share."""
    # Half of a subject's spread: a virtual slide should be a typical one.
    return 0.5 * rng.standard_normal(3)


def draw_measures(
    label: str,
    rng: np.random.Generator,
    slide_colour: npt.NDArray[np.float64] | None = None,
    *,
    apart: float = 0.0,
) -> dict[str, float]:
    """Draw one cell's measures.

    Parameters
    ----------
    label : str
        ``blast`` or ``normal``.
    rng : numpy.random.Generator
        Advanced by the same amount whatever the label.
    slide_colour : (3,) float64, optional
        Stain of the slide; None draws from the whole population of slides.
    apart : float
        Moves normal cells away from blasts, by this part of the distance between the classes' medians.
    """
    known = statistics()
    try:
        of_class = known.classes[label]
    except KeyError:
        msg = f"expected a label among {sorted(known.classes)}, got {label!r}"
        raise ValueError(msg) from None
    scores = of_class.root @ rng.standard_normal(len(of_class.names))
    for i, name in enumerate(of_class.names):
        if name.startswith("log_outline_"):
            # The upper tail is debris and cuts of C-NMC's own segmentation, not cells.
            scores[i] = min(scores[i], _ROUGHEST_Z)
    if slide_colour is not None:
        for name, score in zip(_COLOURS, slide_colour, strict=True):
            i = of_class.names.index(name)
            share = of_class.slide_share[i]
            scores[i] = np.sqrt(share) * score + np.sqrt(1 - share) * scores[i]
    away = apart * known.between_medians if label == NORMAL else np.zeros(len(scores))
    return {
        name: float(np.interp(score, known.quantile_z, row)) + step
        for name, score, row, step in zip(
            of_class.names, scores, of_class.quantiles, away.tolist(), strict=True
        )
    }


def _class_statistics(raw: Mapping[str, Any]) -> ClassStatistics:
    names = tuple(raw["quantiles"])
    correlation = np.eye(len(names))
    for i, row in enumerate(raw["correlation"], start=1):
        correlation[i, :i] = row
        correlation[:i, i] = row
    # Rounded to two digits, the matrix may have lost its positive eigenvalues by a hair.
    values, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(np.maximum(values, 1e-4))
    covariance = root @ root.T
    scale = np.sqrt(np.diag(covariance))
    share = np.zeros(len(names))
    for name, value in zip(_COLOURS, raw["colour_share_of_slide"], strict=True):
        share[names.index(name)] = value
    return ClassStatistics(
        names=names,
        quantiles=np.array([raw["quantiles"][name] for name in names]),
        root=np.linalg.cholesky(covariance / np.outer(scale, scale)),
        slide_share=share,
    )
