"""Runtimes that execute a network: one protocol, one table, nothing chosen silently."""

from __future__ import annotations

from edgeleuk.bundle.contracts import Answer
from edgeleuk.inference.runtime import (
    RUNTIMES,
    ModelRuntime,
    available_runtimes,
    obstacle,
    open_runtime,
    require_runtime,
)

__all__ = [
    "RUNTIMES",
    "Answer",
    "ModelRuntime",
    "available_runtimes",
    "obstacle",
    "open_runtime",
    "require_runtime",
]
