"""A microscope behind OpenFlexure's server: camera, stage and autofocus, over HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from openflexure_server import UM_PER_STEP, OpenFlexureServer

from edgeleuk.capture import decoded, open_source
from edgeleuk.errors import CameraError, HardwareError, UsageError
from edgeleuk_firmware_bridge.stage.errors import LinkLostError, RefusedError
from edgeleuk_firmware_bridge.stage.open import open_stage
from edgeleuk_firmware_bridge.stage.protocols import AxisSettings, StageSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AXIS = AxisSettings(um_per_step=UM_PER_STEP)
SETTINGS = StageSettings(AXIS, AXIS, AXIS, settle_s=0.0)


@pytest.fixture
def server() -> Iterator[OpenFlexureServer]:
    with OpenFlexureServer() as server:
        yield server


def edgeleuk(*words: str, folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "edgeleuk", *words, "--json"],
        cwd=folder, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_area_is_scanned_and_the_microscope_focuses_itself(
    server: OpenFlexureServer, tmp_path: Path
) -> None:
    step = ("--um-per-step", str(UM_PER_STEP))
    told = edgeleuk("stage", "info", "--stage", server.uri, *step, folder=tmp_path)
    assert (told["protocol"], told["can_home"], told["can_stop"], told["can_focus"]) == (
        "openflexure", False, True, True,
    )  # fmt: skip
    moved = edgeleuk("stage", "move", "--x", "30", "--z", "-5", "--stage", server.uri, *step, folder=tmp_path)
    assert moved["position_um"] == {"x": 30.0, "y": 0.0, "z": -5.0}
    assert server.position == {"x": 300, "y": 0, "z": -50}
    where = ("--stage", server.uri, "--camera", server.uri, *step)
    words = ("scan", "--area", "0.08x0.06", *where, "--backlash-um", "0", "--session", "s.db")
    summary = edgeleuk(*words, folder=tmp_path)
    assert summary["frames"]["processed"] == 4
    assert summary["frames"]["rejected"] == 0
    assert [action for action, _ in server.asked].count("fast_autofocus") == 1


@pytest.mark.parametrize("prefix", ["/api/v3", ""])
def test_newer_and_older_servers(prefix: str) -> None:
    with OpenFlexureServer(prefix, autofocus=False) as server:
        with open_source(server.uri) as source:
            frame = decoded(next(iter(source.frames())))
        assert (frame.pixels.shape, frame.source, source.live) == ((480, 640, 3), server.uri, True)
        with open_stage(server.uri, settings=SETTINGS) as stage:
            stage.move(10.0, wait=True)
            assert not stage.capabilities.can_focus
            with pytest.raises(HardwareError, match="no autofocus of its own"):
                stage.focus(10.0)
        assert server.position["x"] == 100


def test_it_focuses_within_its_limits_or_says_why_not(server: OpenFlexureServer) -> None:
    z = AxisSettings(um_per_step=UM_PER_STEP, least_um=-30)
    with open_stage(server.uri, settings=StageSettings(AXIS, AXIS, z, settle_s=0.0)) as stage:
        with pytest.raises(UsageError, match="z is beyond"):
            stage.focus(31.0)
        with pytest.raises(RefusedError, match="found no focus: got the sharpest picture is at the end"):
            stage.focus(2.0)
        stage.focus(20.0)
        assert stage.position().z_um == pytest.approx(4.0)
        assert server.asked[-1] == ("fast_autofocus", {"dz": 400, "start": "centre"})


def test_a_move_that_it_gives_up_is_an_error(server: OpenFlexureServer) -> None:
    with open_stage(server.uri, settings=SETTINGS) as stage:
        server.fails = "the motor board does not answer"
        with pytest.raises(RefusedError, match="gave up a move: got the motor board does not answer"):
            stage.move(10.0)
        stage.move(10.0)
        assert stage.position().x_um == pytest.approx(10.0)


def test_another_program_stops_it(server: OpenFlexureServer, tmp_path: Path) -> None:
    with open_stage(server.uri, settings=SETTINGS) as stage:
        stage.move(10_000.0, wait=False)
        edgeleuk("stage", "stop", "--stage", server.uri, folder=tmp_path)
        with pytest.raises(HardwareError, match="short of its target"):
            stage.wait()
    assert not server.moving
    assert 0 < server.position["x"] < 100_000


def test_a_server_that_goes_away_is_named(server: OpenFlexureServer) -> None:
    with open_stage(server.uri, settings=SETTINGS) as stage:
        server.close()
        with pytest.raises(LinkLostError, match="does not answer"):
            stage.move(10.0)
    with pytest.raises(HardwareError, match="does not answer"):
        open_stage(server.uri)
    with pytest.raises(CameraError, match="does not answer"):
        open_source(server.uri)


@pytest.mark.parametrize(
    "address",
    ["openflexure://", "openflexure://host/stage", "openflexure://host:x", "openflexure://u:p@host"],
)
def test_addresses_that_are_none(address: str) -> None:
    for opens in (open_source, open_stage):
        with pytest.raises(UsageError, match="no address of a microscope server"):
            opens(address)


def test_it_speaks_no_boards_protocol(server: OpenFlexureServer) -> None:
    with pytest.raises(UsageError, match="no board that speaks a protocol"):
        open_stage(server.uri, "grbl")
