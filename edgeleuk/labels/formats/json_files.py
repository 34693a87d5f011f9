"""JSON of others: read strictly, and refused in one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from edgeleuk.bundle.numbers import cause_of
from edgeleuk.errors import DataRefusedError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T")
_LARGEST = 1 << 30


def read_json(path: Path, kind: type[T], what: str) -> T:
    """Read a JSON file of a known form.

    Parameters
    ----------
    path : Path
    kind : type
        As msgspec takes it; keys that it does not name are passed over.
    what : str
        What the file is to be, for the sentences.

    Raises
    ------
    UsageError
        There is no such file.
    DataRefusedError
        It is no JSON, not of that form, or too large.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise DataRefusedError(f"{path.name} is too large", allowed=f"{_LARGEST >> 20} MiB")
        data = path.read_bytes()
    except FileNotFoundError:
        raise UsageError("there is no such file", got=path) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read", got=error.strerror) from error
    try:
        # Some tools begin their files with a mark of the byte order.
        return msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"), type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError) as error:
        raise DataRefusedError(f"{path.name} is no {what}", got=cause_of(error)) from error
