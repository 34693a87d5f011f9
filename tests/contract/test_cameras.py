"""The suite that `edgeleuk.testing` gives to others, run against what is built in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from mjpeg_server import serve
from openflexure_server import OpenFlexureServer

from edgeleuk.io.images import write_png
from edgeleuk.testing import CameraContract

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class TestVirtual(CameraContract):
    uri = "virtual://?seed=1&width=320&height=240&fps=20"


class TestFolder(CameraContract):
    @pytest.fixture
    def camera_uri(self, tmp_path: Path) -> str:
        for number in range(8):
            write_png(
                tmp_path / f"{number}.png", np.full((8, 8, 3), (200, number, 90), np.uint8), "a picture"
            )
        return f"dir://{tmp_path}"


class TestNetwork(CameraContract):
    @pytest.fixture
    def camera_uri(self) -> Iterator[str]:
        with serve() as camera:
            yield f"{camera}/stream"


class TestOpenFlexure(CameraContract):
    @pytest.fixture
    def camera_uri(self) -> Iterator[str]:
        with OpenFlexureServer() as server:
            yield server.uri
