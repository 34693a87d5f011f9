"""The contracts, run against the devices that ``--camera-uri`` and ``--stage-url`` name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edgeleuk.testing import CameraContract, StageContract

if TYPE_CHECKING:
    from pytest import FixtureRequest  # noqa: PT013


class TestCamera(CameraContract):
    """The camera of ``--camera-uri``."""

    @pytest.fixture(autouse=True)
    def _given(self, request: FixtureRequest) -> None:
        self.uri = request.config.getoption("camera_uri", None) or ""


class TestStage(StageContract):
    """The stage of ``--stage-url``, within ``--stage-reach-um``."""

    @pytest.fixture(autouse=True)
    def _given(self, request: FixtureRequest) -> None:
        self.url = request.config.getoption("stage_url", None) or ""
        self.reach_um = float(request.config.getoption("stage_reach_um", self.reach_um))
