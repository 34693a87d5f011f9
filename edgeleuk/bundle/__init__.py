"""The bundle: one file in which the two wings of the house meet."""

from __future__ import annotations
