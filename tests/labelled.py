"""Labelled cells for tests: drawn crops, entries about them, and files."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeleuk.frames import CellCrop
from edgeleuk.labels.contents import CellEntry, PictureSource, Statement
from edgeleuk.labels.file import write_labels

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from edgeleuk.labels.spool import Spool

START = datetime(2026, 3, 1, 8, 0, tzinfo=timezone.utc)


def crop(seed: int, side: int = 40) -> CellCrop:
    """Draw a round cell with a texture of its own."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.normal(size=(side, side, 3)).astype(np.float32), (0, 0), side / 30)
    mask = np.zeros((side, side), np.uint8)
    cv2.ellipse(mask, ((side / 2, side / 2), (side * 0.9, side * 0.8), float(seed * 37 % 180)), 255, -1)
    pixels = np.clip(130 + noise / noise.std() * 25, 1, 255).astype(np.uint8)
    return CellCrop(np.where(mask[:, :, None] > 0, pixels, np.uint8(0)), mask, 7.5)


def said(label: str, by: str = "A", after_min: int = 0) -> Statement:
    return Statement(at=START + timedelta(minutes=after_min), by=by, label=label)


def entry(
    spool: Spool,
    seed: int,
    *words: Statement,
    slide: str = "S1",
    subject: str | None = None,
    of: CellCrop | None = None,
) -> CellEntry:
    """Say of the cell of a seed what the words say."""
    source = PictureSource(path=f"cells/{seed}.png", sha256=f"{seed:064x}")
    shown = of or crop(seed)
    return CellEntry(
        identity=spool.add(shown),
        px_per_um=shown.px_per_um,
        slide=slide,
        subject=subject,
        sources=(source,),
        statements=words or (said("monocyte"),),
    )


def file_of(path: Path, spool: Spool, cells: Iterable[CellEntry]) -> Path:
    write_labels(path, cells, spool)
    return path
