"""edgeleuk: run a quantized leukemic-blast classifier on a microscope's camera.

For research use only. Not for use in diagnostic procedures.
"""

from __future__ import annotations

__version__ = "0.2.0"

RESEARCH_USE = "For research use only. Not for use in diagnostic procedures."
