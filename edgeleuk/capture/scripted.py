"""The virtual camera with a scenario of faults: ``virtual://?scenario=FILE.toml``."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from edgeleuk.capture.base import EncodedFrame, JpegFrame, SourceEvent
from edgeleuk.capture.virtual import VirtualSettings, VirtualSource, parse_virtual
from edgeleuk.errors import CameraError
from edgeleuk.frames import Frame
from edgeleuk.io.clock import moment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edgeleuk.frames import RgbImage, TrueCell
    from edgeleuk.virtual.scenario import CameraFault, CameraFaultKind, Scenario

# Frames a second of stream time where frames come as fast as they are asked for.
STREAM_FPS = 10.0


class ScriptedSource(VirtualSource):
    """A virtual camera that fails as a scenario says, and says so itself by events of kind ``scenario``.

    The stage walks on through every fault: what a stall or an unplugged cable hides is never seen, a frozen
    picture shows where it froze, with that place's true cells. A stall and an unplugged cable take their time
    for real; a connection is opened anew by `reopen`.

    Parameters
    ----------
    uri : str
    settings : VirtualSettings
    scenario : Scenario
    """

    def __init__(self, uri: str, settings: VirtualSettings, scenario: Scenario) -> None:
        super().__init__(uri, settings)
        self._scenario = scenario
        self._rate = settings.fps or STREAM_FPS
        self._sequence = 0
        self._begun: set[CameraFault] = set()
        self._plugged_in_at = -math.inf
        self._shown: tuple[RgbImage, tuple[TrueCell, ...], float] | None = None

    def reopen(self) -> ScriptedSource:
        """Connect again where the stage is now.

        Raises
        ------
        CameraError
            It is still unplugged.
        """
        left_s = self._plugged_in_at - time.monotonic()
        if left_s > 0:
            raise CameraError(
                "the virtual camera cannot be opened",
                got=f"unplugged for another {left_s:.1f} s",
                cure="its scenario plugs it in again",
            )
        self._closed.clear()
        return self

    def frames(self) -> Iterator[Frame | EncodedFrame | SourceEvent]:
        """Yield what the camera delivers; see `FrameSource.frames`.

        Raises
        ------
        CameraError
            It was unplugged.
        """
        from edgeleuk.virtual.scenario import CameraFaultKind

        self._due = time.monotonic()
        settings = self.settings
        while not self._closed.is_set() and (settings.frames == 0 or self._sequence < settings.frames):
            at_s = self._sequence / self._rate
            acting = self._scenario.acting(at_s)
            for fault in acting.values():
                if fault not in self._begun:
                    self._begun.add(fault)
                    yield SourceEvent("scenario", fault.text)
            if CameraFaultKind.UNPLUG in acting:
                self._plugged_in_at = time.monotonic() + self._skip(acting[CameraFaultKind.UNPLUG])
                cure = "its scenario plugs it in again"
                raise CameraError(
                    "the virtual camera was unplugged", got=f"stream time {at_s:g} s", cure=cure
                )
            if CameraFaultKind.STALL in acting:
                self._closed.wait(self._skip(acting[CameraFaultKind.STALL]))
                self._due = time.monotonic()
                continue
            frame = self._frame(acting, at_s)
            self._sequence += 1
            yield frame

    def _skip(self, fault: CameraFault) -> float:
        """Let the stage walk on to the end of a fault; return how long that takes, in seconds."""
        before = self._sequence
        self._sequence = math.ceil(fault.end_s * self._rate)
        return (self._sequence - before) / self._rate

    def _frame(self, acting: Mapping[CameraFaultKind, CameraFault], at_s: float) -> Frame | EncodedFrame:
        from edgeleuk.virtual import faults
        from edgeleuk.virtual.scenario import CameraFaultKind

        if CameraFaultKind.FREEZE not in acting or self._shown is None:
            self._shown = self._seen(acting, at_s)
        pixels, truth, px_per_um = self._shown
        torn = acting.get(CameraFaultKind.TORN)
        data = faults.torn(pixels, torn.level) if torn is not None else None
        self._await_turn()
        now = moment()
        if data is not None:
            return JpegFrame(data, self._sequence, *now, self.uri)
        return Frame(pixels, self._sequence, *now, self.uri, px_per_um, truth)

    def _seen(
        self, acting: Mapping[CameraFaultKind, CameraFault], at_s: float
    ) -> tuple[RgbImage, tuple[TrueCell, ...], float]:
        """Pixels, true cells and scale of the field that the stage is at."""
        from edgeleuk.virtual import faults
        from edgeleuk.virtual.scenario import CameraFaultKind

        field = self._field(self._sequence)
        pixels, truth, px_per_um = field.pixels, field.truth, self.settings.px_per_um
        seed = self.settings.seed
        pixels = faults.through_the_optics(pixels, acting, at_s, seed=seed, sequence=self._sequence)
        if (resolution := acting.get(CameraFaultKind.RESOLUTION)) is not None:
            pixels, truth = faults.resized(pixels, truth, resolution.level)
            px_per_um *= resolution.level
        return pixels, truth, px_per_um


def open_virtual(uri: str) -> VirtualSource:
    """Open ``virtual://?seed=1&width=1280&height=960&fps=0&overlap=0.3&frames=0...``, every key optional.

    Raises
    ------
    UsageError
        For an unknown or repeated key, a bad value, or a bad scenario.
    """
    settings = parse_virtual(uri)
    if settings.scenario is None:
        return VirtualSource(uri, settings)
    from edgeleuk.capture.scripted import ScriptedSource
    from edgeleuk.virtual.scenario import load_scenario

    return ScriptedSource(uri, settings, load_scenario(settings.scenario))
