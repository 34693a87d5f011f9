"""Pictures in Python: classify their white cells, or only find them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import msgspec

from edgeleuk.api.bundles import bundle_and_settings
from edgeleuk.api.inputs import pictures_of
from edgeleuk.api.results import ImageCell, ImageResult, segmented_image
from edgeleuk.batch.images import classify_picture
from edgeleuk.classifier.self_test import open_tested_classifier
from edgeleuk.frames import Box
from edgeleuk.vision.finding import find_cells
from edgeleuk.vision.looking import fault_of_picture

if TYPE_CHECKING:
    from edgeleuk.api.inputs import Given, OnePicture, Pictures
    from edgeleuk.api.results import SegmentedImage
    from edgeleuk.classifier.classifier import Classifier
    from edgeleuk.frames import RgbImage
    from edgeleuk.io.settings import RunSettings, RuntimeChoice


# Of a path it cannot be known beforehand whether it is a folder.
@overload
def classify(
    rgb: RgbImage,
    *,
    bundle: str | Path = ...,
    px_per_um: float | None = ...,
    runtime: RuntimeChoice | None = ...,
    precision: Literal["int8", "float32"] | None = ...,
    threads: int | None = ...,
    abstain: Literal["band", "conformal", "off"] | None = ...,
    quality_check: bool | None = ...,
) -> ImageResult: ...
@overload
def classify(
    rgb: list[OnePicture],
    *,
    bundle: str | Path = ...,
    px_per_um: float | None = ...,
    runtime: RuntimeChoice | None = ...,
    precision: Literal["int8", "float32"] | None = ...,
    threads: int | None = ...,
    abstain: Literal["band", "conformal", "off"] | None = ...,
    quality_check: bool | None = ...,
) -> list[ImageResult]: ...
@overload
def classify(
    rgb: str | Path,
    *,
    bundle: str | Path = ...,
    px_per_um: float | None = ...,
    runtime: RuntimeChoice | None = ...,
    precision: Literal["int8", "float32"] | None = ...,
    threads: int | None = ...,
    abstain: Literal["band", "conformal", "off"] | None = ...,
    quality_check: bool | None = ...,
) -> Any: ...
def classify(
    rgb: Pictures,
    *,
    bundle: str | Path = "default",
    px_per_um: float | None = None,
    runtime: RuntimeChoice | None = None,
    precision: Literal["int8", "float32"] | None = None,
    threads: int | None = None,
    abstain: Literal["band", "conformal", "off"] | None = None,
    quality_check: bool | None = None,
) -> Any:
    """Classify every white cell of a picture, of several, or of a folder.

    The numbers are those of ``edgeleuk classify``. None takes the value of an ``EDGELEUK_*`` variable, or the
    default.

    Parameters
    ----------
    rgb : path, (H, W, 3) uint8 array, or a list of these
        A path may be a folder, whose folders are searched as well. Arrays have to be RGB: BGR cannot be told
        from it, and gives wrong answers. Grey arrays are refused.
    bundle : str or Path
        Path of a bundle, or ``default``.
    px_per_um : float, optional
        Scale; by default estimated from the red cells.
    runtime, precision, threads, abstain, quality_check : optional
        As the flags of ``edgeleuk classify``.

    Returns
    -------
    ImageResult, or list of ImageResult
        One result of one file or array. A list for a list or a folder, in natural order.

    Raises
    ------
    UsageError, PictureRefusedError, DataRefusedError
        A path does not exist, is no picture, or an array has another shape or dtype. A picture that is
        readable and not worth judging is no error: its result says why in ``rejected``.
    BundleError, CheckFailedError
        The bundle is damaged, or fails its self-test.

    Examples
    --------
    >>> import numpy as np
    >>> import edgeleuk
    >>> result = edgeleuk.classify(np.full((480, 640, 3), 180, np.uint8), runtime="litert")
    >>> result.rejected, result.counts.total
    ('monochrome picture', 0)
    """
    given, one = pictures_of(rgb)
    opened, settings = bundle_and_settings(
        bundle,
        {
            "px_per_um": px_per_um,
            "runtime": runtime,
            "precision": precision,
            "threads": threads,
            "abstain": abstain,
            "quality_check": quality_check,
        },
    )
    with open_tested_classifier(
        opened,
        runtime=settings.runtime,
        precision=settings.precision,
        threads=settings.threads,
        abstain=settings.abstain,
    ) as classifier:
        results = [_classified(picture, classifier, settings) for picture in given]
    return results[0] if one else results


@overload
def segment(
    rgb: RgbImage,
    *,
    px_per_um: float | None = ...,
    quality_check: bool = ...,
) -> SegmentedImage: ...
@overload
def segment(
    rgb: list[OnePicture],
    *,
    px_per_um: float | None = ...,
    quality_check: bool = ...,
) -> list[SegmentedImage]: ...
@overload
def segment(
    rgb: str | Path,
    *,
    px_per_um: float | None = ...,
    quality_check: bool = ...,
) -> Any: ...
def segment(rgb: Pictures, *, px_per_um: float | None = None, quality_check: bool = True) -> Any:
    """Find the white cells of a picture, of several, or of a folder.

    Parameters
    ----------
    rgb : path, (H, W, 3) uint8 array, or a list of these
        As of `classify`.
    px_per_um : float, optional
        Scale; by default estimated from the red cells.
    quality_check : bool
        Refuse pictures that are blurred, badly lit, empty or too thick.

    Returns
    -------
    SegmentedImage, or list of SegmentedImage
        One result of one file or array; a list for a list or a folder.

    Raises
    ------
    UsageError, PictureRefusedError, DataRefusedError
        As `classify`.

    Examples
    --------
    >>> import numpy as np
    >>> import edgeleuk
    >>> edgeleuk.segment(np.full((480, 640, 3), 180, np.uint8)).rejected
    'monochrome picture'
    """
    given, one = pictures_of(rgb)
    results = [_segmented(picture, px_per_um, quality_check=quality_check) for picture in given]
    return results[0] if one else results


def _classified(given: Given, classifier: Classifier, settings: RunSettings) -> ImageResult:
    picture = given.decoded()
    entry, found = classify_picture(
        Path(given.name), picture, classifier, settings.px_per_um, quality_check=settings.quality_check
    )
    facts: dict[str, Any] = msgspec.to_builtins(entry)
    height, width = picture.pixels.shape[:2]
    cells = tuple(
        ImageCell(
            Box(*called.get("box", (0, 0, width, height))),
            called["decision"],
            called["probability"],
            called["reason"],
            found[number] if found else None,
            called.get("kind"),
            called.get("kind_probability"),
        )
        for number, called in enumerate(facts["cells"])
    )
    scale = facts.get("px_per_um")
    return ImageResult(given.name, facts["kind"], facts["rejected"], cells, scale, facts, given.rgb)


def _segmented(given: Given, px_per_um: float | None, *, quality_check: bool) -> SegmentedImage:
    pixels = given.decoded().pixels
    rejected = fault_of_picture(pixels, judge_quality=quality_check)
    cells, scale = ([], None) if rejected else find_cells(pixels, px_per_um)
    height, width = pixels.shape[:2]
    return segmented_image(
        given.name, rejected, cells, None if scale is None else scale.px_per_um, (height, width)
    )
