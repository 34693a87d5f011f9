"""How often a bundle's network was right on held-out cells, as its ``validation.json`` says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edgeleuk.bundle.manifest import MODEL_FILES, VALIDATION
from edgeleuk.counting import KnownError, Rate, effective_cells
from edgeleuk.errors import BundleError

if TYPE_CHECKING:
    from edgeleuk.bundle.reading import Bundle


class _Network(msgspec.Struct):
    cells: int
    groups: int
    accuracy: float
    sensitivity: float
    specificity: float
    interval_95: dict[str, tuple[float, float]] = {}


class _Validation(msgspec.Struct):
    threshold: float | None = None
    tflite_int8: _Network | None = None
    onnx_int8: _Network | None = None
    tensorrt_int8: _Network | None = None
    reference: _Network | None = None


def known_error(bundle: Bundle, model: str) -> KnownError | str:
    """Read how often a network was right; the reason where nobody knows.

    Held-out cells come in groups (subjects that show the same cells count as one) and are alike within
    them: each rate is worth as many independent cells as have the interval that the bootstrap over
    groups found.

    Parameters
    ----------
    bundle : Bundle
    model : str
        A network's member.

    Raises
    ------
    BundleError
        The validation cannot be read.
    """
    try:
        said = msgspec.json.decode(bundle.members[VALIDATION], type=_Validation)
    except msgspec.DecodeError as error:
        raise BundleError(f"the validation in {bundle.path.name} cannot be read", got=str(error)) from error
    found: _Network | None = getattr(said, MODEL_FILES[model].key, None)
    if found is None:
        return "the bundle does not tell how often this network is right"
    if said.threshold != bundle.manifest.output.threshold:
        return "the bundle was validated with another threshold"
    se, sp = found.sensitivity, found.specificity
    # Of correct = se * positives + sp * (cells - positives); where both are equal, that tells nothing.
    positives = found.cells * ((found.accuracy - sp) / (se - sp) if se != sp else 0.5)
    rates = []
    for name, share, cells in (
        ("sensitivity", se, positives),
        ("specificity", sp, found.cells - positives),
    ):
        effective = effective_cells(share, cells, found.groups, found.interval_95.get(name))
        rates.append(Rate(share, round(cells, 6), effective))
    return KnownError(said.threshold, *rates)
