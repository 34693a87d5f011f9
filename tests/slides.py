"""Fields of the virtual slide, kept as a scan keeps them, and what is really there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
from virtual_stage import VirtualStage

from edgeleuk.slide.blending import GROUND
from edgeleuk.slide.spool import FieldSpool, ScanFacts
from edgeleuk.stage.mapping import Mapping
from edgeleuk.stage.resuming import Begun
from edgeleuk.virtual.microscope import Stand, VirtualMicroscope
from edgeleuk.virtual.render import VirtualSlide

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    from edgeleuk.frames import RgbImage
    from edgeleuk.stage.base import ScanField
    from edgeleuk.stage.scanning import ScanPlan

SIZE = (640, 480)
PX_PER_UM = 13.0
# As a stage map has it: a little off in scale and turn, so that the stage alone is not enough.
MATRIX = ((12.9, -0.5), (0.5, 12.9))
TURNED = 3.0
PLAY_UM = 2.0


@dataclass
class Walked:
    """Fields that were taken, and where each really lies, (n, 2) px of the virtual slide, upper left."""

    microscope: VirtualMicroscope
    fields: list[ScanField]
    pictures: list[RgbImage]
    corners: npt.NDArray[np.int64]


def virtual_microscope(size: tuple[int, int] = SIZE, seed: int = 4) -> VirtualMicroscope:
    stand = Stand(backlash_um=PLAY_UM, turned_degrees=TURNED)
    return VirtualMicroscope(VirtualSlide(seed, white_cells_per_field=8.0), stand, *size)


def corner_of(microscope: VirtualMicroscope, x_um: float, y_um: float) -> tuple[int, int]:
    """Where a field lies whose stage stands, play taken out, at a place of the motors."""
    half = microscope.stand.backlash_um / 2
    x, y = microscope.on_slide(x_um - half, y_um - half)
    return (
        round(x * PX_PER_UM) - microscope.width // 2,
        round(y * PX_PER_UM) - microscope.height // 2,
    )


def walk(
    plan: ScanPlan, slip: Callable[[int], tuple[float, float]] = lambda _: (0.0, 0.0), seed: int = 4
) -> Walked:
    """Take the fields of a plan with a stage that has lost so many um at each field."""
    microscope = virtual_microscope(seed=seed)
    stage = VirtualStage(microscope, take_out_um=5.0)
    fields = plan.fields(Mapping(MATRIX), SIZE, (0.0, 0.0))
    stage.move(x_um=-20.0, y_um=-20.0)
    pictures, corners = [], []
    for field in fields:
        x, y = slip(field.number)
        stage.move(x_um=field.x_um + x, y_um=field.y_um + y)
        pictures.append(stage().pixels)
        corners.append(corner_of(microscope, field.x_um + x, field.y_um + y))
    return Walked(microscope, fields, pictures, np.array(corners))


def keep(
    path: Path,
    walked: Walked,
    *,
    kept: Literal["jpeg", "lossless"] = "lossless",
    without: tuple[int, ...] = (),
) -> None:
    """Put the fields into a file as a scan does."""
    facts = ScanFacts(Begun((0.0, 0.0), MATRIX, (1.0, 1.0, 0.3)), SIZE, kept, "", simulated=True)
    with FieldSpool.create(path, walked.fields, facts) as spool:
        for field, pixels in zip(walked.fields, walked.pictures, strict=True):
            if field.number not in without:
                spool.add(field.number, pixels, is_lossless=kept == "lossless")


def truth_of(walked: Walked, size: tuple[int, int], origin: tuple[int, int]) -> RgbImage:
    """Draw what a slide shows whose upper left pixel is that one of the virtual slide."""
    return walked.microscope.slide._slide(*origin, *size)


def displacements(slide: RgbImage, truth: RgbImage, side: int = 96, reach: int = 6) -> list[float]:
    """How far each square of a slide lies from its place, px; of those that show something, and all of it."""
    one, two = (picture[:, :, 1].astype(np.float32) for picture in (slide, truth))
    found = []
    for y in range(reach, one.shape[0] - side - reach, side // 2):
        for x in range(reach, one.shape[1] - side - reach, side // 2):
            if (slide[y : y + side, x : x + side] == GROUND).all(axis=2).mean() > 0.01:
                continue
            part = one[y : y + side, x : x + side]
            around = two[y - reach : y + side + reach, x - reach : x + side + reach]
            if around.std() < 12 or part.std() < 12:
                continue
            match = cv2.matchTemplate(around, part, cv2.TM_CCOEFF_NORMED)
            _, best, _, (i, j) = cv2.minMaxLoc(match)
            found.append(float(np.hypot(i - reach, j - reach)) if best > 0.8 else float(reach))
    return found
