"""One suite for every driver, which is `edgeleuk.testing`'s; and what boards do besides."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from openflexure_server import OpenFlexureServer

from edgeleuk.errors import HardwareError, UsageError
from edgeleuk.testing import StageContract
from edgeleuk_firmware_bridge.simulation.faults import FaultyWire, WireFault, WireFaultKind
from edgeleuk_firmware_bridge.simulation.grbl import GrblSimulator
from edgeleuk_firmware_bridge.simulation.sangaboard import SangaboardSimulator
from edgeleuk_firmware_bridge.simulation.serving import serve_pty, serve_tcp
from edgeleuk_firmware_bridge.stage.errors import (
    BoardAlarmError,
    BoardResetError,
    LinkLostError,
    NotArrivedError,
)
from edgeleuk_firmware_bridge.stage.open import open_stage
from edgeleuk_firmware_bridge.stage.protocols import AxisSettings, StageSettings
from edgeleuk_firmware_bridge.stage.serial_link import Patience

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from edgeleuk_firmware_bridge.simulation.board import SimulatedBoard

FAST = {110: 3000, 111: 3000, 112: 3000, 120: 2000, 121: 2000, 122: 2000}
BOARDS: dict[str, Callable[[], SimulatedBoard]] = {
    "sangaboard 1": lambda: SangaboardSimulator(step_delay_us=100),
    "sangaboard 1, blocking": lambda: SangaboardSimulator(step_delay_us=100, blocking=True),
    "sangaboard 0.5": lambda: SangaboardSimulator(firmware="0.5", step_delay_us=100, ramp_us=1000),
    "grbl": lambda: GrblSimulator(settings=FAST),
    "grbl, work positions": lambda: GrblSimulator(settings={**FAST, 10: 0}, offset=(1.0, -2.0, 0.5)),
    "grbl, inches": lambda: GrblSimulator(settings={**FAST, 13: 1}),
    "grblHAL": lambda: GrblSimulator(
        settings=FAST, welcome="GrblHAL 1.1f ['$' or '$HELP' for help]", build="1.1f.20240101:"
    ),
}
PLAIN = ["sangaboard 1", "sangaboard 0.5", "grbl"]
QUICK = Patience(answer_s=0.2, boot_s=1.0, arrive_s=1.0, home_s=3.0)
AXIS = AxisSettings(um_per_step=0.5, least_um=-500, most_um=2000, backlash_um=10)
FREE = AxisSettings(um_per_step=0.5, least_um=-500, backlash_um=10)
SETTINGS = StageSettings(AXIS, AXIS, AXIS, settle_s=0.0)


class TestBoards(StageContract):
    settings = StageSettings(FREE, FREE, FREE, settle_s=0.0)
    patience = QUICK
    reach_um = 100.0
    far_um = 30_000.0

    @pytest.fixture(params=BOARDS)
    def stage_url(self, request: pytest.FixtureRequest) -> Iterator[str]:
        with serve_tcp(BOARDS[request.param]()) as server:
            yield server.url


class TestOpenFlexure(StageContract):
    settings = StageSettings(FREE, FREE, FREE, settle_s=0.0)
    far_um = 10_000.0

    @pytest.fixture
    def stage_url(self) -> Iterator[str]:
        with OpenFlexureServer() as server:
            yield server.uri


@pytest.mark.parametrize("name", BOARDS)
def test_what_it_says_is_where_the_board_stands(name: str) -> None:
    board = BOARDS[name]()
    with serve_tcp(board) as server, open_stage(server.url, settings=SETTINGS, patience=QUICK) as stage:
        for place in ((100.0, 50.0, -20.0), (0.0, 60.0, -20.0), (0.5, -499.5, 3.0)):
            stage.move(*place)
            assert stage.steps() == pytest.approx(board.position(), abs=1)
        with pytest.raises(UsageError, match="beyond the stage's limits"):
            stage.move(10.0, 2001.0)
        assert stage.steps() == pytest.approx(board.position(), abs=1)


@pytest.mark.parametrize("name", ["sangaboard 1", "grbl"])
def test_a_lamp_is_dark_when_nobody_watches(name: str) -> None:
    board = BOARDS[name]()
    with serve_tcp(board) as server:
        with open_stage(server.url, patience=QUICK) as stage:
            channel = stage.lamp.channels[0]
            stage.lamp.set_level(channel, 0.5)
            assert board.lamp()[channel] == 0.5
        assert board.lamp()[channel] == 0.0


@pytest.mark.parametrize("name", PLAIN)
def test_a_board_that_is_reset_in_mid_move_is_not_believed(name: str) -> None:
    board = BOARDS[name]()
    with serve_tcp(board) as server, open_stage(server.url, patience=QUICK) as stage:
        timer = threading.Timer(0.3, board.reset)
        timer.start()
        with pytest.raises(BoardResetError):
            stage.move(30_000.0)
        timer.join()
        with pytest.raises(HardwareError, match="position is not known"):
            stage.position()


@pytest.mark.parametrize("name", PLAIN)
def test_unplugged_in_mid_move(name: str) -> None:
    with serve_tcp(BOARDS[name]()) as server, open_stage(server.url, patience=QUICK) as stage:
        stage.move(30_000.0, wait=False)
        threading.Timer(0.2, server.close).start()
        with pytest.raises(LinkLostError):
            stage.wait()
        with pytest.raises(LinkLostError):
            stage.position()


@pytest.mark.parametrize(
    ("board", "asked"),
    [(SangaboardSimulator(), "grbl"), (GrblSimulator(), "sangaboard")],
    ids=["sangaboard as grbl", "grbl as sangaboard"],
)
def test_the_other_board_is_named(board: SimulatedBoard, asked: str) -> None:
    with serve_tcp(board) as server, pytest.raises(HardwareError, match=f"pass --protocol {board.protocol}"):
        open_stage(server.url, asked, patience=QUICK)


@pytest.mark.parametrize(
    "board",
    [
        SangaboardSimulator(firmware="0.2"),
        GrblSimulator(welcome="Grbl 0.9j ['$' for help]", build="0.9j.20160303:"),
    ],
    ids=["sangaboard", "grbl"],
)
def test_firmware_that_is_too_old_is_named(board: SimulatedBoard) -> None:
    with serve_tcp(board) as server, pytest.raises(HardwareError, match="too old"):
        open_stage(server.url, patience=QUICK)


def test_silence_is_named() -> None:
    wire = FaultyWire(SangaboardSimulator(), [WireFault(WireFaultKind.DROP, 1.0)])
    with serve_tcp(wire) as server, pytest.raises(HardwareError, match="silent"):
        open_stage(server.url, patience=QUICK)


def test_ports_that_cannot_be_opened_are_named(tmp_path: Path) -> None:
    with pytest.raises(HardwareError, match="there is no port"):
        open_stage(f"serial://{tmp_path}/none")
    with pytest.raises(HardwareError, match="cannot be reached"):
        open_stage("socket://127.0.0.1:1")
    with pytest.raises(UsageError, match="no address of a stage"):
        open_stage("COM3")
    with pytest.raises(UsageError, match="cannot be opened"):
        open_stage("nowhere://1")
    with pytest.raises(UsageError, match="no such protocol"):
        open_stage("socket://127.0.0.1:1", "marlin")


@pytest.mark.parametrize("protocol", ["sangaboard 1", "grbl"])
def test_a_stage_has_one_user(protocol: str, tmp_path: Path) -> None:
    link = tmp_path / "stage"
    with serve_pty(BOARDS[protocol](), link) as server, open_stage(server.url, patience=QUICK) as stage:
        with pytest.raises(HardwareError, match="in use"):
            open_stage(server.url, patience=QUICK)
        stage.move(10.0)
    assert not link.is_symlink()


def test_a_grbl_board_is_homed_after_an_alarm() -> None:
    board = GrblSimulator(settings={**FAST, 22: 1}, homing_s=0.2)
    with serve_tcp(board) as server, open_stage(server.url, patience=QUICK) as stage:
        with pytest.raises(HardwareError, match="state Alarm"):
            stage.move(10.0)
        stage.home()
        assert stage.steps() == board.position() == (-1000, -1000, -1000)
        stage.move(-20_000.0, wait=False)
        board.hit_limit()
        with pytest.raises(BoardAlarmError, match="limit switch"):
            stage.wait()
        with pytest.raises(HardwareError, match="position is not known"):
            stage.position()
        stage.home()
        stage.move(-2000.0)
        assert stage.position().x_um == pytest.approx(-2000, abs=1)


def test_a_sangaboard_with_end_stops_is_homed() -> None:
    board = SangaboardSimulator(step_delay_us=100, endstops=True)
    with serve_tcp(board) as server, open_stage(server.url, patience=QUICK) as stage:
        stage.move(300.0)
        stage.home()
        # It stands some steps off the end stops, and does not move any more.
        assert stage.steps() == board.position() == (200, 200, 200)


def test_a_stage_that_does_not_get_there_says_where_it_is() -> None:
    board = SangaboardSimulator(step_delay_us=100)
    with serve_tcp(board) as server, open_stage(server.url, patience=QUICK) as stage:
        stage.move(5000.0, wait=False)
        time.sleep(0.1)
        board.receive(b"stop\n")
        with pytest.raises(NotArrivedError, match="short of its target"):
            stage.wait()
        assert stage.steps() == board.position()


@pytest.mark.parametrize("name", ["sangaboard 1", "grbl"])
def test_no_wrong_position_comes_over_a_bad_wire(name: str) -> None:
    faults = [
        WireFault(WireFaultKind.DELAY, 0.01, 0.3),
        WireFault(WireFaultKind.GARBAGE, 0.02),
        WireFault(WireFaultKind.DROP, 0.01),
    ]
    board = BOARDS[name]()
    with serve_tcp(FaultyWire(board, faults, seed=3)) as server:
        patience = Patience(answer_s=0.1, boot_s=3.0, arrive_s=1.0)
        with open_stage(server.url, settings=StageSettings(settle_s=0.0), patience=patience) as stage:
            for number in range(12):
                place = ((number * 37) % 90 - 45, (number * 53) % 70, -number)
                stage.move(*map(float, place))
                assert stage.steps() == pytest.approx(board.position(), abs=1)
                assert stage.steps() == pytest.approx(place, abs=2)
