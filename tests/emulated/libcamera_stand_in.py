"""In the place of libcamera's Python: whatever is asked of it is there, and does nothing."""

from __future__ import annotations

import sys
import types
from typing import Any


class Anything(types.ModuleType):
    """A module, a class and a value at once."""

    __path__: list[str] = []  # noqa: RUF012 - as of a package

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything(name)

    def __call__(self, *_: object, **__: object) -> Anything:
        return Anything("made")

    def __mro_entries__(self, _: object) -> tuple[type, ...]:
        return ()


sys.modules["libcamera"] = Anything("libcamera")
