"""int8 against float, cell by cell, on the device's own preprocessing and runtimes."""

from __future__ import annotations
