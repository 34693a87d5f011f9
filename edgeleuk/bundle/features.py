"""``features.npz``: where the training cells lie in the network's feature space, and how far a cell is off.

The distance is Mahalanobis's under a Gaussian of few directions (probabilistic PCA): the leading
directions are whitened, all that is left over counts by its length. What is foreign shows in the first
(known directions, in unknown strength) or in the second (directions that no training cell has). Sources:
Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial
Attacks", NeurIPS 2018; Wang et al., "ViM: Out-Of-Distribution with Virtual-logit Matching", CVPR 2022,
for the residual; Tipping and Bishop, "Probabilistic Principal Component Analysis", 1999.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.bundle.arrays import arrays_of

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class FeatureStatistics:
    """Where the training cells lie among the features.

    Attributes
    ----------
    mean : (F,) float32
    basis : (k, F) float32
        Orthogonal rows, each divided by the training cells' standard deviation along it.
    residual : float
        Root mean square length of what the basis leaves over.
    """

    mean: npt.NDArray[np.float32]
    basis: npt.NDArray[np.float32]
    residual: float

    def __post_init__(self) -> None:
        width = self.mean.size
        known = self.mean.shape == (width,) and self.basis.ndim == 2 and self.basis.shape[1] == width
        if not known or not self.basis.size:
            msg = f"expected a mean (F,) and a basis (k, F), got {self.mean.shape} and {self.basis.shape}"
            raise ValueError(msg)
        finite = np.isfinite(self.mean).all() and np.isfinite(self.basis).all()
        if not (finite and (self.basis**2).sum(axis=1).all() and 0 < self.residual < np.inf):
            msg = f"expected finite statistics, no row of zeros and a residual above 0, got {self.residual}"
            raise ValueError(msg)

    def distance(self, features: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return how far cells are from the training cells: about 1 for a typical one.

        Parameters
        ----------
        features : (n, F) array_like

        Returns
        -------
        (n,) float64
            ``sqrt((mean of the k whitened squares + (residual / its spread)^2) / 2)``.
        """
        centred = np.asarray(features, np.float64) - self.mean
        basis = self.basis.astype(np.float64)
        # No BLAS: the order in which it adds depends on how many threads it has.
        whitened = np.einsum("nf,kf->nk", centred, basis)
        # Rows of length 1 / deviation: dividing by the length twice gives back what lies along them.
        along = whitened / (basis**2).sum(axis=1)
        left = ((centred - np.einsum("nk,kf->nf", along, basis)) ** 2).sum(axis=1) / self.residual**2
        return np.asarray(np.sqrt(((whitened**2).mean(axis=1) + left) / 2), np.float64)


def encode_features(statistics: FeatureStatistics) -> bytes:
    """Return ``features.npz``; the same statistics give the same bytes."""
    buffer = io.BytesIO()
    # savez writes members with a fixed time.
    np.savez(
        buffer, mean=statistics.mean, basis=statistics.basis, residual=np.float64(statistics.residual)[None]
    )
    return buffer.getvalue()


def decode_features(data: bytes) -> FeatureStatistics:
    """Read ``features.npz``; nothing in it is executed.

    Raises
    ------
    BundleError
        It is damaged, or holds something else.
    """
    with arrays_of(data, "the feature statistics") as arrays:
        return FeatureStatistics(
            arrays.floats("mean", 1, np.float32),
            arrays.floats("basis", 2, np.float32),
            arrays.number("residual"),
        )
