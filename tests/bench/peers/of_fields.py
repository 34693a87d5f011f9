"""Those that find cells in fields, opened in a process of their own.

All but StarDist answer with the boxes of what they found. The scale is given, unless the name says otherwise.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from material import load_fields

from edgeleuk.vision.quality import quality_check
from edgeleuk.vision.segmentation import segment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from turns import Opened

    Boxes = list[list[int]]


def product(folder: Path) -> Opened:
    """Open the product, as it is once a run knows its scale."""

    def boxes(pixels: Any, px_per_um: float) -> Boxes:
        quality_check(pixels)
        return [list(cell.box) for cell in segment(pixels, px_per_um=px_per_um)]

    cv2.setNumThreads(1)
    return functools.partial(_ready, folder, boxes), "masks of nuclei and cells"


def product_unscaled(folder: Path) -> Opened:
    """Open the product, the scale of each field being estimated."""

    def boxes(pixels: Any, px_per_um: float) -> Boxes:
        del px_per_um
        quality_check(pixels)
        return [list(cell.box) for cell in segment(pixels)]

    cv2.setNumThreads(1)
    return functools.partial(_ready, folder, boxes), "masks of nuclei and cells"


def skimage(folder: Path) -> Opened:
    """Open scikit-image."""
    import skimage_pipeline

    def boxes(pixels: Any, px_per_um: float) -> Boxes:
        skimage_pipeline.gate(pixels)
        return [_box(region.bbox, 1) for region in skimage_pipeline.segment(pixels, px_per_um)]

    return functools.partial(_ready, folder, boxes), "Otsu, opening, distance transform, watershed"


def skimage_half(folder: Path) -> Opened:
    """Open scikit-image, for what is left of a field when each four pixels become one."""
    import skimage_pipeline
    from skimage.transform import downscale_local_mean

    def boxes(pixels: Any, px_per_um: float) -> Boxes:
        skimage_pipeline.gate(pixels)
        small = downscale_local_mean(pixels, (2, 2, 1)).astype(np.uint8)
        return [_box(region.bbox, 2) for region in skimage_pipeline.segment(small, px_per_um / 2)]

    return functools.partial(_ready, folder, boxes), "the gate on all pixels"


def stardist(folder: Path) -> Opened:
    """Open StarDist with its default network for RGB, on a grid of 2, and random weights.

    Trained ones are in no package. Nothing is found, so that the time is less than it would be.
    """
    import tensorflow as tf
    from csbdeep.utils import normalize
    from stardist.models import Config2D, StarDist2D

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    model = StarDist2D(Config2D(axes="YXC", n_channel_in=3, n_rays=32, grid=(2, 2)), name=None, basedir=None)

    def boxes(pixels: Any, px_per_um: float) -> Boxes:
        del px_per_um
        # No probability is above 1: no candidates.
        model.predict_instances(normalize(pixels), prob_thresh=1.0, nms_thresh=0.4, show_tile_progress=False)
        return []

    return functools.partial(_ready, folder, boxes), "32 rays, a grid of 2; its weights are in no package"


def _ready(
    folder: Path, boxes: Callable[[Any, float], Boxes], first: int, last: int
) -> Callable[[], list[Boxes]]:
    fields = load_fields(folder, first, last)
    return lambda: [boxes(pixels, px_per_um) for pixels, px_per_um in fields]


def _box(bounds: tuple[int, int, int, int], factor: int) -> list[int]:
    """x, y, w, h from rows and columns."""
    top, left, bottom, right = (int(n) * factor for n in bounds)
    return [left, top, right - left, bottom - top]
