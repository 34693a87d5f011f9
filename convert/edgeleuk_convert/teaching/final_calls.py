"""How often a taught bundle confuses kinds, by calls of cells whose slide had not taught it.

Cells are called as the device calls them: kind first, then blast or not, with all that makes one uncertain.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgeleuk.classifier.decision import decide, evidence_of
from edgeleuk.counting.confusion import Confusion
from edgeleuk.counting.intervals import Z_95
from edgeleuk.results import Decision
from edgeleuk.results.kinds import BLAST, NORMAL, Kind
from edgeleuk_convert.teaching.fitting import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from edgeleuk.classifier.decision import CellEvidence, Rules
    from edgeleuk.results import Prediction
    from edgeleuk_convert.teaching.choices import Task
    from edgeleuk_convert.teaching.kernels import Floats
    from edgeleuk_convert.teaching.measuring import MeasuredCells
    from edgeleuk_convert.teaching.validating import Validated

LYMPHOCYTE = Kind.LYMPHOCYTE.value
# Of fewer called cells a row tells nothing of what a kind is called.
LEAST_CALLED = 5


class OfKinds(NamedTuple):
    """What nested validation said of the cells' kinds."""

    task: Task
    found: Validated


def held_out_confusion(
    cells: MeasuredCells, rules: Rules, kinds: OfKinds | None, blasts: Floats
) -> dict[str, object]:
    """Call cells by a taught bundle, each by what was taught without its slide, and count the confusions.

    Parameters
    ----------
    cells : MeasuredCells
        The n that taught.
    rules : Rules
        What the taught bundle judges by.
    kinds : OfKinds or None
        None where the labels taught no head for kinds: then none has seen these cells.
    blasts : (n,) float64
        Calibrated probability of a blast; NaN of cells that taught no head for blasts.

    Returns
    -------
    dict
        What ``validation.json`` says of it; see `edgeleuk.bundle.validation.KnownConfusion`.
    """
    evidence = evidence_of(cells.answer, cells.areas_um2.tolist(), cells.looks, rules, list(cells.numbers))
    called = [final_name(decide(one, rules)) for one in _held_out(evidence, kinds, blasts)]
    return confusion_facts([true_name(label) for label in cells.label], called, cells.slide.tolist())


def _held_out(evidence: Sequence[CellEvidence], kinds: OfKinds | None, blasts: Floats) -> list[CellEvidence]:
    """Put what was said of each cell without its slide in place of what it was taught itself."""
    found = [
        one if math.isnan(probability) else one._replace(probability=float(probability))
        for one, probability in zip(evidence, blasts, strict=True)
    ]
    if kinds is None:
        return found
    near = nearest(kinds.task, kinds.found)
    return [
        one._replace(kinds=row, kind_distance=float(distance))
        for one, row, distance in zip(found, kinds.found.nested, near, strict=True)
    ]


def true_name(label: str) -> str | None:
    """Return what a labelled cell should be counted as; None where the label leaves it open."""
    if label == NORMAL:
        return LYMPHOCYTE
    return None if label == Kind.BLAST_LIKE else label


def final_name(prediction: Prediction) -> str | None:
    """Return what a called cell is counted as; None of an uncertain one."""
    if prediction.decision is Decision.OTHER:
        return None if prediction.kind is None else prediction.kind.value
    return {Decision.BLAST: BLAST, Decision.NORMAL: LYMPHOCYTE}.get(prediction.decision)


def confusion_facts(
    truth: Sequence[str | None], called: Sequence[str | None], slide: Sequence[str]
) -> dict[str, object]:
    """Count how often each kind was called which one.

    Uncertain cells are left out, and so are calls of kinds that nobody labelled: of those nothing is known.
    So are kinds whose cells are nearly all uncertain: a row of `LEAST_CALLED` cells is the least.

    Parameters
    ----------
    truth, called : sequence of str or None
        Final names; see `true_name` and `final_name`.
    slide : sequence of str

    Examples
    --------
    >>> truth = ["band"] * 6 + ["neutrophil"] * 6
    >>> called = ["band"] * 5 + ["neutrophil"] * 6 + ["monocyte"]
    >>> found = confusion_facts(truth, called, ["a", "b"] * 6)
    >>> found["kinds"], found["counts"]
    (('neutrophil', 'band'), ((5, 0), (1, 5)))
    >>> confusion_facts(["band"], [None], ["a"])
    {'reason': 'of no kind 5 held-out cells were called'}
    """
    told = [one for one in zip(truth, called, slide, strict=True) if one[0] and one[1]]
    kinds: set[str | None] = set()
    # A kind that is called what nobody labelled falls away with those calls.
    while kinds != (known := _often_called(true for true, _, _ in told)):
        kinds = known
        told = [one for one in told if one[0] in kinds and one[1] in kinds]
    if not kinds:
        return {"reason": f"of no kind {LEAST_CALLED} held-out cells were called"}
    names = [name for name in (BLAST, *(kind.value for kind in Kind)) if name in kinds]
    counts = np.zeros((len(names), len(names)), np.int64)
    for true, call, _ in told:
        counts[names.index(str(true)), names.index(str(call))] += 1
    effective = []
    for name in names:
        rows = [(call == name, of_slide) for true, call, of_slide in told if true == name]
        effective.append(
            effective_of_slides(
                np.array([right for right, _ in rows]), np.array([of_slide for _, of_slide in rows])
            )
        )
    return Confusion(tuple(names), tuple(map(tuple, counts.tolist())), tuple(effective)).to_json()


def _often_called(truth: Iterable[str | None]) -> set[str | None]:
    return {kind for kind, called in Counter(truth).items() if called >= LEAST_CALLED}


def effective_of_slides(right: npt.NDArray[np.bool_], slide: npt.NDArray[np.str_]) -> float:
    """Return how many independent cells have the interval that cells of so many slides have.

    The variance of the share is that between slides, as of a ratio of sums (Cochran, "Sampling Techniques",
    3rd edition, 1977), and its interval Student's: few slides tell little of how they differ. Where all or no
    cells are right that tells nothing, and each slide counts as one cell.

    Parameters
    ----------
    right : (n,) bool
        At least one.
    slide : (n,) str

    Examples
    --------
    >>> effective_of_slides(np.array([True] * 30), np.array(["a"] * 10 + ["b"] * 20))
    2.0
    """
    names, index = np.unique(slide, return_inverse=True)
    cells, groups, share = len(right), len(names), float(right.mean())
    if groups < 2 or not 0 < share < 1:
        return float(groups)
    differences = np.bincount(index, right - share, groups)
    variance = float((differences**2).sum()) * groups / (groups - 1) / cells**2
    if not variance:
        return float(groups)
    widened = variance * (_student_975(groups - 1) / Z_95) ** 2
    return max(1.0, min(float(cells), share * (1 - share) / widened))


def _student_975(freedom: int) -> float:
    """Return Student's 97.5 % quantile: exact for 1 and 2 degrees of freedom, else Cornish and Fisher's."""
    if freedom == 1:
        return math.tan(0.475 * math.pi)
    if freedom == 2:
        return 0.95 * math.sqrt(2 / (1 - 0.95**2))
    z = Z_95
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + math.fsum(term * freedom**-power for power, term in enumerate(terms, start=1))
