"""``edgeleuk review SESSION``: where a review stands, and the page on which it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeleuk.review.desk import ReviewDesk

if TYPE_CHECKING:
    from pathlib import Path

    from edgeleuk.review.state import ReviewState


def review_facts(session: Path) -> ReviewState:
    """Say where the review of a session stands.

    Raises
    ------
    UsageError, SessionError
        See `ReviewDesk`.
    """
    with ReviewDesk(session) as desk:
        return desk.state()
