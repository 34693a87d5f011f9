"""Session files of many days, each of a few recorded rows: what `trend` reads of them, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sessions import of_kinds, record, summary

from edgeleuk.control.entries import Measured
from edgeleuk.control.optics import OPTICS, optics_text
from edgeleuk.session import create_session

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

START, DAY_S = 1767225600.0, 86400.0
SETTINGS = {"camera": "http://stand/stream", "bundle": "default", "bundle_sha256": "ab" * 32}


def optics(light: float, rng: np.random.Generator) -> str:
    """Say light and focus as a run does."""
    levels = {"light": light, "evenness": 0.95, "sharpness": 0.58, "glass_red": 1.04, "glass_blue": 0.96}
    return optics_text(
        {
            name: Measured(value=level * (1 + float(rng.normal(0, 0.005))), spread=0.005 * level, n=5)
            for name, level in levels.items()
        }
    )


def one_session(path: Path, at: float, light: float, *, cells: int = 24, **settings: object) -> Path:
    """Record a session of some frames with a cell each."""
    rng = np.random.default_rng(round(at) % 2**32)
    with create_session(path, {**SETTINGS, **settings}) as session:
        session.note(OPTICS, optics(light, rng))
        for number, prediction in enumerate(of_kinds(cells)):
            record(session, number, prediction, captured_at=at + number)
        session.finish(summary(path))
    return path


def weeks(folder: Path, lights: Sequence[float], **settings: Any) -> list[Path]:
    """Record a session a day, of a lamp of such brightness each."""
    return [
        one_session(folder / f"day{day}.db", START + DAY_S * day, light, **settings)
        for day, light in enumerate(lights)
    ]


SOUND = [210.0] * 9
# Two per cent darker every day.
AGED = [*SOUND, *(210.0 * (1 - 0.02 * day) for day in range(1, 8))]
