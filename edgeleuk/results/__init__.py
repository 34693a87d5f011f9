"""What the device says of cells, of frames, and of a whole session."""

from __future__ import annotations

from edgeleuk.results.binomial import clopper_pearson, incomplete_beta
from edgeleuk.results.cells import (
    DECISIONS,
    CellResult,
    Decision,
    ExcludedCell,
    FrameResult,
    Prediction,
)
from edgeleuk.results.counts import (
    MOST_FOREIGN,
    Counted,
    Proportion,
    cells_text,
    counted_of,
    doubts_text,
)
from edgeleuk.results.reasons import (
    CUT,
    FOREIGN,
    NOT_JUDGED,
    OF_NETWORK,
    SCALE_IMPLAUSIBLE,
    SCALE_OF_PICTURE_UNKNOWN,
    SCALE_UNKNOWN,
    STUCK_DUST,
    Check,
    check_of,
)
from edgeleuk.results.summary import SessionSummary

__all__ = [
    "CUT",
    "DECISIONS",
    "FOREIGN",
    "MOST_FOREIGN",
    "NOT_JUDGED",
    "OF_NETWORK",
    "SCALE_IMPLAUSIBLE",
    "SCALE_OF_PICTURE_UNKNOWN",
    "SCALE_UNKNOWN",
    "STUCK_DUST",
    "CellResult",
    "Check",
    "Counted",
    "Decision",
    "ExcludedCell",
    "FrameResult",
    "Prediction",
    "Proportion",
    "SessionSummary",
    "cells_text",
    "check_of",
    "clopper_pearson",
    "counted_of",
    "doubts_text",
    "incomplete_beta",
]
