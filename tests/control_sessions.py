"""Control sessions for tests: figures without a slide, and a program that adds them until it is killed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from edgeleuk.control.entries import ControlEntry, Measured

if TYPE_CHECKING:
    from collections.abc import Mapping

GOOD: Mapping[str, float] = {
    "light": 210.0, "evenness": 0.96, "sharpness": 0.58, "cell_focus": 0.4, "red_to_green": 2.6,
    "blue_to_green": 3.0, "scale": 13.0, "uncertain_share": 20.0, "blast_share": 30.0,
}  # fmt: skip
SPREAD = 0.02


def entry(
    number: int, *, slide: str = "lot", add: Mapping[str, float] | None = None, **changes: object
) -> ControlEntry:
    """Return session `number` of a slide, its measures moved by `add`."""
    values = {name: value + (add or {}).get(name, 0.0) for name, value in GOOD.items()}
    day = f"2026-{1 + number // 28:02d}-{1 + number % 28:02d}T08:00:00.000+00:00"
    facts: dict[str, object] = {
        "session": f"day{number}.db",
        "sha256": hashlib.sha256(f"{slide} {number}".encode()).hexdigest(),
        "slide": slide,
        "recorded_at": day,
        "added_at": day,
        "bundle": "default",
        "bundle_sha256": "ab" * 32,
        "px_per_um": None,
        "simulated": True,
        "fields": 12,
        "cells": 60,
        "measures": {
            name: Measured(value=value, spread=SPREAD * value, n=60) for name, value in values.items()
        },
        "uncertain_by_reason": {"features": 12},
    }
    return ControlEntry(**(facts | changes))  # type: ignore[arg-type]  # the facts are of the fields' types


# Adds one session after another, and says so when it has. Arguments: the file, this folder, first, how many.
ADDER = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from control_sessions import entry
from edgeleuk.control.store import change_control
first, many = int(sys.argv[3]), int(sys.argv[4])
for number in range(first, first + many):
    change_control(Path(sys.argv[1]), lambda before: (*before, entry(number)))
    print(number, flush=True)
"""
