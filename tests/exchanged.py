"""Sessions to be exported: cells of any outline, with what the bundle and people said of them."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.frames import NUCLEUS, Box, Cell, CellCrop
from edgeleuk.labels.contents import Statement
from edgeleuk.labels.sessions import Origin, label_cells
from edgeleuk.results import Decision, FrameResult, Prediction
from edgeleuk.results.kinds import Kind
from edgeleuk.session import JudgedCell, create_session

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeleuk.frames import Mask

AT = datetime(2026, 3, 1, 8, 30, tzinfo=timezone.utc)
SCALE = 9.5
PREDICTIONS = (
    Prediction(Decision.BLAST, 0.9),
    Prediction(Decision.NORMAL, 0.1, None, foreign=False, kind=Kind.LYMPHOCYTE, kind_probability=0.8),
    Prediction(Decision.OTHER, 0.2, None, foreign=False, kind=Kind.MONOCYTE, kind_probability=0.7),
    Prediction(Decision.UNCERTAIN, 0.5, "probability 0.5"),
)


def round_cell(width: int = 60, height: int = 50) -> Mask:
    """Return the mask of an elliptic cell that fills its box, with a nucleus."""
    y, x = np.mgrid[:height, :width]
    distance = np.hypot((x + 0.5) / width * 2 - 1, (y + 0.5) / height * 2 - 1)
    return np.where(distance < 0.6, 255, np.where(distance <= 1, 128, 0)).astype(np.uint8)


def record_cells(
    path: Path,
    masks: Sequence[Mask],
    *,
    kept: bool = True,
    scale: float | None = SCALE,
    source: str = "test://",
) -> Path:
    """Record one cell of each mask, of any colour, in a field of its own; without crops where not `kept`."""
    random = np.random.default_rng(0)
    with create_session(path, {"camera": "test://", "bundle_sha256": "ab" * 32}) as session:
        for track, mask in enumerate(masks):
            height, width = mask.shape
            box = Box(3 + track, 4, width, height)
            inside = np.where(mask > 0, np.uint8(255), np.uint8(0))
            pixels = random.integers(1, 256, (height, width, 3), np.uint8) * (inside > 0)[:, :, None]
            crop = CellCrop(pixels, inside, scale or 1.0) if kept else None
            area, nucleus = (int(np.count_nonzero(part)) for part in (mask, mask == NUCLEUS))
            judged = JudgedCell(
                track, box, area, nucleus, 100.5, 60.25, PREDICTIONS[track % 4], crop, mask=mask
            )
            found = (Cell(box, mask),)
            result = FrameResult(track, 1e9 + track, source, 640, 480, scale, (), (), found, 12.5)
            session.record_frame(result, [judged])
    return path


def say(session: Path, *words: tuple[int, str, str], slide: str = "S7", subject: str | None = "P1") -> None:
    """Record what people call cells: number, label, person."""
    said = [(cell, Statement(at=AT, by=by, label=label)) for cell, label, by in words]
    label_cells(session, said, Origin(slide, subject))
