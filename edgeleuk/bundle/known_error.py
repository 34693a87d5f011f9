"""How often a bundle was right on held-out cells, as its ``validation.json`` says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeleuk.bundle.manifest import MODEL_FILES
from edgeleuk.bundle.validation import read_validation
from edgeleuk.counting.confusion import KnownKinds
from edgeleuk.counting.intervals import KnownError, Rate, effective_cells

if TYPE_CHECKING:
    from edgeleuk.bundle.contents import Bundle
    from edgeleuk.bundle.validation import Network

NOT_OF_THIS_LABORATORY = (
    "the bundle carries no figures of cells held out in your laboratory, as one of `edgeleuk teach` does"
)


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
    said = read_validation(bundle)
    found: Network | None = getattr(said, MODEL_FILES[model].key)
    if found is None:
        return "the bundle does not tell how often this network is right"
    if said.threshold != bundle.manifest.output.threshold:
        return "the bundle was validated with another threshold"
    se, sp = found.sensitivity, found.specificity
    positives = found.positives
    rates = []
    for name, share, cells in (
        ("sensitivity", se, positives),
        ("specificity", sp, found.cells - positives),
    ):
        effective = effective_cells(share, cells, found.groups, _interval(found, name))
        rates.append(Rate(share, round(cells, 6), effective))
    return KnownError(said.threshold, *rates)


def known_kinds(bundle: Bundle) -> KnownKinds:
    """Read which kinds a bundle names, and how often it confuses them in the laboratory that taught it.

    Raises
    ------
    BundleError
        The validation cannot be read.
    """
    contract, said = bundle.manifest.kind, read_validation(bundle).confusion
    known = NOT_OF_THIS_LABORATORY if said is None else said.known()
    return KnownKinds(() if contract is None else tuple(kind.value for kind in contract.kinds), known)


def _interval(network: Network, metric: str) -> tuple[float, float] | None:
    low, high = network.interval_95.get(metric, (None, None))
    return None if low is None or high is None else (low, high)
