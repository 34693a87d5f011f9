"""The host's side of the wire to a microscope's own processor: stage, focus, lamp."""

from __future__ import annotations
