"""A network that ends in a map, and the support vectors that judge it, as one runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.bundle.support_vectors import pooled
from edgeleuk.errors import BundleError
from edgeleuk.preprocessing import MASKS
from edgeleuk.runtimes.base import Answer

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeleuk.bundle.manifest import InputContract
    from edgeleuk.bundle.support_vectors import SupportVectors
    from edgeleuk.runtimes.base import ModelRuntime

# A map is forty thousand numbers: of many cells they would fill the memory.
BATCH = 16


class PooledRuntime:
    """Answers with the support vectors' log odds, its features being the pooled ones.

    Parameters
    ----------
    network : ModelRuntime
        Its outputs are the map, (n, P * C), the channels of a place side by side.
    support : SupportVectors
    contract : InputContract
        With a ``mask`` or a ``nucleus`` channel.

    Raises
    ------
    BundleError
        The contract has no masks, or map, masks and support vectors do not fit each other.
    """

    def __init__(self, network: ModelRuntime, support: SupportVectors, contract: InputContract) -> None:
        self.name = network.name
        self._network = network
        self._support = support
        self._masks = [index for index, name in enumerate(contract.channels) if name in MASKS]
        numbers = network.predict(np.empty((0, *contract.shape), np.uint8)).outputs.shape[1]
        self._channels, left = divmod(support.mean.size, max(2 * len(self._masks), 1))
        places, also_left = divmod(numbers, max(self._channels, 1))
        # Places are squares of pixels, all of one size.
        self._side = round((contract.height * contract.width / max(places, 1)) ** 0.5)
        self._grid = (contract.height // max(self._side, 1), contract.width // max(self._side, 1))
        if not self._masks or left or also_left or self._grid[0] * self._grid[1] != places:
            raise BundleError(
                "the network's map does not fit the support vectors",
                got=f"{numbers} numbers, {support.mean.size} features, {len(self._masks)} masks",
                cure="convert the network again",
            )

    def predict(self, tensors: npt.NDArray[np.uint8]) -> Answer:
        """Run the network on (n, H, W, C) uint8 tensors and judge its maps."""
        features = [
            self._pooled(tensors[start : start + BATCH]) for start in range(0, max(len(tensors), 1), BATCH)
        ]
        together = np.concatenate(features)
        return Answer(self._support.log_odds(together)[:, None], together)

    def close(self) -> None:
        """Free the network."""
        self._network.close()

    def _pooled(self, tensors: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        count, (rows, columns), side = len(tensors), self._grid, self._side
        maps = self._network.predict(tensors).outputs.reshape(count, rows * columns, self._channels)
        masks = tensors[:, : rows * side, : columns * side, self._masks]
        blocks = masks.reshape(count, rows, side, columns, side, len(self._masks))
        share = blocks.mean(axis=(2, 4), dtype=np.float32) / np.float32(255)
        return pooled(maps, share.reshape(count, rows * columns, len(self._masks)))
