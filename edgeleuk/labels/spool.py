"""Encoded crops on their way into a file: few in memory, many on the disk, each once."""

from __future__ import annotations

import tempfile
import weakref
from typing import TYPE_CHECKING

from edgeleuk.labels.contents import identity_of
from edgeleuk.session.pictures import encode_crop

if TYPE_CHECKING:
    from types import TracebackType

    from edgeleuk.frames import CellCrop

_IN_MEMORY = 1 << 26


class Spool:
    """Keeps PNGs by the identity of their cells until they are written."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed by __exit__
        # Whoever hands it on leaves no ``with`` to close it.
        weakref.finalize(self, self._file.close)
        self._places: dict[str, tuple[int, int]] = {}

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, crop: CellCrop) -> str:
        """Keep a crop, and return its identity."""
        identity = identity_of(crop)
        if identity not in self._places:
            png = encode_crop(crop)
            self._places[identity] = self._file.seek(0, 2), len(png)
            self._file.write(png)
        return identity

    def png(self, identity: str) -> bytes:
        """Return the PNG of a cell; see `edgeleuk.labels.file.Pictures`."""
        at, size = self._places[identity]
        self._file.seek(at)
        return self._file.read(size)
