"""Where a bundle's heads come from: each time that a laboratory taught it, the oldest first."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import msgspec
from msgspec import Meta

from edgeleuk.bundle.numbers import Count, Digest, Name, Text, require_range

# A laboratory that teaches once a week comes here in twenty years.
MOST_TAUGHT = 1000


class Taught(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One step of the line of descent.

    Attributes
    ----------
    parent_sha256 : str
        Of the bundle that was taught.
    parent_name : str
    laboratory : str
        Whose labels taught it.
    labels_sha256 : str
        Of these labels.
    cells, slides : int
        That were labelled.
    at : str or None
        Date and time in ISO 8601.
    choice : str
        Which of the choices was taken.
    heads : tuple of str
        Names of the heads that are new.
    forced : bool
        It was not shown to be better than its parent.
    """

    parent_sha256: Digest
    parent_name: Name
    laboratory: Name
    labels_sha256: Digest
    cells: Count
    slides: Count
    at: Text | None = None
    choice: Text
    heads: tuple[Name, ...] = ()
    forced: bool = False

    def __post_init__(self) -> None:
        require_range("slides", self.slides, 0, self.cells)
        if self.at is not None:
            # A `Z` is no part of ISO 8601 for Python 3.10.
            dt.datetime.fromisoformat(self.at.replace("Z", "+00:00"))


Descent = Annotated[tuple[Taught, ...], Meta(max_length=MOST_TAUGHT)]
