"""The names of a network's layers, of which no two may be alike."""

from __future__ import annotations


class LayerNames:
    """Remembers the names that a network has.

    Examples
    --------
    >>> names = LayerNames()
    >>> names.unique("block/conv"), names.unique("block/conv")
    ('block_conv', 'block_conv_2')
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, name: str) -> None:
        """Note a name that the network has already."""
        self._taken.add(name)

    def unique(self, name: str) -> str:
        """Return a name like this one which the network does not have yet, and note it."""
        plain = name.replace("/", "_")
        unique, number = plain, 1
        while unique in self._taken:
            number += 1
            unique = f"{plain}_{number}"
        self._taken.add(unique)
        return unique
