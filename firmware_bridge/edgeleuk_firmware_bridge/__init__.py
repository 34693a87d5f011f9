"""The host's side of the wire to a microscope's own processor: stage, focus, lamp.

Nothing here drives hardware yet; the drivers come with the slide scanner.
"""

from __future__ import annotations
