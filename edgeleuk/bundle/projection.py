"""Where a cell lies for a head, and how far from what taught it: for support vectors and kernel heads.

Features are standardised, and may then be projected onto fewer directions. A head whose vectors lie among
those few holds a fraction of the numbers; see "Cheaper heads" in ``docs/models.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeleuk.bundle.arrays import Arrays

    Floats = npt.NDArray[np.float32]
    Halves = npt.NDArray[np.float16]


def require_projection(projection: Halves | None, features: int, directions: int) -> None:
    """Refuse a projection that does not lead from a head's features to its vectors.

    Parameters
    ----------
    projection : (D, P) float16 or None
        Without one, vectors lie among the features themselves.
    features, directions : int
        D, and how many numbers a vector has.

    Raises
    ------
    ValueError
    """
    expected = (features,) * (projection is None) or (features, directions)
    found = (directions,) if projection is None else projection.shape
    if found != expected:
        msg = f"expected vectors or a projection of shape {expected}, got {found}"
        raise ValueError(msg)
    if projection is not None and not np.isfinite(projection).all():
        msg = "expected a projection of finite numbers"
        raise ValueError(msg)


def standardised(cells: npt.ArrayLike, mean: Floats, deviation: Floats) -> Floats:
    """Return ``(cells - mean) / deviation`` of (n, D) cells: (n, D) float32."""
    z: Floats = (np.asarray(cells, np.float32).reshape(-1, mean.size) - mean) / deviation
    return z


def projected(z: Floats, projection: Floats | None) -> Floats:
    """Project standardised cells, where there is a projection.

    Parameters
    ----------
    z : (n, D) float32
    projection : (D, P) float32 or None

    Returns
    -------
    (n, P) float32
        Or `z` itself.
    """
    if projection is None:
        return z
    # Each cell by itself, and without BLAS: a cell is judged alike in any company and on any threads.
    rows = [np.einsum("d,dp->p", row, projection) for row in z]
    return np.array(rows, np.float32).reshape(-1, projection.shape[1])


def mean_squares_beside(z: Floats, along: Floats) -> Floats:
    """Return how far cells lie beside the directions that they are projected on: (n,) float32.

    Squared, over the number of features. A cell that is unlike all that taught a head is often so where the
    head does not look.

    Parameters
    ----------
    z : (n, D) float32
        Standardised.
    along : (n, P) float32
        As `projected` gives them, on directions of length 1 at right angles; or `z` itself.
    """
    lost = [
        np.einsum("d,d->", one, one) - np.einsum("p,p->", seen, seen)
        for one, seen in zip(z, along, strict=True)
    ]
    found: Floats = np.maximum(np.array(lost, np.float32), 0) / np.float32(z.shape[1])
    return found


def mean_squares(z: Floats, vectors: Floats, lengths: Floats, features: int) -> Floats:
    """Return the squared distances of one cell from vectors, over the number of features: (S,) float32.

    Parameters
    ----------
    z : (P,) float32
        As `located` gives it.
    vectors : (S, P) float32
    lengths : (S,) float32
        Squared, of the vectors.
    features : int
        D: before any projection, so that a distance means the same with one and without.
    """
    # |z - v|^2 by one product; rounding could make it less than nothing. BLAS would add in an order that
    # depends on how many threads it has, and a cell is to be judged alike with any number.
    near = np.einsum("sf,f->s", vectors, z)
    found: Floats = np.maximum(np.einsum("f,f->", z, z) - 2 * near + lengths, 0) / np.float32(features)
    return found


def projection_in(arrays: Arrays) -> Halves | None:
    """Return the projection that a head's member holds, if it holds one."""
    return arrays.floats("projection", 2, np.float16) if "projection" in arrays else None


def arrays_of_projection(projection: Halves | None) -> dict[str, Any]:
    """Return what a head's member holds of a projection: nothing where there is none."""
    return {} if projection is None else {"projection": projection}
