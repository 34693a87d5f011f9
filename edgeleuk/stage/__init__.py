"""What a stage is moved for: finding focus, learning how the camera lies on the stage, scanning a slide.

Works on the protocols of `edgeleuk.stage.base`; who moves the motors is the firmware bridge's matter.
"""

from __future__ import annotations
