"""Real runs over the virtual microscope on many days, its lamp, stain or focus changed a little more each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeleuk.commands.run import RunOptions, run
from edgeleuk.io.settings import RunSettings
from edgeleuk.virtual import VirtualSlide
from edgeleuk.virtual.faults import through_the_optics
from edgeleuk.virtual.scenario import CameraFault, CameraFaultKind

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FIELDS = 6
WIDTH, HEIGHT, PX_PER_UM = 960, 720, 13.0
# Crowded, so that few fields have enough cells.
CELLS_PER_FIELD = 14.0


class VirtualWeeks:
    """A slide that is looked at day after day, somewhere else each time.

    Parameters
    ----------
    folder : Path
        For the pictures and the sessions.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._slide = VirtualSlide(seed=11, px_per_um=PX_PER_UM, white_cells_per_field=CELLS_PER_FIELD)

    def record(
        self, name: str, day: int, faults: Mapping[CameraFaultKind, float] | None = None, z_um: float = 0.0
    ) -> Path:
        """Record a day's session.

        Parameters
        ----------
        name : str
            Of the session.
        day : int
            Which place of the slide.
        faults : mapping
            Kind -> strength; see `edgeleuk.virtual.scenario.STRENGTHS`.
        z_um : float
            Distance from focus.
        """
        pictures = self._folder / f"{name} pictures"
        pictures.mkdir(parents=True)
        acting = {
            kind: CameraFault(kind=kind, at_s=0.0, for_s=1.0, strength=strength)
            for kind, strength in (faults or {}).items()
        }
        for number in range(FIELDS):
            x_um = number * WIDTH / PX_PER_UM
            field = self._slide.field(
                x_um, day * HEIGHT / PX_PER_UM, z_um=z_um, exposure=number, width=WIDTH, height=HEIGHT
            )
            # At its end a lamp is as dim as its strength says.
            seen = through_the_optics(field.pixels, acting, 1.0, seed=day, sequence=number)
            cv2.imwrite(str(pictures / f"{number}.png"), np.ascontiguousarray(seen[:, :, ::-1]))
        session = self._folder / f"{name}.db"
        run(f"dir://{pictures}", "default", RunSettings(runtime="litert"), RunOptions(session, draw=False))
        return session
