"""Arrays in a bundle's ``.npz`` members: nothing in them is executed, and what is damaged is said alike.

The format is read here and not by ``numpy.load``: its header is evaluated as Python there, and sizes are
believed before there are bytes for them. Only plain numbers and short texts are known. Source of the format:
NumPy's "NPY format", https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html.
"""

from __future__ import annotations

import contextlib
import io
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgeleuk.bundle.numbers import cause_of
from edgeleuk.errors import BundleError

if TYPE_CHECKING:
    import numpy.typing as npt

# Unpacked, of one member; a network of 1024x1024 colours has 25 MB of golden tensors.
LARGEST_BYTES = 1 << 28
MOST_ARRAYS = 1000
_LONGEST_HEADER = 10_000
_MAGIC = b"\x93NUMPY"
_HEADER = re.compile(
    rb"\{'descr': '(?P<descr>[<|](?:b1|[iu][1248]|f[248]|U\d{1,3}))',"
    rb" 'fortran_order': (?P<fortran>False|True), 'shape': \((?P<shape>[0-9, ]{0,100})\), ?\} *\n"
)
_FAULTS = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OSError,
    EOFError,
    OverflowError,
    MemoryError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
)


class Arrays(Mapping[str, "npt.NDArray[Any]"]):
    """The arrays of an ``.npz`` by name, each read when it is asked for."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        infos = archive.infolist()
        self._archive = archive
        self._infos = {info.filename.removesuffix(".npy"): info for info in infos}
        if len(infos) > MOST_ARRAYS or len(self._infos) < len(infos):
            msg = f"{len(infos)} arrays, of one name each, at most {MOST_ARRAYS}"
            raise ValueError(msg)
        if (size := sum(info.file_size for info in infos)) > LARGEST_BYTES:
            msg = f"{size} bytes of arrays, allowed {LARGEST_BYTES}"
            raise ValueError(msg)

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """Read an array.

        Raises
        ------
        KeyError
            There is none of this name.
        ValueError
            It is damaged, or of a type that is not known here.
        """
        info = self._infos[name]
        with self._archive.open(info) as member:
            # A zip may say less than it holds.
            data = member.read(LARGEST_BYTES + 1)
        return _decoded(name, data)

    def __contains__(self, name: object) -> bool:
        """Whether there is an array of this name."""
        return name in self._infos

    def __iter__(self) -> Iterator[str]:
        """Go through the names."""
        return iter(self._infos)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._infos)

    def floats(self, name: str, dimensions: int, kind: Any = np.float64) -> npt.NDArray[Any]:
        """Return an array of finite numbers, of so many dimensions, as floats of `kind`."""
        found = self._plain(name, dimensions)
        # What does not fit a smaller type becomes infinite, which is refused as well.
        with np.errstate(over="ignore"):
            numbers = found.astype(kind)
        if not np.isfinite(numbers).all():
            msg = f"{name} holds numbers that are not finite"
            raise ValueError(msg)
        return numbers

    def integers(self, name: str, dimensions: int, kind: Any) -> npt.NDArray[Any]:
        """Return an array of whole numbers, of so many dimensions, that fit `kind`."""
        found, limits = self._plain(name, dimensions), np.iinfo(kind)
        if found.dtype.kind not in "iu":
            msg = f"{name} holds {found.dtype}, allowed whole numbers"
            raise ValueError(msg)
        if found.size and not (int(found.min()) >= limits.min and int(found.max()) <= limits.max):
            msg = f"{name} holds numbers beyond {limits.min} to {limits.max}"
            raise ValueError(msg)
        return found.astype(kind)

    def number(self, name: str) -> float:
        """Return the one finite number that an array holds."""
        found = self.floats(name, 1)
        if found.shape != (1,):
            msg = f"{name} holds {found.size} numbers, allowed 1"
            raise ValueError(msg)
        return float(found[0])

    def _plain(self, name: str, dimensions: int) -> npt.NDArray[Any]:
        if name not in self:
            msg = f"no array {name}"
            raise ValueError(msg)
        found = self[name]
        if found.ndim != dimensions or found.dtype.kind not in "biuf":
            msg = (
                f"{name} has shape {found.shape} of {found.dtype}, allowed {dimensions} dimensions of numbers"
            )
            raise ValueError(msg)
        return found


@contextlib.contextmanager
def arrays_of(data: bytes, what: str, cure: str = "convert the network again") -> Iterator[Arrays]:
    """Open an ``.npz`` to read arrays within this.

    Parameters
    ----------
    data : bytes
    what : str
        For the error: "the forest", say.
    cure : str

    Raises
    ------
    BundleError
        It is damaged, or lacks what was asked of it; any ValueError within this counts as that.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield Arrays(archive)
    except _FAULTS as error:
        raise BundleError(f"{what} cannot be read", got=cause_of(error), cure=cure) from error


def _decoded(name: str, data: bytes) -> npt.NDArray[Any]:
    # One byte of version, one of its revision; then the header's length, of 2 bytes or of 4.
    wide = data[6:7] in (b"\x02", b"\x03")
    if data[:6] != _MAGIC or not (wide or data[6:7] == b"\x01"):
        msg = f"{name} is no array"
        raise ValueError(msg)
    start = 12 if wide else 10
    (length,) = struct.unpack("<I" if wide else "<H", data[8:start])
    header = _HEADER.fullmatch(data[start : start + min(length, _LONGEST_HEADER)])
    if header is None:
        msg = f"{name} is no array of plain numbers"
        raise ValueError(msg)
    shape = tuple(int(side) for side in header["shape"].replace(b" ", b"").split(b",") if side)
    kind = np.dtype(header["descr"].decode())
    body = memoryview(data)[start + length :]
    if len(shape) > 32 or math.prod(shape) * kind.itemsize != len(body):
        msg = f"{name} has {len(body)} bytes, not those of shape {shape}"
        raise ValueError(msg)
    flat = np.frombuffer(body, kind) if len(body) else np.empty(0, kind)
    order: Literal["F", "C"] = "F" if header["fortran"] == b"True" else "C"
    return np.array(flat.reshape(shape, order=order))
