"""What calibrates a quantizer: real input tensors, one image at a time, as often as they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from edgeleuk.bundle.manifest import InputContract

Image = npt.NDArray[np.float32]
# Each call begins anew and gives (1, H, W, C) float32 tensors; none of them need be in memory before.
Feed = Callable[[], Iterator[Image]]


def feed_of(tensors: npt.NDArray[np.uint8], contract: InputContract) -> Feed:
    """Feed what bytes become in front of the network, between the ends of the bytes' range.

    Parameters
    ----------
    tensors : (n, H, W, C) uint8
    contract : InputContract
    """
    table = (np.arange(256) * contract.scale + contract.offset).astype(np.float32)
    return reaching(lambda: (table[row][np.newaxis] for row in tensors), float(table[0]), float(table[255]))


def reaching(feed: Feed, low: float, high: float) -> Feed:
    """Make sure that a feed reaches both ends of its range, so that the 256 bytes have 256 values in int8.

    Where it does not, its first image comes a second time, with one corner pixel at each end.

    Examples
    --------
    >>> images = [np.full((1, 2, 2, 1), 7, np.float32)]
    >>> [image.ravel().tolist() for image in reaching(lambda: iter(images), 0, 255)()]
    [[7.0, 7.0, 7.0, 7.0], [0.0, 7.0, 7.0, 255.0]]
    """

    def feeding() -> Iterator[Image]:
        least, most, first = np.inf, -np.inf, None
        for image in feed():
            first = image.copy() if first is None else first
            least, most = min(least, float(image.min())), max(most, float(image.max()))
            yield image
        if first is not None and (least > low or most < high):
            first[:, 0, 0], first[:, -1, -1] = low, high
            yield first

    return feeding
