"""How well two people agree beyond chance: Cohen's kappa, with an interval that few cells keep honest."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from edgeleuk.results.binomial import clopper_pearson
from edgeleuk.results.kinds import BLAST, LYMPHOID, NORMAL, Kind
from edgeleuk.results.structs import Printed

if TYPE_CHECKING:
    from collections.abc import Sequence


class Kappa(Printed, frozen=True, kw_only=True):
    """Agreement of two people.

    Attributes
    ----------
    cells : int
        That both labelled.
    observed, expected : float
        Share of cells on which they agree, and that on which chance would let them.
    kappa, low, high : float or None
        With its 95 % interval; None where both use one label alone, so that chance explains everything.
    """

    cells: int
    observed: float
    expected: float
    kappa: float | None
    low: float | None
    high: float | None


def cohens_kappa(pairs: Sequence[tuple[str, str]]) -> Kappa:
    """Compare two people's labels.

    Kappa is (observed - expected) / (1 - expected) (Cohen, Educational and Psychological Measurement 20,
    1960). The interval takes the expected share for known, as Cohen's own standard error does, and the
    observed one for binomial, with Clopper and Pearson's exact limits: full agreement on five cells is no
    certainty.

    Parameters
    ----------
    pairs : sequence of (str, str)
        At least one: what the first and what the second person called a cell.

    Examples
    --------
    >>> cohens_kappa([("band", "band")] * 20 + [("smudge", "smudge")] * 20).kappa
    1.0
    """
    alike = [_comparable(*pair) for pair in pairs]
    n = len(alike)
    first, second = Counter(one for one, _ in alike), Counter(other for _, other in alike)
    agreed = sum(one == other for one, other in alike)
    observed = agreed / n
    expected = sum(first[label] * second[label] for label in first) / n**2
    if expected >= 1:
        return Kappa(cells=n, observed=observed, expected=1.0, kappa=None, low=None, high=None)
    low, high = clopper_pearson(agreed, n)
    kappa, least, most = ((share - expected) / (1 - expected) for share in (observed, low, high))
    return Kappa(cells=n, observed=observed, expected=expected, kappa=kappa, low=max(-1.0, least), high=most)


def _comparable(one: str, other: str) -> tuple[str, str]:
    """Compare a lymphoid kind with ``blast`` or ``normal`` as that kind: the one says more, and no other."""
    for finer, kind in ((one, other), (other, one)):
        if finer in (BLAST, NORMAL) and kind not in (BLAST, NORMAL) and Kind(kind) in LYMPHOID:
            return kind, kind
    return one, other
