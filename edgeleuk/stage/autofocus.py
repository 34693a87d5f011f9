"""Finding the focus in a dozen pictures, and knowing beforehand where it will be.

An edge blurred by defocus is as wide as the square root of ``c + (z - z0)^2``, and the power of its second
derivative falls with the third power of that width: the power to -2/3 is a parabola over z with its vertex in
focus, far beyond the depth of field. A few pictures anywhere on it are enough.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeleuk.errors import HardwareError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeleuk.frames import RgbImage
    from edgeleuk.stage.base import Mover, SynchronousCamera


class NoFocusError(HardwareError):
    """No height within reach brings the field into focus."""


MOST_FRAMES = 12
# How far up and down from where the stage stands the focus is looked for.
REACH_UM = 18.0
_LONGEST_SIDE = 160
_SMOOTH_PX = 0.8
_SWEEP = 7
# Of the sharpest picture's power: what is less tells of noise.
_LEAST_POWER = 0.01
# The sharpest picture of a sweep has so many times the power of the least sharp.
_LEAST_CHANGE = 1.5
# More than the play of stages, also where a micrometre is a tenth of one.
_BELOW_UM = 60.0


def detail_power(pixels: RgbImage) -> float:
    """Measure the power of green's second differences at 160 px across: there cells tell more than noise.

    Parameters
    ----------
    pixels : (H, W, 3) uint8, RGB

    Returns
    -------
    float
        Grey levels squared, above 0.
    """
    green = np.ascontiguousarray(pixels[:, :, 1])
    factor = _LONGEST_SIDE / max(green.shape)
    small = cv2.resize(green, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA).astype(np.float32)
    change = cv2.Laplacian(cv2.GaussianBlur(small, (0, 0), _SMOOTH_PX), cv2.CV_32F, ksize=3)
    return max(float(np.mean(change**2)), 1e-6)


def vertex(z_um: Sequence[float], power: Sequence[float]) -> float | None:
    """Find the height of the focus from pictures at several heights; None where they enclose no parabola.

    Parameters
    ----------
    z_um : sequence of float
        At least three different ones.
    power : sequence of float
        As `detail_power` gives it.
    """
    heights, powers = np.asarray(z_um, np.float64), np.asarray(power, np.float64)
    kept = powers >= _LEAST_POWER * powers.max()
    if np.count_nonzero(kept) < 3:
        best = np.sort(np.argsort(-powers)[:3])
        kept = np.zeros(len(powers), bool)
        kept[best] = True
    widths = powers[kept] ** (-2 / 3)
    # The sharpest tell most of where the vertex is.
    bend, slope, _ = np.polyfit(heights[kept], widths, 2, w=1 / widths)
    if bend <= 0:
        return None
    return float(-slope / (2 * bend))


@dataclass(frozen=True, slots=True)
class Focus:
    """What an autofocus found.

    Attributes
    ----------
    z_um : float
    frames : int
        Pictures it took.
    widened : int
        How many times as far as at first it was looked for.
    """

    z_um: float
    frames: int
    widened: int = 1


def autofocus(
    camera: SynchronousCamera,
    stage: Mover,
    *,
    reach_um: float = REACH_UM,
    fine_um: float = 2.0,
    most_widened: int = 1,
) -> Focus:
    """Bring the field into focus: a coarse sweep, then a fine fit; the stage stands there afterwards.

    Heights are always approached from below, so that the play of the axis does not matter.

    Parameters
    ----------
    camera : SynchronousCamera
    stage : Mover
    reach_um : float
        The focus is looked for so far up and down from here.
    fine_um : float
        Distance of the last pictures from the focus found first.
    most_widened : int
        Where nobody told the length of a step, a micrometre may be a tenth of one: what is not found is
        looked for three times as far, up to so many times.

    Raises
    ------
    NoFocusError
        No focus within reach, or nothing to focus on.
    """
    start = stage.position().z_um
    widened, pictures = 1, 0
    while True:
        look = _Look(camera, stage, widened)
        try:
            found = _swept(look, start, widened * reach_um, widened * fine_um)
        except NoFocusError:
            if 3 * widened > most_widened:
                raise
            pictures += len(look.seen)
            widened *= 3
        else:
            return Focus(found, pictures + len(look.seen), widened)


def refocus(camera: SynchronousCamera, stage: Mover, *, fine_um: float = 2.0, widened: int = 1) -> Focus:
    """Correct a focus that is nearly right, from three pictures around it; `widened` as `autofocus` found."""
    here, fine_um = stage.position().z_um, widened * fine_um
    look = _Look(camera, stage, widened)
    for offset in (-fine_um, 0.0, fine_um):
        look(here + offset)
    found = vertex(list(look.seen), list(look.seen.values()))
    if found is None or abs(found - here) > 2 * fine_um:
        return autofocus(camera, stage, most_widened=widened)
    look.move(found)
    return Focus(found, len(look.seen), widened)


class _Look:
    """Looks at several heights; comes to them from below where the stage cannot know its play."""

    def __init__(self, camera: SynchronousCamera, stage: Mover, widened: int) -> None:
        self.seen: dict[float, float] = {}
        self._camera, self._stage = camera, stage
        # Of a stage whose steps are known, the driver takes the play out.
        self._below_um = _BELOW_UM if widened > 1 else 0.0

    def __call__(self, z_um: float) -> None:
        self.move(z_um)
        self.seen[z_um] = detail_power(self._camera().pixels)

    def move(self, z_um: float) -> None:
        if self._below_um and z_um < self._stage.position().z_um:
            self._stage.move(z_um=z_um - self._below_um)
        self._stage.move(z_um=z_um)


def _swept(look: _Look, start: float, reach_um: float, fine_um: float) -> float:
    """Go to the focus, and return where it is: by a sweep, and by three pictures around what it tells."""
    for height in np.linspace(start - reach_um, start + reach_um, _SWEEP):
        look(float(height))
    found = _within(look.seen, start, reach_um)
    for offset in (-fine_um, 0.0, fine_um):
        look(found + offset)
    near = {z: power for z, power in look.seen.items() if abs(z - found) <= 3 * fine_um}
    last = vertex(list(near), list(near.values()))
    if last is None or abs(last - found) > 2 * fine_um:
        last = max(near, key=lambda z: near[z])
    look.move(last)
    return last


def _within(seen: dict[float, float], start: float, reach_um: float) -> float:
    """Find the focus from a sweep: the vertex of its three sharpest neighbours, if that is within reach."""
    heights = sorted(seen)
    middle = max(range(1, len(heights) - 1), key=lambda i: sum(seen[z] for z in heights[i - 1 : i + 2]))
    near = heights[middle - 1 : middle + 2]
    found = vertex(near, [seen[z] for z in near])
    alike = max(seen.values()) < _LEAST_CHANGE * min(seen.values())
    if found is None or alike or abs(found - start) > reach_um:
        sharpest = max(seen, key=lambda z: seen[z])
        raise NoFocusError(
            "no focus was found",
            got="pictures that are all alike" if alike else f"the sharpest picture at {sharpest:.1f} um",
            allowed=f"{start - reach_um:.1f} to {start + reach_um:.1f} um",
            cure="bring the slide nearly into focus by hand, over cells",
        )
    return found


@dataclass
class FocusPlane:
    """Where the focus will be at other places: a plane through what was found, the newest counting most."""

    found: list[tuple[float, float, float]] = field(default_factory=list)
    most: int = 24

    def add(self, x_um: float, y_um: float, z_um: float) -> None:
        """Learn one place."""
        self.found = [*self.found, (x_um, y_um, z_um)][-self.most :]

    def shift(self, z_um: float) -> None:
        """Raise all that was learned: the focus has drifted, or the board counts from elsewhere."""
        self.found = [(x, y, z + z_um) for x, y, z in self.found]

    def at(self, x_um: float, y_um: float) -> float | None:
        """Return the height to expect; None before anything was found."""
        if not self.found:
            return None
        places = np.array(self.found)
        middle = places[-1]
        if len(places) < 3:
            return float(middle[2])
        terms = np.column_stack([np.ones(len(places)), places[:, :2] - middle[:2]])
        # What was found last is nearest in place and in time.
        weight = 0.9 ** np.arange(len(places))[::-1]
        # A little stiffness: places in one line tell nothing of the slope across.
        stiff = np.diag([0.0, 1.0, 1.0]) * 1e-3 * (terms[:, 1:] ** 2).max()
        normal = terms.T @ (weight[:, None] * terms) + stiff
        offset, *slopes = np.linalg.solve(normal, terms.T @ (weight * (places[:, 2] - middle[2])))
        way = np.array([x_um, y_um]) - middle[:2]
        return float(middle[2] + offset + way @ np.array(slopes))
