"""edgeleuk's contract suite, against this plug-in's camera; or the one that the genicam wheel simulates."""

from __future__ import annotations

import os
from pathlib import Path

import genicam
import pytest
from edgeleuk_genicam import open_camera

from edgeleuk.plugins import CameraError
from edgeleuk.testing import CameraContract

SIMULATED = f"?cti={Path(genicam.__file__).with_name('viky.cti')}"
URI = os.environ.get("GENICAM_URI", f"genicam://VikyTL_DEV_red{SIMULATED}")


class TestGenICam(CameraContract):
    uri = URI


def test_several_cameras_are_named() -> None:
    with pytest.raises(
        CameraError, match="several cameras: got none chosen, allowed genicam://VikyTL_DEV_red"
    ):
        open_camera(f"genicam://{SIMULATED}")
