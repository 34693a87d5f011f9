"""The virtual slide: renders what a microscope at (x, y, z) would see, with known truth.

A simulation, made of statistics alone; no pixel of any data set is in it. See ``statistics.json`` and
``edgeleuk_convert.dataset.smear_statistics``, which fits it.
"""

from __future__ import annotations

from edgeleuk.virtual.cells import single_cell
from edgeleuk.virtual.render import Field, VirtualSlide

__all__ = ["Field", "VirtualSlide", "single_cell"]
