"""The version, and the sentence that stands under everything that edgeleuk says."""

from __future__ import annotations

__version__ = "0.2.0"

RESEARCH_USE = "For research use only. Not for use in diagnostic procedures."
