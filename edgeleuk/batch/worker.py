"""One picture of an archive becomes one line of its results: what every worker does, here or on a cluster."""

from __future__ import annotations

import hashlib
import json
import math
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2

from edgeleuk.batch.images import classify_picture
from edgeleuk.bundle.reading import decode_bundle
from edgeleuk.classifier.self_test import open_tested_classifier
from edgeleuk.errors import BundleError, DataRefusedError, IntegrityError
from edgeleuk.io.pictures.decoding import decode, read_bytes
from edgeleuk.io.pictures.limit import MOST_MEGAPIXELS, allow_megapixels
from edgeleuk.version import RESEARCH_USE, __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeleuk.batch.images import ImageResult, OnPicture
    from edgeleuk.bundle.manifest import Abstain
    from edgeleuk.classifier.classifier import Classifier
    from edgeleuk.frames import Cell


class Picture(NamedTuple):
    """A picture of an archive.

    Attributes
    ----------
    name : str
        Its path, as the archive was named.
    data : bytes or None
        What the file holds; None where the worker reads it itself.
    error : str or None
        Why it could not even be found or read.
    """

    name: str
    data: bytes | None = None
    error: str | None = None


class Standard(NamedTuple):
    """What pictures are judged by; two results compare only where it is the same.

    Attributes
    ----------
    edgeleuk : str
        Version of the program.
    bundle_sha256 : str
    runtime, precision : str
    px_per_um : float or None
    abstain : str
    gate : bool
    most_megapixels : float
    """

    edgeleuk: str
    bundle_sha256: str
    runtime: str
    precision: str
    px_per_um: float | None
    abstain: Abstain
    gate: bool = True
    most_megapixels: float = MOST_MEGAPIXELS

    def to_json(self) -> dict[str, object]:
        """Return it as it stands in each line, without what only says which pictures are refused."""
        values = self._asdict()
        del values["most_megapixels"]
        return values


_BUNDLES: dict[str, bytes] = {}
_HERE = threading.local()


def keep_bundle(data: bytes, sha256: str) -> None:
    """Take in the bundle that this process judges by.

    Raises
    ------
    BundleError
        The bytes are not those that were sent.
    """
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise BundleError("the bundle did not arrive as it was sent", got=found[:16], allowed=sha256[:16])
    _BUNDLES[sha256] = data


def judge(
    pictures: Sequence[Picture], standard: Standard, threads: int, on_picture: OnPicture | None = None
) -> list[str]:
    """Classify every white cell of every picture, with a network of so many threads.

    Parameters
    ----------
    pictures : sequence of Picture
    standard : Standard
    threads : int
    on_picture : callable, optional
        Is told (file, pixels, result, cells of a field) of each picture that could be read.

    Returns
    -------
    list of str
        One JSON object for each picture, in their order. One that cannot be read has an ``error``.

    Raises
    ------
    IntegrityError
        This process runs another version, or has not got the bundle.
    EdgeleukError
        As `open_tested_classifier`.
    """
    if standard.edgeleuk != __version__:
        raise IntegrityError(
            "a worker runs another version of edgeleuk",
            got=__version__,
            allowed=standard.edgeleuk,
            cure="install the same version everywhere",
        )
    allow_megapixels(standard.most_megapixels)
    classifier = _classifier(standard, threads)
    return [_line(picture, classifier, standard, on_picture) for picture in pictures]


def line_of(
    picture: Picture, standard: Standard, found: ImageResult | None, data: bytes | None, error: str | None
) -> str:
    """Return the line of a picture's results."""
    facts = {} if found is None else found.to_json()
    value = {
        "file": picture.name,
        "bytes": None if data is None else len(data),
        "sha256": None if data is None else hashlib.sha256(data).hexdigest(),
        **standard.to_json(),
        "kind": facts.get("kind"),
        "scale": facts.get("px_per_um"),
        "rejected": facts.get("rejected"),
        "notes": facts.get("notes", []),
        "cells": [_plain(cell) for cell in facts.get("cells", ())],
        "error": error,
        "research_use": RESEARCH_USE,
    }
    return json.dumps(value, allow_nan=False)


def _line(picture: Picture, classifier: Classifier, standard: Standard, on_picture: OnPicture | None) -> str:
    data, path = picture.data, Path(picture.name)
    found = pixels = None
    cells: list[Cell] = []
    error = picture.error
    if error is None:
        try:
            if data is None:
                data = read_bytes(path)
            decoded = decode(data, path)
            found, cells = classify_picture(
                path, decoded, classifier, standard.px_per_um, quality_check=standard.gate
            )
            pixels = decoded.pixels
        except DataRefusedError as refused:
            error = refused.what.removeprefix(f"{path} ")
            error += "" if refused.got is None else f": {refused.got}"
        except OSError as failed:
            error = failed.strerror or str(failed)
        except (cv2.error, MemoryError) as failed:
            error = f"cannot be decoded: {str(failed).strip() or type(failed).__name__}"
    # Not within the `try`: that nothing can be drawn is no error of the picture.
    if on_picture is not None and found is not None and pixels is not None:
        on_picture(path, pixels, found, cells)
    return line_of(picture, standard, found, data, error)


def _plain(cell: dict[str, Any]) -> dict[str, Any]:
    probability = cell["probability"]
    if probability is not None and math.isnan(probability):
        return {**cell, "probability": None}
    return cell


def _classifier(standard: Standard, threads: int) -> Classifier:
    """Return this thread's classifier: a network answers one caller at a time."""
    if getattr(_HERE, "opened", None) != (standard, threads):
        if standard.bundle_sha256 not in _BUNDLES:
            raise IntegrityError("a worker has not got the bundle", cure="run the same command again")
        bundle = decode_bundle(_BUNDLES[standard.bundle_sha256], Path("the bundle"))
        if getattr(_HERE, "opened", None) is not None:
            _HERE.opened = None
            _HERE.classifier.close()
        _HERE.classifier = open_tested_classifier(
            bundle,
            runtime=standard.runtime,
            precision=standard.precision,
            threads=threads,
            abstain=standard.abstain,
        )
        _HERE.opened = standard, threads
    classifier: Classifier = _HERE.classifier
    return classifier
