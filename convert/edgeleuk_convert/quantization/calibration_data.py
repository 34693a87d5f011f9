"""Calibration images on their way into the converters: read once, kept on disk, handed out few at a time."""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

import numpy as np

from edgeleuk.errors import DataRefusedError
from edgeleuk.inference.preprocessing import to_tensor
from edgeleuk.inference.quantization import look_up, real_ends, real_table
from edgeleuk.io.closing import Closing
from edgeleuk_calibration.calibration_record import few
from edgeleuk_calibration.noise_check import noise_fault, structure
from edgeleuk_convert.dataset.cnmc import read_crop

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from edgeleuk.bundle.contracts import Answer
    from edgeleuk.bundle.manifest import InputContract
    from edgeleuk.inference import ModelRuntime
    from edgeleuk.io.console import Progress
    from edgeleuk_convert.dataset.cells import LabelledCell

    Bytes = npt.NDArray[np.uint8]
    Reals = npt.NDArray[np.float32]

# Pixels that Keras may be given at once: at 192x192, its activations then take a gigabyte.
KERAS_PIXELS = 32 * 192 * 192
# A batch of 16 would hold a gigabyte of activations in Keras.
BATCH = 4


class Tensors(Protocol):
    """Calibration tensors: an array (n, H, W, C) of uint8, or what is sliced like one."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Bytes: ...


class RealTensors(Protocol):
    """The network's real input: an array (n, H, W, C) of float32, or what is sliced like one."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Reals: ...


class TensorStore(Closing):
    """Tensors in a temporary file: of however many, those asked for are in memory.

    Parameters
    ----------
    shape : (H, W, C)
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self._shape = shape
        self._size = int(np.prod(shape))
        self._count = 0
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`

    def append(self, tensor: Bytes) -> None:
        """Add one (H, W, C) uint8 tensor."""
        if tensor.shape != self._shape or tensor.dtype != np.uint8:
            msg = f"expected {self._shape} uint8, got {tensor.shape} {tensor.dtype}"
            raise ValueError(msg)
        self._file.seek(0, os.SEEK_END)
        self._file.write(tensor.tobytes())
        self._count += 1

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, rows: slice, /) -> Bytes:
        start, stop, step = rows.indices(self._count)
        if step != 1:
            msg = f"expected a slice without a step, got {rows}"
            raise ValueError(msg)
        count = max(0, stop - start)
        self._file.seek(start * self._size)
        read = np.frombuffer(self._file.read(count * self._size), np.uint8)
        return read.reshape(count, *self._shape)

    def __iter__(self) -> Iterator[Bytes]:
        for row in range(self._count):
            yield self[row : row + 1][0]

    def close(self) -> None:
        """Delete the file."""
        self._file.close()


class RealInput:
    """Tensors as the network's real input: floats are made of the bytes that are asked for.

    Parameters
    ----------
    tensors : Tensors
    contract : InputContract
        Of the network that takes them: ``real = byte * scale + offset``.
    """

    def __init__(self, tensors: Tensors, contract: InputContract) -> None:
        self._tensors = tensors
        self._table = real_table(contract.scale, contract.offset)

    def __len__(self) -> int:
        return len(self._tensors)

    def __getitem__(self, rows: slice, /) -> Reals:
        return np.asarray(look_up(self._table, self._tensors[rows]), np.float32)

    def __iter__(self) -> Iterator[Reals]:
        """Yield (1, H, W, C) float32, one image after the other."""
        for row in range(len(self)):
            yield self[row : row + 1]


class ReachingInput:
    """Real input that reaches both ends of a range, so that the 256 bytes have 256 values in int8.

    Where no image does, the first one comes a second time, at the end, with one corner pixel at each end.

    Parameters
    ----------
    real : RealTensors
    low, high : float
        What bytes 0 and 255 stand for.

    Examples
    --------
    >>> reaching = ReachingInput(np.full((1, 2, 2, 1), 7, np.float32), 0, 255)
    >>> [image.ravel().tolist() for image in reaching[:]]
    [[7.0, 7.0, 7.0, 7.0], [0.0, 7.0, 7.0, 255.0]]
    """

    def __init__(self, real: RealTensors, low: float, high: float) -> None:
        self._real = real
        self._last: Reals | None = None
        images = (real[row : row + 1] for row in range(len(real)))
        ends = [(float(image.min()), float(image.max())) for image in images]
        if ends and (min(least for least, _ in ends) > low or max(most for _, most in ends) < high):
            self._last = real[:1].copy()
            self._last[:, 0, 0], self._last[:, -1, -1] = low, high

    def __len__(self) -> int:
        return len(self._real) + (self._last is not None)

    def __getitem__(self, rows: slice, /) -> Reals:
        start, stop, _ = rows.indices(len(self))
        images = self._real[start : min(stop, len(self._real))]
        if self._last is None or not start <= len(self._real) < stop:
            return images
        return np.concatenate([images, self._last])


def calibration_input(tensors: Tensors, contract: InputContract) -> ReachingInput:
    """Return what calibrates a quantizer: the real input, between the ends of the bytes' range."""
    low, high = (float(np.float32(end)) for end in real_ends(contract.scale, contract.offset))
    return ReachingInput(RealInput(tensors, contract), low, high)


def read_calibration(
    cells: Sequence[LabelledCell],
    contract: InputContract,
    *,
    progress: Progress | None = None,
) -> TensorStore:
    """Read every calibration image and bring it to the network's form.

    Parameters
    ----------
    cells : sequence of LabelledCell
    contract : InputContract
    progress : callable, optional
        Told (cells done, cells in all).

    Returns
    -------
    TensorStore
        In the order of `cells`; to be closed.

    Raises
    ------
    DataRefusedError
        Some images are random noise or of one colour, or can no longer be read: they are named.
    """
    store = TensorStore(contract.shape)
    try:
        _read_into(store, cells, contract, progress)
    except BaseException:
        store.close()
        raise
    return store


def answers(runtime: ModelRuntime, tensors: Tensors) -> Reals:
    """Return a network's (n, K) float32 outputs, run a few tensors at a time."""
    parts = [
        _outputs(runtime.predict(tensors[start : start + BATCH])) for start in range(0, len(tensors), BATCH)
    ]
    return np.concatenate(parts)


def keras_answers(model: object, real: RealTensors) -> Reals:
    """Return a Keras network's (n, K) float32 outputs, run a few tensors at a time."""
    parts = [
        np.asarray(model(real[start : start + BATCH], training=False), np.float32)  # type: ignore[operator]
        for start in range(0, len(real), BATCH)
    ]
    return np.concatenate(parts)


def keras_outputs(model: object, tensors: Bytes) -> Reals:
    """Return a Keras network's (n, K) float32 outputs for (n, H, W, C) bytes, as many at once as fit."""
    batch = max(1, KERAS_PIXELS // max(1, tensors.shape[1] * tensors.shape[2]))
    parts = [
        np.asarray(model(tensors[start : start + batch].astype(np.float32), training=False), np.float32)  # type: ignore[operator]
        for start in range(0, max(len(tensors), 1), batch)
    ]
    return np.concatenate(parts)


def _outputs(answer: Answer) -> Reals:
    return answer.outputs


def _read_into(
    store: TensorStore,
    cells: Sequence[LabelledCell],
    contract: InputContract,
    progress: Progress | None,
) -> None:
    def read(cell: LabelledCell) -> tuple[str | None, Bytes]:
        crop = read_crop(cell)
        return noise_fault(structure(crop.pixels, crop.mask)), to_tensor(crop, contract)

    bad = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # A few at a time: `map` over all would keep what is done until it is fetched.
        for start in range(0, len(cells), BATCH):
            chunk = cells[start : start + BATCH]
            for cell, (reason, tensor) in zip(chunk, pool.map(read, chunk), strict=True):
                store.append(tensor)
                if reason is not None:
                    bad.append(f"{cell.path.name} ({reason})")
                if progress is not None:
                    progress(len(store), len(cells))
    if bad:
        raise DataRefusedError(
            f"{len(bad)} of {len(cells)} calibration images are no picture of a cell",
            got=few(bad),
            cure="remove them",
        )
