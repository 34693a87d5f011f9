"""The frames of each minute as one message: which frames share one follows from the session alone.

So a session that is read again from its beginning gives the same messages with the same keys, whenever it is
read and however often it was interrupted.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_right
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from edgeleuk.fleet.messages import About, QualityMessage, key_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeleuk.session.following import FrameRow

WINDOW_S = 60.0


class Windows:
    """Puts frames together as they come, in their order.

    Parameters
    ----------
    about : About
    """

    def __init__(self, about: About) -> None:
        self._about = about
        self._rows: list[FrameRow] = []
        self._place: tuple[int, int] | None = None

    def add(self, row: FrameRow, resumed_at: Sequence[float]) -> QualityMessage | None:
        """Take in a frame; return the message of those before it, where it is of another window.

        Parameters
        ----------
        row : FrameRow
        resumed_at : sequence of float
            When the session was gone on with: a window never reaches over that.
        """
        place = (bisect_right(resumed_at, row.captured_at), math.floor(row.captured_at / WINDOW_S))
        message = self.flush() if self._rows and place != self._place else None
        self._place = place
        self._rows.append(row)
        return message

    def flush(self) -> QualityMessage | None:
        """Return the message of what is at hand: no more frames of its window will come; None of none."""
        rows, self._rows = self._rows, []
        return _message(rows, self._about) if rows else None


def _message(rows: Sequence[FrameRow], about: About) -> QualityMessage:
    first, last = rows[0], rows[-1]
    used = [row for row in rows if row.rejected is None]
    reasons = Counter(row.rejected for row in rows if row.rejected is not None)
    scales = [row.px_per_um for row in used if row.px_per_um is not None]
    facts: dict[str, Any] = {
        "session": about.session,
        "first_frame": first.sequence,
        "last_frame": last.sequence,
        "from_at": first.captured_at,
        "until_at": last.captured_at,
        "processed": len(used),
        "rejected": len(rows) - len(used),
        "rejected_by_reason": dict(reasons.most_common()),
        "rejected_share": 1 - len(used) / len(rows),
        "detected": sum(row.detected for row in used),
        "new_cells": sum(row.judged for row in used),
        "seen_before": sum(row.seen_before for row in used),
        "excluded": sum(row.excluded for row in used),
        "latency_ms": _percentiles([row.latency_ms for row in used if row.latency_ms is not None]),
        "px_per_um": statistics.median(scales) if scales else None,
        "simulated": about.simulated,
    }
    key = key_of(about.session, "quality", f"{first.sequence}-{last.sequence}", facts)
    return msgspec.convert({"key": key, **facts}, QualityMessage)


def _percentiles(values: Sequence[float]) -> dict[str, float | None]:
    """Return the smallest values that as many per cent do not exceed."""
    ordered = sorted(values)
    return {
        f"p{percent}": ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)] if ordered else None
        for percent in (50, 95, 99)
    }
