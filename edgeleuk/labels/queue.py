"""Which cells a person should label next: in doubt, unlike the known ones, and unlike one another.

Each cell in turn is the one whose label would settle most of what is in doubt. In the model of the heads,
a Gaussian process, that is the fall of the posterior variance, summed over the cells by their doubt. A cell
like one that is known, or like one taken before, settles little; one like many others in doubt, much.
Sources: Cohn, Ghahramani and Jordan, "Active Learning with Statistical Models", JAIR 4, 1996; Rasmussen and
Williams, "Gaussian Processes for Machine Learning", 2006, equation 2.26.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.results.kinds import LYMPHOID

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from edgeleuk.results.kinds import Kind

    Floats = npt.NDArray[np.float64]

# How little one label is believed, against the variance 1 of a cell of which nothing is known.
RIDGE = 0.1
# Of more cells than these only the most doubtful are compared with one another: memory grows with the square.
CANDIDATES = 1500
_NO_DOUBT = 1e-12


def doubts(kinds: Floats | None, names: Sequence[Kind], blast: Floats) -> Floats:
    """Return how much in doubt each cell is: 0 sure, 1 undecided between two.

    Lymphoid kinds count as one; of them it is asked instead how sure it is that they are blasts or not.

    Parameters
    ----------
    kinds : (n, K) float64 or None
        Probability of each kind; None where the bundle knows none.
    names : sequence of Kind
        Of the K columns.
    blast : (n,) float64
        Probability of a blast, asked of lymphoid cells.

    Returns
    -------
    (n,) float64
    """
    of_blast = 1 - np.abs(2 * np.nan_to_num(blast, nan=0.5) - 1)
    if kinds is None:
        return of_blast
    lymphoid = np.array([name in LYMPHOID for name in names])
    share = kinds[:, lymphoid].sum(axis=1)
    groups = np.sort(np.column_stack([kinds[:, ~lymphoid], share, np.zeros(len(kinds))]), axis=1)
    of_kind = 1 - (groups[:, -1] - groups[:, -2])
    found: Floats = np.maximum(of_kind, share * of_blast)
    return found


def queue(
    z: Floats, doubt: Floats, slide: Sequence[str], known: Floats, count: int, gamma: float
) -> list[int]:
    """Return the rows of the cells to be labelled, the most telling first.

    Teaching wants cells of several slides: each gets half of an equal share at least.

    Parameters
    ----------
    z : (n, D) float64
        Standardised features.
    doubt : (n,) float64
        See `doubts`.
    slide : sequence of str
        Of each cell.
    known : (m, D) float64
        Cells that taught the heads, or were labelled since; standardised alike. There may be none.
    count : int
    gamma : float
        Of the kernel.
    """
    _, index = np.unique(np.asarray(slide, np.str_), return_inverse=True)
    weights = doubt / np.maximum(np.bincount(index, doubt), _NO_DOUBT)[index]
    # A stable order: the same cells give the same queue.
    rows = np.sort(np.argsort(-weights, kind="stable")[:CANDIDATES])
    weights, left = weights[rows], _open(z[rows], known, gamma)
    of_row, slides = index[rows], int(index.max()) + 1
    taken: list[int] = []
    for number in range(1, min(count, len(rows)) + 1):
        settled = weights @ left**2 / (np.diag(left) + RIDGE)
        # Begun early enough for each slide to be served in its turn.
        late = np.bincount(of_row[taken], minlength=slides) < (number + slides - 1) // (2 * slides)
        settled += np.where(late[of_row], settled.max() + 1, 0)
        settled[taken] = -np.inf
        best = int(np.argmax(settled))
        taken.append(best)
        towards = left[:, best].copy()
        left -= np.outer(towards, towards) / (towards[best] + RIDGE)
    return [int(rows[row]) for row in taken]


def _open(z: Floats, known: Floats, gamma: float) -> Floats:
    """Return the covariance that known cells leave of n others, (n, n)."""
    left = _kernel(z, z, gamma)
    if not len(known):
        return left
    towards = _kernel(known, z, gamma)
    of_known = _kernel(known, known, gamma) + RIDGE * np.eye(len(known))
    found: Floats = left - towards.T @ np.linalg.solve(of_known, towards)
    return found


def _kernel(one: Floats, other: Floats, gamma: float) -> Floats:
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2 * one @ other.T
    found: Floats = np.exp(-gamma / one.shape[1] * np.maximum(squares, 0))
    return found
