"""Arrays in a bundle's ``.npz`` members: nothing in them is executed, and what is damaged is said alike."""

from __future__ import annotations

import contextlib
import io
import zipfile
from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.lib.npyio import NpzFile


@contextlib.contextmanager
def arrays_of(data: bytes, what: str, cure: str = "convert the network again") -> Iterator[NpzFile]:
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
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            yield arrays
    except (ValueError, KeyError, IndexError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise BundleError(f"{what} cannot be read", got=str(error), cure=cure) from error
