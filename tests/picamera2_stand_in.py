"""What edgeleuk uses of picamera2, which only Pi OS has: the same methods, the documented behaviour.

A scene of one colour, red (200, 40, 10). A sensor that takes what it is told three frames later, rounds its
exposure to lines of 28 us, exposes no longer than a frame lasts, and adjusts exposure, gain and white balance
by itself until it is told not to.
"""

from __future__ import annotations

import threading
import time
from typing import Any, ClassVar

import numpy as np

SCENE = (200, 40, 10)
LINE_US = 28
FRAMES_LATE = 3


class Request:
    """A frame, whose buffer has to be given back."""

    def __init__(self, camera: Picamera2, metadata: dict[str, Any]) -> None:
        self._camera = camera
        self._metadata = metadata
        camera.lent += 1

    def make_array(self, name: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
        stream = self._camera.camera_configuration()[name]
        width, height = stream["size"]
        # The manual's appendix A: RGB888 is B, G, R in memory, BGR888 is R, G, B.
        colour = SCENE if stream["format"] == "BGR888" else SCENE[::-1]
        return np.full((height, width, 3), colour, np.uint8)

    def get_metadata(self) -> dict[str, Any]:
        return self._metadata

    def release(self) -> None:
        self._camera.lent -= 1


class Picamera2:
    """The one class."""

    cameras: ClassVar[list[dict[str, Any]]] = []
    opened: ClassVar[list[Picamera2]] = []
    in_use: ClassVar[bool] = False
    deaf: ClassVar[bool] = False

    @staticmethod
    def global_camera_info() -> list[dict[str, Any]]:
        return Picamera2.cameras

    def __init__(self, camera_num: int = 0) -> None:
        if Picamera2.in_use:
            msg = "Camera __init__ sequence did not complete."
            raise RuntimeError(msg)
        self.lent = 0
        self.started = self.closed = False
        self.dead = False
        self.told: list[dict[str, Any]] = []
        self._configuration: dict[str, Any] = {}
        self._waiting: list[tuple[int, dict[str, Any]]] = []
        self._frame = 0
        self._state: dict[str, Any] = {
            "ExposureTime": 9996,
            "AnalogueGain": 2.0,
            "ColourGains": (1.9, 1.6),
            "FrameDuration": 33333,
        }
        self._busy = threading.Lock()
        Picamera2.opened.append(self)

    @property
    def camera_controls(self) -> dict[str, tuple[Any, Any, Any]]:
        return {
            "AeEnable": (False, True, True),
            "AwbEnable": (False, True, True),
            "ExposureTime": (28, 200000, 20000),
            "AnalogueGain": (1.0, 16.0, 1.0),
            "ColourGains": (0.0, 32.0, None),
            "FrameDurationLimits": (33333, 200000, None),
        }

    def create_video_configuration(
        self, main: dict[str, Any], buffer_count: int, controls: dict[str, Any]
    ) -> dict[str, Any]:
        return {"main": dict(main), "buffer_count": buffer_count, "controls": controls}

    def configure(self, configuration: dict[str, Any]) -> None:
        width, height = configuration["main"]["size"]
        configuration["main"]["size"] = (width // 2 * 2, height // 2 * 2)
        self._configuration = configuration

    def camera_configuration(self) -> dict[str, Any]:
        return self._configuration

    def start(self) -> None:
        self.started = True

    def stop(self) -> None:
        self.started = False

    def close(self) -> None:
        self.closed = True

    def set_controls(self, controls: dict[str, Any]) -> None:
        for name in controls:
            if name not in self.camera_controls:
                msg = f"Control {name} is not advertised by libcamera"
                raise RuntimeError(msg)
        self.told.append(controls)
        with self._busy:
            self._waiting.append((self._frame + FRAMES_LATE, controls))

    def capture_request(self, wait: float | None = None) -> Request:
        return Request(self, self._next(wait))

    def capture_metadata(self, wait: float | None = None) -> dict[str, Any]:
        return self._next(wait)

    def _next(self, wait: float | None) -> dict[str, Any]:
        time.sleep(0.001)
        if self.dead or self.closed:
            raise TimeoutError
        with self._busy:
            self._frame += 1
            due = [controls for frame, controls in self._waiting if frame <= self._frame]
            self._waiting = [(frame, each) for frame, each in self._waiting if frame > self._frame]
            for controls in due:
                # What adjusts itself moves on until it is told.
                if not Picamera2.deaf:
                    self._state.update({name: each for name, each in controls.items() if name in self._state})
                    limits = controls.get("FrameDurationLimits", (self._state["FrameDuration"],))
                    self._state["FrameDuration"] = limits[0]
            longest_us = min(self._state["ExposureTime"], self._state["FrameDuration"])
            exposure_us = longest_us // LINE_US * LINE_US
            return {**self._state, "ExposureTime": exposure_us}
