"""Tiles of the slide from the fields that cover them: each pixel from the field whose border is farthest.

Between two fields runs a seam along which one goes over into the other within few pixels. Neighbours lie
right to a pixel, so that no cell shows twice; averaged over the whole overlap, a wrong place would show.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeleuk.vision.registration import Rectangle

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from edgeleuk.frames import RgbImage
    from edgeleuk.slide.placement import Placed

# Where no field is.
GROUND = 245
# Over so many pixels one field goes over into the next.
_FEATHER_PX = 6.0
# Of pictures that are kept decoded.
_MOST_BYTES = 32 * 2**20


class RecentPictures:
    """Fields, decoded, the latest used of them kept in bounded memory.

    Parameters
    ----------
    read : callable
        Of a field's number its picture, (H, W, 3) uint8 RGB.
    """

    def __init__(self, read: Callable[[int], RgbImage]) -> None:
        self._read = read
        self._kept: OrderedDict[int, RgbImage] = OrderedDict()

    def __call__(self, number: int) -> RgbImage:
        """Return a field's picture."""
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        pixels = self._read(number)
        self._kept[number] = pixels
        while len(self._kept) > 2 and len(self._kept) * pixels.nbytes > _MOST_BYTES:
            self._kept.popitem(last=False)
        return pixels


class Blender:
    """Draws any part of the slide.

    Parameters
    ----------
    placed : sequence of Placed
    size_px : (W, H)
        Of a field.
    picture : callable
        Of a field's number its picture.
    """

    def __init__(
        self, placed: Sequence[Placed], size_px: tuple[int, int], picture: Callable[[int], RgbImage]
    ) -> None:
        self._placed = placed
        self._size = size_px
        self._picture = picture
        self._left = np.array([each.x for each in placed])
        self._top = np.array([each.y for each in placed])

    def draw(self, left: int, top: int, side: int) -> RgbImage:
        """Return a square of the slide, (side, side, 3) uint8 RGB; grey where no field is."""
        tile = np.full((side, side, 3), GROUND, np.uint8)
        depth = np.zeros((side, side), np.float32)
        width, height = self._size
        meets = (self._left < left + side) & (self._left + width > left)
        meets &= (self._top < top + side) & (self._top + height > top)
        whole = Rectangle(left, top, left + side, top + side)
        for n in np.flatnonzero(meets).tolist():
            self._lay(tile, depth, n, whole)
        return tile

    def _lay(self, tile: RgbImage, depth: npt.NDArray[np.float32], n: int, whole: Rectangle) -> None:
        """Lay one field over what is drawn already, where its border is farther away."""
        x, y = int(self._left[n]), int(self._top[n])
        width, height = self._size
        common = whole.common(Rectangle(x, y, x + width, y + height))
        left, top, right, bottom = (int(each) for each in common)
        across = _from_border(left - x, right - x, width)
        down = _from_border(top - y, bottom - y, height)
        own = np.minimum(across[None, :], down[:, None])
        at = np.s_[
            top - int(whole.top) : bottom - int(whole.top), left - int(whole.left) : right - int(whole.left)
        ]
        before = depth[at]
        share = np.clip((own - before) / _FEATHER_PX + 0.5, 0, 1)
        # Where nothing is yet, there is nothing to go over into.
        share[before == 0] = 1
        if not share.any():
            return
        pixels = self._picture(self._placed[n].field.number)[top - y : bottom - y, left - x : right - x]
        if share.all() and share.min() == 1:
            tile[at] = pixels
        else:
            tile[at] = cv2.blendLinear(
                np.ascontiguousarray(pixels), np.ascontiguousarray(tile[at]), share, 1 - share
            )
        depth[at] = np.maximum(before, own)


def _from_border(first: int, last: int, length: int) -> npt.NDArray[np.float32]:
    """How far pixels `first` to `last` of a line are from its nearer end, from 1 on."""
    at = np.arange(first, last, dtype=np.float32)
    return np.minimum(at + 1, length - at)
