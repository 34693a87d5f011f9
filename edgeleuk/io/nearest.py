"""The word that somebody may have meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """Ask for the known word that is nearest to an unknown one, for the end of an error's sentence.

    Examples
    --------
    >>> did_you_mean("thread", ["runtime", "threads"])
    'did you mean threads?'
    >>> did_you_mean("xyz", ["runtime", "threads"])
    """
    from difflib import get_close_matches  # only an error needs it

    near = get_close_matches(word, list(known), n=1)
    return f"did you mean {near[0]}?" if near else None
