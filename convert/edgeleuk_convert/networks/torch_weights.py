"""Read the tensors of a PyTorch ``.pth`` file without PyTorch, and without running anything in it.

Such a file is a pickle, which could name any function to call. Here it may name a handful of things
that describe a tensor; whatever else it names is refused. Both of PyTorch's formats are read: the zip
(since 1.6) and the older chain of pickles with the numbers behind it.
"""

from __future__ import annotations

import io
import pickle  # only through `_Reader`, which knows what may be named
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from edgeleuk.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy.typing as npt

    Array = npt.NDArray[Any]

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001

# Names of PyTorch's storages that may appear -> what they hold.
STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "IntStorage": "<i4",
    "LongStorage": "<i8",
}
_REFUSED = "it names something other than tensors"


def read_state_dict(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read a state dictionary.

    Parameters
    ----------
    path : Path
        What ``torch.save(model.state_dict(), path)`` wrote.

    Returns
    -------
    dict of str to ndarray
        In the order of the file.

    Raises
    ------
    IntegrityError
        The file is damaged, is no state dictionary, or names anything but tensors.
    """
    try:
        data = path.read_bytes()
        if data[:2] == b"PK":
            described, storages = _read_zip(data)
        else:
            described, storages = _read_chain(io.BytesIO(data))
        return {name: _array(tensor, storages) for name, tensor in _tensors(described).items()}
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise IntegrityError(f"{path.name} cannot be read as PyTorch weights", got=error) from error


@dataclass(frozen=True, slots=True)
class _StorageType:
    """Stands for ``torch.FloatStorage`` and its like."""

    dtype: str


@dataclass(frozen=True, slots=True)
class _Storage:
    """Where numbers lie: the name of their block, and how many of what there are."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A view of a storage, all in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuilt(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    """Stand for ``torch._utils._rebuild_tensor_v2``; the rest is about gradients."""
    if not isinstance(storage, _Storage):
        raise ValueError(_REFUSED)  # noqa: TRY004  # it is the file's fault, not a caller's
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuilt,
} | {("torch", name): _StorageType(dtype) for name, dtype in STORAGES.items()}


class _Reader(pickle.Unpickler):
    """A pickle reader that knows `ALLOWED` and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            msg = f"{_REFUSED}: {module}.{name}"
            raise pickle.UnpicklingError(msg)
        return ALLOWED[module, name]

    def persistent_load(self, identity: Any) -> _Storage:
        kind, storage, key, _, count, *view = identity
        if kind != "storage" or not isinstance(storage, _StorageType) or any(view):
            raise pickle.UnpicklingError(_REFUSED)
        return _Storage(str(key), storage.dtype, int(count))


def _read_zip(data: bytes) -> tuple[Any, Mapping[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        (index,) = (name for name in names if name.endswith("/data.pkl"))
        folder = index.removesuffix("data.pkl")
        if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") != b"little":
            msg = "its numbers are big-endian"
            raise ValueError(msg)
        blocks = f"{folder}data/"
        storages = {
            name.removeprefix(blocks): archive.read(name) for name in names if name.startswith(blocks)
        }
        return _Reader(io.BytesIO(archive.read(index))).load(), storages


def _read_chain(file: BinaryIO) -> tuple[Any, Mapping[str, bytes]]:
    """Magic number, protocol, machine, tensors, names of the blocks: five pickles, then the blocks."""
    load: Callable[[], Any] = lambda: _Reader(file).load()  # noqa: E731  # each pickle has its own reader
    if load() != MAGIC or load() != PROTOCOL or not load()["little_endian"]:
        msg = "it does not begin as such a file does"
        raise ValueError(msg)
    described, keys = load(), load()
    sizes = {t.storage.key: np.dtype(t.storage.dtype).itemsize for t in _tensors(described).values()}
    storages = {}
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        storages[str(key)] = file.read(count * sizes[str(key)])
    return described, storages


def _tensors(described: Any) -> dict[str, _Tensor]:
    if not isinstance(described, dict) or not all(
        isinstance(name, str) and isinstance(tensor, _Tensor) for name, tensor in described.items()
    ):
        msg = "it is no state dictionary"
        raise ValueError(msg)
    return described


def _array(tensor: _Tensor, storages: Mapping[str, bytes]) -> Array:
    """Cut a tensor out of its storage, never beyond it."""
    block = np.frombuffer(storages[tensor.storage.key], tensor.storage.dtype)
    if len(block) != tensor.storage.count:
        msg = f"expected {tensor.storage.count} numbers in block {tensor.storage.key}, got {len(block)}"
        raise ValueError(msg)
    pairs = list(zip(tensor.shape, tensor.strides, strict=True))
    last = tensor.offset + sum((size - 1) * stride for size, stride in pairs)
    empty = 0 in tensor.shape
    if min(tensor.offset, *tensor.shape, *tensor.strides, 0) < 0 or (last >= len(block) and not empty):
        msg = f"a tensor of shape {tensor.shape} reaches beyond block {tensor.storage.key}"
        raise ValueError(msg)
    strides = tuple(stride * block.itemsize for stride in tensor.strides)
    view = np.lib.stride_tricks.as_strided(block[tensor.offset :], tensor.shape, strides, writeable=False)
    return np.ascontiguousarray(view).reshape(tensor.shape)
