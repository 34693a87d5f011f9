"""A camera that looks at the virtual slide while a stage walks over it: ``virtual://?seed=1&fps=10``."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from edgeleuk.errors import UsageError
from edgeleuk.frames import Frame
from edgeleuk.io.clock import moment
from edgeleuk.io.closing import Closing
from edgeleuk.io.uris import public_uri

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeleuk.capture.base import EncodedFrame, SourceEvent
    from edgeleuk.virtual import Field

FIELDS_PER_ROW = 20


@dataclass(frozen=True, slots=True)
class VirtualSettings:
    """What the address of a virtual camera says.

    Attributes
    ----------
    seed : int
        Number of the slide.
    width, height : int
        Of a frame, in pixels.
    fps : float
        Frames a second in real time; 0 gives each frame as soon as it is drawn and asked for.
    overlap : float
        Share of a frame that its neighbour shows again.
    frames : int
        How many frames there are; 0 for no end.
    blast_share, white_cells_per_field, px_per_um : float
        As for ``edgeleuk.virtual.VirtualSlide``.
    scenario : Path or None
        TOML file of the faults that befall it; see ``edgeleuk.virtual.scenario``.
    """

    seed: int = 0
    width: int = 1280
    height: int = 960
    fps: float = 0.0
    overlap: float = 0.3
    frames: int = 0
    blast_share: float = 0.3
    white_cells_per_field: float = 3.0
    px_per_um: float = 13.0
    scenario: Path | None = None


# Key of the address -> (least, greatest) value; the key's type is that of its default.
_RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**32 - 1),
    "width": (64, 8192),
    "height": (64, 8192),
    "fps": (0, 240),
    "overlap": (0, 0.9),
    "frames": (0, 10**9),
    "blast_share": (0, 1),
    "white_cells_per_field": (0, 14),
    "px_per_um": (2, 60),
}
_INTEGERS = frozenset({"seed", "width", "height", "frames"})
_EXAMPLE = "write it like virtual://?seed=1&fps=10"


def parse_virtual(uri: str) -> VirtualSettings:
    """Read the settings from a virtual camera's address.

    Examples
    --------
    >>> parse_virtual("virtual://?seed=4&fps=10").fps
    10.0
    """
    parts = urlsplit(uri)
    if parts.scheme != "virtual" or parts.netloc or parts.path.strip("/") or parts.fragment:
        raise UsageError("not the address of a virtual camera", got=public_uri(uri), cure=_EXAMPLE)
    values: dict[str, float | Path] = {}
    try:
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise UsageError(
            "a virtual camera's options are key=value", got=public_uri(uri), cure=_EXAMPLE
        ) from None
    for key, text in pairs:
        if key not in _RANGES and key != "scenario":
            allowed = ", ".join([*_RANGES, "scenario"])
            raise UsageError("unknown option of a virtual camera", got=key, allowed=allowed, cure=_EXAMPLE)
        if key in values:
            raise UsageError(
                f"{key} of the virtual camera is given twice", got=public_uri(uri), cure="give it once"
            )
        values[key] = Path(text) if key == "scenario" else _number(key, text)
    return VirtualSettings(**values)  # type: ignore[arg-type]  # _number makes integers where they are due


def _number(key: str, text: str) -> float:
    least, greatest = _RANGES[key]
    kind = int if key in _INTEGERS else float
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not least <= value <= greatest:
        whole = "a whole number " if kind is int else ""
        raise UsageError(
            f"bad value for {key} of the virtual camera",
            got=repr(text),
            allowed=f"{whole}{least:.10g} to {greatest:.10g}",
            cure=f"write for example {key}={getattr(VirtualSettings(), key)}",
        )
    return value


class VirtualSource(Closing):
    """Frames of a virtual slide in a serpentine: 20 fields to the right, one down, 20 to the left.

    Attributes
    ----------
    uri : str
        As given.
    settings : VirtualSettings
    live : bool
        True where frames come at their own pace (``fps`` above 0), so that a slow reader must skip some.
    """

    def __init__(self, uri: str, settings: VirtualSettings) -> None:
        # cv2 takes a third of a second to import: only when a camera is really opened.
        from edgeleuk.virtual import VirtualSlide

        self.uri = uri
        self.settings = settings
        self.live = settings.fps > 0
        self._closed = threading.Event()
        self._due = 0.0
        self._slide = VirtualSlide(
            settings.seed,
            px_per_um=settings.px_per_um,
            blast_share=settings.blast_share,
            white_cells_per_field=settings.white_cells_per_field,
        )

    def close(self) -> None:
        """End ``frames`` soon, also while another thread waits in it."""
        self._closed.set()

    def frames(self) -> Iterator[Frame | EncodedFrame | SourceEvent]:
        """Yield frames from the first one on, until `frames` of them are through or the source is closed."""
        settings = self.settings
        self._due = time.monotonic()
        sequence = 0
        while not self._closed.is_set() and (settings.frames == 0 or sequence < settings.frames):
            field = self._field(sequence)
            if not self._await_turn():
                return
            captured_at, captured_monotonic = moment()
            yield Frame(
                pixels=field.pixels,
                sequence=sequence,
                captured_at=captured_at,
                captured_monotonic=captured_monotonic,
                source=self.uri,
                px_per_um=settings.px_per_um,
                truth=field.truth,
            )
            sequence += 1

    def _field(self, sequence: int) -> Field:
        x_um, y_um = self.place(sequence)
        return self._slide.field(x_um, y_um, width=self.settings.width, height=self.settings.height)

    def _await_turn(self) -> bool:
        """Keep the pace of a live camera; False if it was closed meanwhile."""
        if self.live:
            if self._closed.wait(max(self._due - time.monotonic(), 0)):
                return False
            self._due = max(self._due + 1 / self.settings.fps, time.monotonic())
        return True

    def place(self, sequence: int) -> tuple[float, float]:
        """Return where on the slide (um) the centre of a frame is.

        Steps are whole pixels, so that overlapping frames agree exactly.
        """
        settings = self.settings
        row, column = divmod(sequence, FIELDS_PER_ROW)
        if row % 2:
            column = FIELDS_PER_ROW - 1 - column
        step_x = max(round(settings.width * (1 - settings.overlap)), 1)
        step_y = max(round(settings.height * (1 - settings.overlap)), 1)
        return column * step_x / settings.px_per_um, row * step_y / settings.px_per_um
