"""Sessions for tests: frames of one cell each, a summary, and a program that records until it is killed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.frames import Box, Cell, CellCrop
from edgeleuk.results import CellResult, Check, Counted, Decision, FrameResult, Prediction, SessionSummary
from edgeleuk.results.kinds import Kind
from edgeleuk.session import JudgedCell

if TYPE_CHECKING:
    from pathlib import Path

    from edgeleuk.frames import Mask
    from edgeleuk.session import SessionWriter

BOX = Box(3, 4, 120, 90)
PIXELS = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
CROP = CellCrop(PIXELS, np.full((90, 120), 255, np.uint8), 13.0)
BLAST = Prediction(Decision.BLAST, 0.75)


def record(
    session: SessionWriter,
    number: int,
    prediction: Prediction = BLAST,
    mask: Mask | None = None,
    **changes: object,
) -> None:
    """Record frame `number` with one new cell, of the same number."""
    cell = CellResult(number, True, BOX, 100.5, 60.25, prediction)
    found = Cell(BOX, np.full((90, 120), 255, np.uint8))
    result = FrameResult(number, 1e9 + number, "test://", 640, 480, 13.0, (cell,), (), (found,), 12.5)
    judged = JudgedCell(number, BOX, 10800, 10800, 100.5, 60.25, prediction, CROP, mask=mask)
    session.record_frame(replace(result, **changes), [judged])  # type: ignore[arg-type]


def of_kinds(cells: int) -> list[Prediction]:
    """Blasts, normal cells, neutrophils and doubtful ones in turn, each less certain than the one before."""
    found = []
    for number in range(cells):
        far = 0.3 * (1 - number / cells)
        found.append(
            [
                Prediction(Decision.BLAST, 0.65 + far),
                Prediction(Decision.NORMAL, 0.35 - far),
                Prediction(Decision.OTHER, 0.5, None, False, Kind.NEUTROPHIL, 0.7 + far),
                Prediction(Decision.UNCERTAIN, 0.55, "probability between <0.5 & 0.7>"),
            ][number % 4]
        )
    return found


def summary(path: Path) -> SessionSummary:
    return SessionSummary(
        session=str(path), camera="test://", ended="test", started_at=0.0, duration_s=2.0, simulated=False,
        captured=10, processed=8, dropped=1, rejected=1, detected=7, seen_before=2, excluded=1,
        counted=Counted(1, 2, 1, {Check.PROBABILITY: 1}), latency_ms={"p50": 1.0, "p95": 2.0, "p99": 3.0},
    )  # fmt: skip


WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from edgeleuk.session import create_session
from sessions import record
session = create_session(Path(sys.argv[1]), {"camera": "test://"})
number = 0
while True:
    record(session, number)
    print(number, flush=True)
    number += 1
"""
