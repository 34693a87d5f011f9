"""The shares of white cells, corrected for how often each kind is called another.

The estimate is the maximum likelihood of the true shares, none below 0 and all together 1, for a known matrix
of confusions; it is found by expectation and maximisation. For two kinds it is Rogan and Gladen's, cut at 0
and 1: "Estimating prevalence from the results of a screening test", American Journal of Epidemiology 107
(1978), 71-76. For many kinds: Hay, "The derivation of global estimates from a confusion matrix",
International Journal of Remote Sensing 9 (1988), 1395-1398; Perez et al., "Misclassified multinomial data: a
Bayesian approach", RACSAM 101 (2007), 71-80.

The 95 % intervals hold for each share alone. They carry the uncertainty of the count and of the matrix, by
`DRAWS` random draws of both from a fixed seed. Called cells are drawn as gamma variables. Each row of the
matrix is drawn from a Dirichlet distribution of the kind's effective held-out cells, and of one more cell
that is spread over all kinds (Perks's prior). Two things that nobody saw are allowed for. A kind of which no
cell was called may be there all the same: for the upper end it has one called cell more, as in Clopper and
Pearson's interval. Cells may be called a kind wrongly although no held-out cell was: for the lower end half a
cell more of each true kind was. No upper end is nearer to 0, and no lower one to 1, than without any
confusion. Coverage is tested by simulation.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.counting.differential import LEAST_CELLS, UNCERTAIN, WHITE_KINDS, by_final_name
from edgeleuk.results.kinds import NOT_WHITE, Kind
from edgeleuk.results.structs import CorrectedWhiteCells, Interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

DRAWS = 2000
# Held-out cells more that were called wrongly; by simulation so many let 97.5 % of the lower ends hold.
FURTHER_HELD_OUT = 0.5
# An error of a called share becomes at most so many times as large in a corrected one.
MOST_AMPLIFIED = 20.0
# Of all called cells that the matrix knows, the true share of white cells below which theirs are not told.
LEAST_WHITE = 0.1
_SEED = 20
_MOST_STEPS = 20_000
_NOT_WHITE = frozenset(kind.value for kind in NOT_WHITE)


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often held-out cells of each kind were called which kind.

    Attributes
    ----------
    kinds : tuple of str
        By final name, such as ``blast``, ``lymphocyte`` and ``band``.
    counts : tuple of tuple of float
        A row for each true kind, in it a column for each called kind, in the order of `kinds`. Cells that
        were ``uncertain`` are not in it.
    effective : tuple of float
        How many independent cells each row is worth: cells of one slide are alike. See
        `edgeleuk.counting.intervals.effective_cells`.

    Raises
    ------
    ValueError
        If a kind is unknown, the matrix is not square, a number is below 0 or not finite, or a row is worth
        more cells than it has.
    """

    kinds: tuple[str, ...]
    counts: tuple[tuple[float, ...], ...]
    effective: tuple[float, ...]

    def __post_init__(self) -> None:
        size = len(self.kinds)
        rows = [len(row) for row in self.counts]
        numbers = [*self.effective, *(count for row in self.counts for count in row)]
        if (
            not size
            or len(set(self.kinds)) < size
            or not set(self.kinds) <= {*WHITE_KINDS, *_NOT_WHITE}
            or rows != [size] * size
            or len(self.effective) != size
            or not all(0 <= number < math.inf for number in numbers)
            or any(
                effective > sum(row) * (1 + 1e-9)
                for effective, row in zip(self.effective, self.counts, strict=True)
            )
        ):
            msg = (
                "expected a square matrix of counts of known kinds, each 0 or more, and for each row as many"
                f" effective cells as it has or fewer, got {self.counts} and {self.effective} of {self.kinds}"
            )
            raise ValueError(msg)

    def to_json(self) -> dict[str, object]:
        """Return the object that a bundle or a session records."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class KnownKinds:
    """What a bundle tells of the kinds of cells.

    Attributes
    ----------
    asked : tuple of str
        Kinds that it can name; empty where it names none.
    confusion : Confusion or str
        How often it confuses them in the laboratory that taught it, or why that is not known.
    """

    asked: tuple[str, ...] = ()
    confusion: Confusion | str = "nothing was recorded of how often kinds are confused"

    def to_json(self) -> dict[str, object]:
        """Return the object that a session records."""
        known = self.confusion
        confusion = {"reason": known} if isinstance(known, str) else known.to_json()
        return {"asked": list(self.asked), "confusion": confusion}


def known_kinds_of(recorded: object) -> KnownKinds:
    """Read what a session recorded; one of an earlier version recorded nothing.

    Examples
    --------
    >>> known_kinds_of(None).asked
    ()
    """
    if not isinstance(recorded, dict) or not isinstance(recorded.get("asked"), list | tuple):
        return KnownKinds()
    names = {*WHITE_KINDS, *_NOT_WHITE, Kind.BLAST_LIKE.value}
    asked = tuple(name for name in recorded["asked"] if isinstance(name, str) and name in names)
    return KnownKinds(asked, confusion_of(recorded.get("confusion")))


def confusion_of(recorded: object) -> Confusion | str:
    """Read what was recorded; the reason where it has none.

    Examples
    --------
    >>> confusion_of({"reason": "the laboratory has no held-out cells"})
    'the laboratory has no held-out cells'
    """
    if not isinstance(recorded, dict):
        return "nothing was recorded of how often kinds are confused"
    if "reason" in recorded:
        return str(recorded["reason"])
    try:
        return Confusion(
            tuple(str(kind) for kind in recorded["kinds"]),
            tuple(tuple(float(count) for count in row) for row in recorded["counts"]),
            tuple(float(cells) for cells in recorded["effective"]),
        )
    except (KeyError, TypeError, ValueError):
        return "what was recorded of how often kinds are confused cannot be read"


def corrected_shares(counts: Mapping[str, int], confusion: Confusion | str) -> CorrectedWhiteCells:
    """Correct the shares of white cells for known confusions.

    Kinds that are no white cells, such as ``smudge``, may be in the matrix: those of them that were called
    white are then taken off. The shares are of the white cells alone.

    Parameters
    ----------
    counts : mapping of str to int
        Called cells by final name, as `edgeleuk.counting.differential.differential` takes them. Those that
        are no white cells are left out where the matrix does not know them, ``uncertain`` ones always.
    confusion : Confusion or str
        Or why it is not known.

    Returns
    -------
    CorrectedWhiteCells
        With the reason where there are no shares.

    Examples
    --------
    >>> confusion = Confusion(("blast", "lymphocyte"), ((95, 5), (10, 90)), (100, 100))
    >>> found = corrected_shares({"blast": 44, "lymphocyte": 56}, confusion).kinds["blast"]
    >>> round(found.share, 6), round(found.low, 2), round(found.high, 2)
    (0.4, 0.27, 0.53)
    """
    called = {name: n for name, n in by_final_name(counts).items() if name != UNCERTAIN and n}
    n = sum(count for name, count in called.items() if name not in _NOT_WHITE)
    if isinstance(confusion, str):
        return CorrectedWhiteCells(n=n, reason=confusion, kinds={}, effective={})
    effective = dict(zip(confusion.kinds, confusion.effective, strict=True))
    reason = _no_correction(called, n, confusion)
    if reason is None:
        found = _corrected(np.array([called.get(kind, 0) for kind in confusion.kinds], float), confusion)
        if not isinstance(found, str):
            return CorrectedWhiteCells(n=n, reason=None, kinds=found, effective=effective)
        reason = found
    return CorrectedWhiteCells(n=n, reason=reason, kinds={}, effective=effective)


def corrected_text(facts: CorrectedWhiteCells) -> list[str]:
    """Say corrected shares in lines.

    Examples
    --------
    >>> nothing = CorrectedWhiteCells(n=3, reason="only 3 white cells", kinds={}, effective={})
    >>> corrected_text(nothing)
    ['corrected no shares: only 3 white cells']
    """
    if facts.reason is not None:
        return [f"corrected no shares: {facts.reason}"]
    lines = [
        f"corrected shares of {facts.n} white cells, each alone with its 95 % interval, if held-out cells are"
        " like these"
    ]
    width = max(len(name) for name in facts.kinds)
    for name, of in facts.kinds.items():
        lines.append(
            f"          {name:<{width}}  {of.share:>6.1%}  {of.low:>6.1%} to {of.high:>6.1%}"
            f"  known as from {facts.effective[name]:.0f} cells"
        )
    return lines


def most_likely_shares(called: NDArray[np.float64], confusions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the true shares that explain called cells best.

    Parameters
    ----------
    called : ndarray of float64, shape (K,)
        Cells; more than none.
    confusions : ndarray of float64, shape (K, K)
        Of each true kind, the share that is called each kind. Rows sum to 1, no column is empty where cells
        were called so, and it has an inverse.

    Returns
    -------
    ndarray of float64, shape (K,)
        0 or more, with the sum 1.
    """
    observed = called / called.sum()
    solved = np.linalg.solve(confusions.T, observed)
    if solved.min() >= -1e-9:
        # It explains the count exactly, so that nothing is more likely; what is below 0 is by rounding.
        solved = solved.clip(0)
        return np.asarray(solved / solved.sum(), np.float64)
    shares = np.full(len(called), 1 / len(called))
    for _ in range(_MOST_STEPS):
        expected = shares @ confusions
        ratio = np.divide(observed, expected, out=np.zeros_like(observed), where=observed > 0)
        better = shares * (confusions @ ratio)
        if np.abs(better - shares).max() < 1e-10:
            break
        shares = better
    return np.asarray(better / better.sum(), np.float64)


def _no_correction(called: Mapping[str, int], n: int, confusion: Confusion) -> str | None:
    """Say why nothing can be corrected; None where it can be."""
    if n < LEAST_CELLS:
        return f"only {n} white cells were called, {LEAST_CELLS} or more are needed"
    unknown = [name for name in called if name not in confusion.kinds and name not in _NOT_WHITE]
    if unknown:
        return f"it is not known how often {_listed(unknown)} is confused with other kinds"
    rows = dict(zip(confusion.kinds, confusion.counts, strict=True))
    without = [
        kind
        for kind, effective in zip(confusion.kinds, confusion.effective, strict=True)
        if not sum(rows[kind]) or not effective
    ]
    if without:
        return f"no cell of {_listed(without)} was held out"
    never = [
        kind
        for kind, column in zip(confusion.kinds, zip(*confusion.counts, strict=True), strict=True)
        if kind in called and not sum(column)
    ]
    if never:
        return f"no held-out cell was called {_listed(never)}, yet cells of this count are"
    return _alike(confusion)


def _alike(confusion: Confusion) -> str | None:
    """Say which kinds are called so alike that their shares cannot be told apart."""
    matrix = _rates(confusion)
    if len(matrix) == 1 or (
        np.linalg.cond(matrix) < 1e9 and np.abs(np.linalg.inv(matrix)).max() <= MOST_AMPLIFIED
    ):
        return None
    distance = np.abs(matrix[:, None] - matrix[None]).sum(axis=2) + 9 * np.eye(len(matrix))
    first, second = divmod(int(distance.argmin()), len(matrix))
    return (
        "on held-out cells the kinds are called too much alike to tell their shares, most of all"
        f" {confusion.kinds[first]} and {confusion.kinds[second]}"
    )


def _corrected(called: NDArray[np.float64], confusion: Confusion) -> dict[str, Interval] | str:
    matrix = _rates(confusion)
    white = [index for index, kind in enumerate(confusion.kinds) if kind not in _NOT_WHITE]
    shares = most_likely_shares(called, matrix)[white]
    if shares.sum() < LEAST_WHITE:
        return "by the known confusions hardly any of the cells are white cells"
    low, high = _drawn_ends(called, matrix, np.array(confusion.effective), white)
    # A share that is about four standard errors outside 0 to 1 is not one of such cells.
    half = (high - low) / 2
    if (high + half < 0).any() or (low - half > 1).any():
        return "the known confusions do not hold for these cells: no shares explain the count"
    shares = shares / shares.sum()
    # Of none among n cells the exact upper end, and of n among n the lower one.
    of_all = 0.025 ** (1 / called[white].sum())
    # The likeliest shares are cut at 0 all together, the intervals' ends each alone.
    low, high = np.minimum(low.clip(0, of_all), shares), np.maximum(high.clip(1 - of_all, 1), shares)
    return {
        confusion.kinds[kind]: Interval(
            share=float(shares[index]), low=float(low[index]), high=float(high[index])
        )
        for index, kind in enumerate(white)
    }


def _drawn_ends(
    called: NDArray[np.float64],
    matrix: NDArray[np.float64],
    effective: NDArray[np.float64],
    white: Sequence[int],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw counts and matrices, and return the 2.5 and 97.5 % quantiles of what they explain, not cut at 0.

    Returns
    -------
    low, high : ndarray of float64, shape (white kinds,)
    """
    size = len(called)
    random = np.random.default_rng(_SEED)
    drawn = random.standard_gamma(
        np.broadcast_to(effective[:, None] * matrix + 1 / size, (DRAWS, size, size))
    )
    held_out = drawn.sum(axis=2)
    inverse = np.linalg.inv(drawn / held_out[..., None])
    cells = random.standard_gamma(np.broadcast_to(called, (DRAWS, size)))
    least = LEAST_WHITE / 2 * cells.sum(axis=1, keepdims=True)
    explained = np.einsum("dj,dji->di", cells, inverse)
    own = np.einsum("dii->di", inverse)
    # The upper end: one more called cell, which adds to its kind and to all white ones.
    further = random.standard_exponential((DRAWS, size))
    upper = _share_of(
        explained + further * own,
        explained[:, white].sum(axis=1, keepdims=True) + further * inverse[:, :, white].sum(axis=2),
        least,
    )
    # The lower end: of each true kind more held-out cells were called so. That is (1 - part) times each row
    # and part of the column, whose inverse Sherman and Morrison's formula gives.
    more = FURTHER_HELD_OUT * random.standard_exponential((DRAWS, size))
    part = more / (held_out + more)
    kept = 1 - part
    scaled = explained / kept
    factor = (scaled * part).sum(axis=1, keepdims=True) / (1 + np.einsum("dij,dj->di", inverse, part / kept))
    of_white = np.einsum("dij,dj->di", inverse[:, :, white], 1 / kept[:, white])
    lower = _share_of(
        scaled - factor * own / kept,
        scaled[:, white].sum(axis=1, keepdims=True) - factor * of_white,
        least,
    )
    return np.quantile(lower, 0.025, axis=0)[white], np.quantile(upper, 0.975, axis=0)[white]


def _share_of(
    cells: NDArray[np.float64], of_cells: NDArray[np.float64], least: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Divide; draws in which hardly any cell is white must not divide by 0."""
    return np.asarray(cells / np.maximum(of_cells, least), np.float64)


def _rates(confusion: Confusion) -> NDArray[np.float64]:
    counts = np.array(confusion.counts, np.float64)
    return np.asarray(counts / counts.sum(axis=1, keepdims=True), np.float64)


def _listed(names: Sequence[str]) -> str:
    return " or ".join(names)
