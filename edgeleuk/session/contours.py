"""The outlines of a cell and of its nucleus, in at most 300 bytes a cell.

::

    1 byte             k, how many pixels of the frame are one pixel of the outlines in each direction
    raw deflate of     for the cell, then for its nucleus: 1 byte, the number of outlines, and of each
                       x, y and the number of steps (uint16, little-endian); then, for all of them, one byte
                       a step: by how many eighths of a turn its direction differs from the step before

Outlines run along pixels of the mask, round parts and round holes, so that filling them gives the mask back
(Freeman, "On the Encoding of Arbitrary Geometric Configurations", IRE Transactions EC-10, 1961). With k = 1
nothing is lost; k grows until the outlines fit, which moves them by at most about k / 2 pixels.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.frames import BACKGROUND, CYTOPLASM, NUCLEUS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from edgeleuk.frames import Mask

    Points = npt.NDArray[np.int32]

MOST_BYTES = 300
_LARGEST_STEP = 255
_MOST_OUTLINES = 255
_MOST_STEPS = 65535
# Of what 300 bytes can be inflated to, no more is needed.
_MOST_INFLATED = 1 << 19
# Of a block of pixels, 255 where all of them are inside.
_HALF_FULL = 128
# (dx, dy) of the eight directions, y downwards, in order of their angle.
_STEPS = np.array([(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)], np.int32)
_DIRECTION = np.zeros((3, 3), np.uint8)
_DIRECTION[_STEPS[:, 1] + 1, _STEPS[:, 0] + 1] = np.arange(8)


def encode_contours(mask: Mask) -> bytes:
    """Keep the outlines of a cell and its nucleus.

    Parameters
    ----------
    mask : (H, W) uint8
        255 nucleus, 128 cytoplasm, 0 rest.

    Returns
    -------
    bytes
        At most `MOST_BYTES`.

    Examples
    --------
    >>> mask = np.zeros((40, 50), np.uint8)
    >>> mask[5:35, 5:45], mask[10:30, 10:30] = 128, 255
    >>> data = encode_contours(mask)
    >>> len(data), np.array_equal(decode_contours(data, mask.shape), mask)
    (33, True)
    """
    for step in range(1, _LARGEST_STEP):
        packed = _packed([_reduced(layer, step) for layer in (mask > BACKGROUND, mask == NUCLEUS)])
        if packed is not None and len(packed) < MOST_BYTES:
            return bytes([step]) + packed
    return bytes([_LARGEST_STEP])


def decode_contours(data: bytes, shape: tuple[int, int]) -> Mask:
    """Fill the outlines that `encode_contours` kept.

    Parameters
    ----------
    data : bytes
    shape : (H, W)
        Of the cell's box.

    Returns
    -------
    (H, W) uint8
        255 nucleus, 128 cytoplasm, 0 rest.

    Raises
    ------
    ValueError
        The data are damaged, or belong to a box of another size.
    """
    mask = np.full(shape, BACKGROUND, np.uint8)
    if not data or not data[0] or len(data) > MOST_BYTES:
        raise _damaged(f"{len(data)} bytes")
    step = data[0]
    if len(data) == 1:
        return mask
    cell, nucleus = (_filled(outlines, shape, step) for outlines in _outlines(_inflated(data[1:])))
    mask[cell] = CYTOPLASM
    mask[cell & nucleus] = NUCLEUS
    return mask


def _reduced(layer: npt.NDArray[np.bool_], step: int) -> Mask:
    """Reduce a layer: what is mostly inside stays, and of a part no pixel of which is, the fullest."""
    if step == 1:
        return layer.view(np.uint8)
    import cv2  # noqa: PLC0415 - reading a session must not cost OpenCV's start

    height, width = layer.shape
    padded = np.pad(layer.view(np.uint8) * np.uint8(255), ((0, -height % step), (0, -width % step)))
    size = (padded.shape[1] // step, padded.shape[0] // step)
    full = np.asarray(cv2.resize(padded, size, interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(full >= min(_HALF_FULL, int(full.max()) or 255), np.uint8)


def _packed(layers: list[Mask]) -> bytes | None:
    """Encode the outlines of reduced layers; None where they are too many."""
    import cv2  # noqa: PLC0415 - as above

    head, turns = bytearray(), []
    for layer in layers:
        found, _ = cv2.findContours(layer, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        if len(found) > _MOST_OUTLINES:
            return None
        head.append(len(found))
        for outline in found:
            points = outline[:, 0]
            if len(points) > _MOST_STEPS or points.max() > _MOST_STEPS:
                return None
            dx, dy = np.diff(points, axis=0).T
            head += np.array([*points[0], len(dx)], "<u2").tobytes()
            turns.append(np.diff(_DIRECTION[dy + 1, dx + 1], prepend=np.uint8(0)) & 7)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_FILTERED)
    return packer.compress(bytes(head) + b"".join(each.tobytes() for each in turns)) + packer.flush()


def _inflated(data: bytes) -> bytes:
    unpacker = zlib.decompressobj(-15)
    try:
        found = unpacker.decompress(data, _MOST_INFLATED)
    except zlib.error as error:
        raise _damaged(str(error)) from error
    if not unpacker.eof or unpacker.unused_data:
        raise _damaged("they end too early or too late")
    return found


def _outlines(data: bytes) -> Iterator[list[Points]]:
    """Yield the points of all outlines of the cell, then of its nucleus: (n, 2) int32 each, x before y."""
    at, heads = 0, []
    for _ in range(2):
        if at >= len(data):
            raise _damaged("they end too early")
        number = data[at]
        rows = np.frombuffer(data[at + 1 : at + 1 + 6 * number], "<u2")
        if len(rows) < 3 * number:
            raise _damaged("they end too early")
        heads.append(rows.reshape(-1, 3).astype(np.int32))
        at += 1 + 6 * number
    turns = np.frombuffer(data, np.uint8, offset=at)
    if len(turns) != sum(int(rows[:, 2].sum()) for rows in heads) or turns.max(initial=0) > 7:
        raise _damaged("their steps are not as many as they say")
    at = 0
    for rows in heads:
        found = []
        for x, y, steps in rows.tolist():
            directions = np.cumsum(turns[at : at + steps], dtype=np.int64) & 7
            found.append(
                np.cumsum(np.concatenate([np.array([(x, y)], np.int32), _STEPS[directions]]), axis=0)
            )
            at += steps
        yield [points.astype(np.int32) for points in found]


def _filled(outlines: list[Points], shape: tuple[int, int], step: int) -> npt.NDArray[np.bool_]:
    """Fill outlines, and enlarge what they hold to the size of the box."""
    import cv2  # noqa: PLC0415 - as above

    height, width = (-(-side // step) for side in shape)
    if any(points.min() < 0 or (points.max(axis=0) >= (width, height)).any() for points in outlines):
        raise _damaged(f"they leave a box of {shape[1]}x{shape[0]} px")
    canvas = np.zeros((height, width), np.uint8)
    # Filling takes the outline itself with it, and of outlines within one another every second.
    canvas = np.asarray(cv2.drawContours(canvas, outlines, -1, 255, cv2.FILLED), np.uint8)
    if step > 1:
        size = (width * step, height * step)
        canvas = np.asarray(cv2.resize(canvas, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    return np.asarray(canvas[: shape[0], : shape[1]] > 127, np.bool_)


def _damaged(got: str) -> ValueError:
    return ValueError(f"the outlines of a cell are damaged: {got}")
