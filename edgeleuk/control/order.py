"""In which order sessions were recorded: by their clocks, and by their names where a clock was not set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeleuk.capture.base import natural_key
from edgeleuk.io.clock import CLOCK_SET_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeleuk.control.session_quality import SessionQuality


def in_order(sessions: Sequence[SessionQuality]) -> tuple[list[SessionQuality], str | None]:
    """Return the sessions in their order, and what is to be known of it.

    A session whose clock was not set stands where its file's name puts it among the others: ``night2.db``
    before ``night10.db``. Where the names of those with a clock are in another order than their times, names
    tell nothing, and those without one come first.
    """
    dated = sorted(
        (one for one in sessions if _has_clock(one)), key=lambda one: (one.first_at or 0.0, str(one.path))
    )
    undated = sorted((one for one in sessions if not _has_clock(one)), key=lambda one: natural_key(one.path))
    if not undated:
        return dated, None
    by_name = sorted(sessions, key=lambda one: natural_key(one.path))
    said = "1 session was recorded" if len(undated) == 1 else f"{len(undated)} sessions were recorded"
    said += " without a clock that was set"
    if [one for one in by_name if _has_clock(one)] == dated:
        return by_name, f"{said}: all are in the order of their names"
    return [*undated, *dated], (
        f"{said}, and names tell no order here: they come first, in the order of their names"
    )


def _has_clock(session: SessionQuality) -> bool:
    return session.first_at is not None and session.first_at >= CLOCK_SET_S
