"""A network that ends in a map, and what pools and judges that, as one runtime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.bundle.contracts import Answer
from edgeleuk.bundle.support_vectors import pooled
from edgeleuk.errors import BundleError
from edgeleuk.inference.preprocessing import MASKS
from edgeleuk.io.closing import Closing

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeleuk.bundle.manifest import InputContract
    from edgeleuk.bundle.support_vectors import SupportVectors
    from edgeleuk.inference.runtime import ModelRuntime

# A map is forty thousand numbers: of many cells they would fill the memory.
BATCH = 16


@dataclass(frozen=True, slots=True)
class MapGeometry:
    """Where in a cell's tensor the places of a network's map lie.

    Attributes
    ----------
    rows, columns : int
        Places, row by row.
    channels : int
        Numbers of a place, side by side.
    side : int
        Of the square of pixels that a place stands for, from the upper left corner on.
    masks : tuple of int
        Which channels of the tensor are masks.
    """

    rows: int
    columns: int
    channels: int
    side: int
    masks: tuple[int, ...]

    @property
    def places(self) -> int:
        """How many places there are."""
        return self.rows * self.columns


def map_geometry(numbers: int, features: int, contract: InputContract) -> MapGeometry:
    """Work out the map's geometry from how many numbers there are.

    Parameters
    ----------
    numbers : int
        Of the whole map.
    features : int
        That the support vectors judge: a mean and a spread of each channel within each mask.
    contract : InputContract
        With a ``mask`` or a ``nucleus`` channel.

    Raises
    ------
    BundleError
        The contract has no masks, or map, masks and support vectors do not fit each other.
    """
    masks = tuple(index for index, name in enumerate(contract.channels) if name in MASKS)
    channels, left = divmod(features, max(2 * len(masks), 1))
    places, also_left = divmod(numbers, max(channels, 1))
    # Places are squares of pixels, all of one size.
    side = round((contract.height * contract.width / max(places, 1)) ** 0.5)
    rows, columns = contract.height // max(side, 1), contract.width // max(side, 1)
    if not masks or left or also_left or rows * columns != places:
        raise BundleError(
            "the network's map does not fit the support vectors",
            got=f"{numbers} numbers, {features} features, {len(masks)} masks",
            cure="convert the network again",
        )
    return MapGeometry(rows, columns, channels, side, masks)


class PooledRuntime(Closing):
    """Answers with the support vectors' log odds, or with nothing but the pooled features.

    Parameters
    ----------
    network : ModelRuntime
        Its outputs are the map, (n, P * C), the channels of a place side by side.
    contract : InputContract
        With a ``mask`` or a ``nucleus`` channel.
    support : SupportVectors, optional
        Without them the output is 0, and a head judges the features.
    features : int, optional
        How many features are pooled; by default those of the support vectors.

    Attributes
    ----------
    network : ModelRuntime
        Without what is made of its maps: a caller may run it on one cell and judge the last one meanwhile.
    map : MapGeometry
        Of what it answers.

    Raises
    ------
    BundleError
        As `map_geometry`.
    """

    def __init__(
        self,
        network: ModelRuntime,
        contract: InputContract,
        support: SupportVectors | None = None,
        *,
        features: int | None = None,
    ) -> None:
        width = support.mean.size if support is not None else features
        assert width is not None
        self.name = network.name
        self.network = network
        self._support = support
        numbers = network.predict(np.empty((0, *contract.shape), np.uint8)).outputs.shape[1]
        self.map = map_geometry(numbers, width, contract)

    def predict(self, tensors: npt.NDArray[np.uint8]) -> Answer:
        """Run the network on (n, H, W, C) uint8 tensors and judge its maps."""
        starts = range(0, max(len(tensors), 1), BATCH)
        some = (tensors[start : start + BATCH] for start in starts)
        return Answer.stacked([self.judge(self.network.predict(part), part) for part in some])

    def judge(self, answer: Answer, tensors: npt.NDArray[np.uint8]) -> Answer:
        """Judge the maps that the network answered to (n, H, W, C) uint8 tensors."""
        features = self._pooled(answer, tensors)
        if self._support is None:
            return Answer(np.zeros((len(features), 1), np.float32), features)
        return Answer(self._support.log_odds(features)[:, None], features)

    def close(self) -> None:
        """Free the network."""
        self.network.close()

    def _pooled(self, answer: Answer, tensors: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        count, of = len(tensors), self.map
        maps = answer.outputs.reshape(count, of.places, of.channels)
        shares = [mask_shares(tensors[..., mask], of.rows, of.columns, of.side) for mask in of.masks]
        return pooled(maps, np.stack(shares, axis=-1))


def mask_shares(masks: npt.NDArray[np.uint8], rows: int, columns: int, side: int) -> npt.NDArray[np.float32]:
    """Return how much of each place masks cover.

    Parameters
    ----------
    masks : (n, H, W) uint8
    rows, columns : int
        Places, from the upper left corner on.
    side : int
        Of the square of pixels that a place stands for.

    Returns
    -------
    (n, rows * columns) float32
        0 to 1, row by row.
    """
    mask = np.ascontiguousarray(masks[:, : rows * side, : columns * side])
    # Bytes of contiguous rows first: that is what a processor adds fastest.
    lines = mask.reshape(-1, rows, side, columns * side).sum(axis=2, dtype=np.uint32)
    sums = lines.reshape(-1, rows * columns, side).sum(axis=2, dtype=np.uint32)
    return np.asarray(sums.astype(np.float32) / np.float32(side**2) / np.float32(255), np.float32)
