"""A microscope of LabThings-FastAPI, the framework of OpenFlexure's server: a stage, a camera, an autofocus.

The names, the arguments and what they do are those of the server's version 3; run by `openflexure.sh`, in an
environment of its own, for LabThings holds FastAPI to one version.
"""

from __future__ import annotations

import sys
import threading
import time
from io import BytesIO
from typing import TYPE_CHECKING

import labthings_fastapi as lt
import uvicorn
from PIL import Image

if TYPE_CHECKING:
    from types import TracebackType

STEPS_PER_S = 5000.0
BEST_Z = 40


class Stage(lt.Thing):
    """Moves, and can be cancelled."""

    position: dict[str, int] = lt.property(default_factory=lambda: dict.fromkeys("xyz", 0), readonly=True)
    moving: bool = lt.property(default=False, readonly=True)

    @lt.action
    def move_relative(self, block_cancellation: bool = False, **kwargs: int) -> None:
        """Move by so many steps."""
        start = dict(self.position)
        way = {axis: kwargs.get(axis, 0) for axis in start}
        seconds = max(map(abs, way.values())) / STEPS_PER_S
        begun, share, self.moving = time.monotonic(), 0.0, True
        try:
            while share < 1:
                share = min((time.monotonic() - begun) / seconds, 1.0) if seconds else 1.0
                self.position = {axis: start[axis] + round(share * way[axis]) for axis in start}
                if block_cancellation:
                    time.sleep(0.005)
                else:
                    lt.cancellable_sleep(0.005)
        finally:
            self.moving = False

    @lt.action
    def move_absolute(self, block_cancellation: bool = False, **kwargs: int) -> None:
        """Move to a place."""
        way = {axis: int(to) - self.position[axis] for axis, to in kwargs.items() if axis in self.position}
        self.move_relative(block_cancellation=block_cancellation, **way)


class Camera(lt.Thing):
    """Streams grey pictures that grow brighter."""

    mjpeg_stream = lt.outputs.MJPEGStreamDescriptor()

    def __enter__(self) -> Camera:
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        while not self._closing.wait(0.05):
            data = BytesIO()
            Image.new("RGB", (320, 240), (number % 256, 90, 120)).save(data, "JPEG")
            self.mjpeg_stream.add_frame(data.getvalue())
            number += 1


class Autofocus(lt.Thing):
    """Knows where the focus is."""

    stage: Stage = lt.thing_slot()

    @lt.action
    def fast_autofocus(self, dz: int = 2000, start: str = "centre") -> list[int]:
        """Go to the focus, if the sweep reaches it."""
        here = self.stage.position["z"]
        if start != "centre" or abs(BEST_Z - here) > dz / 2:
            raise ValueError("the sharpest picture is at the end of the sweep")
        self.stage.move_absolute(z=BEST_Z)
        return [BEST_Z]


if __name__ == "__main__":
    server = lt.ThingServer.from_things(
        {"stage": Stage, "camera": Camera, "autofocus": Autofocus}, api_prefix=sys.argv[2]
    )
    uvicorn.run(server.app, port=int(sys.argv[1]), log_level="warning")
