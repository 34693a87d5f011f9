"""edgeleuk's contract suite, against the demonstration devices of Micro-Manager."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from edgeleuk_micromanager import MicroManagerCamera, MicroManagerStage, to_rgb
from mm_test_adapters import device_adapter_path

from edgeleuk.plugins import Steps
from edgeleuk.testing import CameraContract, StageContract

Pixels = np.typing.NDArray[np.unsignedinteger]
ADAPTERS = device_adapter_path()
URI = f"micromanager://{Path(ADAPTERS) / 'MMConfig_demo.cfg'}?adapters={ADAPTERS}"


class TestCamera(CameraContract):
    uri = URI


class TestStage(StageContract):
    url = URI
    # It goes 10 mm/s.
    far_um = 20_000.0
    stop_after_s = 0.5


def test_camera_and_stage_are_open_together() -> None:
    with MicroManagerCamera(URI) as camera, MicroManagerStage(URI) as stage:
        stage.go_to(Steps(100, 0, 0))
        assert next(iter(camera.frames())).pixels.shape == (512, 512, 3)


@pytest.mark.parametrize(
    ("data", "depth", "parts", "expected"),
    [
        (np.full((2, 2), 0x00102030, np.uint32), 8, 4, (0x10, 0x20, 0x30)),
        (np.full((2, 2), 0x0000100020003000, np.uint64), 16, 4, (0x10, 0x20, 0x30)),
        (np.full((2, 2), 0x0800, np.uint16), 12, 1, (0x80, 0x80, 0x80)),
        (np.full((2, 2), 7, np.uint8), 8, 1, (7, 7, 7)),
    ],
)
def test_pixels_become_rgb(data: Pixels, depth: int, parts: int, expected: tuple[int, ...]) -> None:
    assert to_rgb(data, depth, parts)[0, 0].tolist() == list(expected)
