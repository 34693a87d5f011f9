"""A board that will not move: it is recognised, says why, and there is a way out."""

from __future__ import annotations

import dataclasses
import threading
import time

import pytest
from contract.transcripts import grbl, served

from edgeleuk.errors import HardwareError, UsageError
from edgeleuk_firmware_bridge.commands import stage as commands
from edgeleuk_firmware_bridge.simulation.grbl import GrblSimulator
from edgeleuk_firmware_bridge.simulation.sangaboard import SangaboardSimulator
from edgeleuk_firmware_bridge.simulation.serving import serve_tcp
from edgeleuk_firmware_bridge.stage.errors import BoardAlarmError, NotArrivedError, RefusedError
from edgeleuk_firmware_bridge.stage.open import identify, open_stage
from edgeleuk_firmware_bridge.stage.protocols import AxisSettings, StageSettings
from edgeleuk_firmware_bridge.stage.serial_link import Link, Patience

FAST = {110: 3000, 111: 3000, 112: 3000, 120: 2000, 121: 2000, 122: 2000}
# 50 mm a second, and 0.6 s to stop.
HEAVY = {**FAST, 120: 83, 121: 83, 122: 83}
QUICK = Patience(answer_s=0.2, boot_s=1.2, arrive_s=1.5, home_s=5.0)


class Port:
    """A port as pyserial's, to a board that said something before anybody listened."""

    timeout = 0.0

    def __init__(self, board: GrblSimulator, said: bytes) -> None:
        self.written: list[bytes] = []
        self._board = board
        self._said = said

    @property
    def in_waiting(self) -> int:
        self._said += self._board.due()
        return len(self._said)

    def write(self, data: bytes) -> None:
        self.written.append(data)
        self._said += self._board.receive(data)

    def read(self, most: int) -> bytes:
        if not self.in_waiting:
            time.sleep(self.timeout)
        read, self._said = self._said[:most], self._said[most:]
        return read


class TestHardLimit:
    def test_a_deaf_board_is_reset_recognised_and_unlocked(self) -> None:
        board = GrblSimulator(settings=FAST)
        board.hit_limit()
        board.due()
        with serve_tcp(board) as server:
            with open_stage(server.url, patience=QUICK) as stage:
                status = stage.status()
                assert (status.state, status.code, status.locked) == ("Alarm", None, True)
                assert "heard nothing but a reset" in status.meaning
                assert "edgeleuk stage unlock" in status.cure
                with pytest.raises(
                    HardwareError, match=r"state Alarm and does not move: got it heard nothing"
                ):
                    stage.move(10.0)
                with pytest.raises(HardwareError, match=r"cannot home: got the state Alarm.*stage unlock"):
                    stage.home()
                assert stage.unlock()
                stage.move(10.0)
                assert board.position() == (10, 0, 0)
            # A reset alone does not end an alarm, and neither does closing.
            board.hit_limit()
            with open_stage(server.url, patience=QUICK) as stage:
                assert stage.status().locked

    def test_its_code_is_known_to_who_heard_it(self) -> None:
        board = GrblSimulator(settings=FAST)
        with serve_tcp(board) as server, open_stage(server.url, patience=QUICK) as stage:
            stage.move(30_000.0, wait=False)
            board.hit_limit()
            with pytest.raises(BoardAlarmError, match="alarm 1: a limit switch was hit"):
                stage.wait()
            assert stage.unlock()
            assert not stage.status().locked
            assert not stage.unlock()

    @pytest.mark.parametrize(("said", "code"), [(b"ALARM:1\r\n", 1), (b"[MSG:Reset to continue]\r\n", None)])
    def test_what_it_says_before_it_is_deaf_is_understood(self, said: bytes, code: int | None) -> None:
        board = GrblSimulator(settings=FAST)
        board.hit_limit()
        board.due()
        port = Port(board, said)
        heard = identify(Link(port, "here"), Patience(answer_s=0.2, boot_s=60.0))
        assert (heard.protocol, heard.was_reset, heard.alarm) == ("grbl", True, code)
        # Not only when half of its time is over.
        assert b"\x18" in port.written[:3]


class TestOtherStates:
    def test_an_alarm_without_end_stops(self) -> None:
        board = GrblSimulator(settings=FAST)
        with serve_tcp(board) as server:
            with open_stage(server.url, patience=QUICK) as stage:
                stage.move(30_000.0, wait=False)
                board.receive(b"\x18")
            facts = commands.stage_info(server.url, None)
            assert facts.state == "Alarm"
            assert facts.locked is not None
            assert "does not tell which" in commands.stage_text(facts)
            freed = commands.stage_unlock(server.url, None)
            assert freed.unlocked is True
            assert "steps may be lost" in commands.stage_text(freed)
            assert commands.stage_info(server.url, None).locked is None
            assert "it was not locked" in commands.stage_text(commands.stage_unlock(server.url, None))

    @pytest.mark.parametrize(("word", "state"), [(b"$SLP\n", "Sleep"), (b"$C\n", "Check")])
    def test_a_board_that_sleeps_or_checks(self, word: bytes, state: str) -> None:
        board = GrblSimulator(settings=FAST)
        with serve_tcp(board) as server, open_stage(server.url, patience=QUICK) as stage:
            board.receive(word)
            with pytest.raises(HardwareError, match=f"in the state {state} and does not move.*stage unlock"):
                stage.move(10.0)
            assert stage.unlock()
            stage.move(10.0)
            assert board.position().x == 10

    def test_a_lamp_on_a_board_that_is_locked_says_where_to_look(self) -> None:
        board = GrblSimulator(settings={**FAST, 22: 1})
        with (
            serve_tcp(board) as server,
            open_stage(server.url, patience=QUICK) as stage,
            pytest.raises(RefusedError, match=r"locked by an alarm.*see `edgeleuk stage info`"),
        ):
            stage.lamp.set_level("spindle", 0.5)

    def test_the_code_and_the_switch_that_a_status_tells(self) -> None:
        board = grbl(
            ("GrblHAL 1.1f ['$' or '$HELP' for help]",),
            ("[VER:1.1f.20240101:]",),
            status="<Alarm:12|MPos:0.000,0.000,0.000|FS:0,0|Pn:XZ>",
        )
        with served(board) as url, open_stage(url, patience=QUICK) as stage:
            status = stage.status()
            assert status.code == 12
            assert status.meaning == "a limit switch is pressed; the limit switch of X and Z is pressed"
            with pytest.raises(RefusedError):
                stage.unlock()

    def test_a_hold_is_no_move_and_names_itself(self) -> None:
        board = grbl(
            ("Grbl 1.1h ['$' for help]",),
            ("[VER:1.1h.20190830:]",),
            status="<Hold:0|MPos:1.000,0.000,0.000|FS:0,0>",
        )
        with served(board) as url, open_stage(url, patience=QUICK) as stage:
            assert stage.position().x_um == 1000
            with pytest.raises(HardwareError, match=r"state Hold and does not move: got a feed hold waits"):
                stage.move(0.0)
            with pytest.raises(HardwareError, match="the board stays in the state Hold"):
                stage.unlock()


class TestStop:
    def test_it_waits_until_the_stage_stands(self) -> None:
        board = GrblSimulator(settings=HEAVY)
        with serve_tcp(board) as server:
            with open_stage(server.url, patience=QUICK) as stage:
                stage.move(60_000.0, wait=False)
                time.sleep(0.8)
            told_at = board.position().x
            facts = commands.stage_stop(server.url, None)
            assert facts.steps.x == board.position().x
            # It went on for a while.
            assert told_at + 1000 < facts.steps.x < 59_000
            assert board.receive(b"?").startswith(b"<Idle")

    def test_it_stops_what_another_program_began(self) -> None:
        board = GrblSimulator(settings=FAST)
        board.receive(b"G1 X60 F3000\n")
        with serve_tcp(board) as server:
            facts = commands.stage_stop(server.url, None)
            assert 0 < facts.steps.x == board.position().x < 60_000
            assert commands.stage_info(server.url, None).locked is None

    def test_a_sangaboard_that_homes_is_told_until_it_stands(self) -> None:
        board = SangaboardSimulator(step_delay_us=1000, endstops=True, retreat=3000)
        board.receive(b"home_min 7\n")
        with serve_tcp(board) as server, open_stage(server.url, patience=QUICK) as stage:
            stage.stop()
            stage.stand()
            assert board.receive(b"moving?\n") == b"false\r\n"

    def test_homing_is_stopped_by_a_reset(self) -> None:
        board = GrblSimulator(settings={**FAST, 22: 1}, homing_s=30.0)
        with serve_tcp(board) as server, open_stage(server.url, patience=QUICK) as stage:
            timer = threading.Timer(0.5, stage.stop)
            timer.start()
            with pytest.raises(BoardAlarmError, match="alarm 6: it was reset while homing"):
                stage.home()
            timer.join()


class TestSangaboardHoming:
    @pytest.mark.parametrize("firmware", ["1.0.1", "0.5"])
    def test_it_says_which_axes_and_waits_for_all_its_moves(self, firmware: str) -> None:
        board = SangaboardSimulator(firmware=firmware, step_delay_us=100, endstops=True)
        with serve_tcp(board) as server, open_stage(server.url, patience=QUICK) as stage:
            stage.move(300.0, 100.0)
            stage.home()
            assert stage.steps() == board.position() == (200, 200, 200)

    def test_firmware_1_crashes_at_no_number(self) -> None:
        board = SangaboardSimulator(endstops=True)
        assert board.receive(b"home_min\n") == b"Sangaboard Firmware v1.0.1\r\n"


class TestFarAway:
    @pytest.mark.parametrize(
        ("place", "axis", "far"),
        [
            ((5000.0, None, None), AxisSettings(), ""),
            ((5001.0, None, None), AxisSettings(), "x would go 5.001 mm"),
            ((None, -6000.0, None), AxisSettings(), "y would go 6 mm"),
            ((None, None, 6000.0), AxisSettings(most_um=7000.0), ""),
            ((None, None, -6000.0), AxisSettings(most_um=7000.0), "z would go 6 mm"),
            ((9000.0, None, None), AxisSettings(least_um=-1e5, most_um=1e5), ""),
        ],
    )
    def test_a_long_way_without_a_limit_is_asked_about(
        self, place: commands.Place, axis: AxisSettings, far: str
    ) -> None:
        settings = StageSettings(axis, axis, axis, settle_s=0.0)
        board = SangaboardSimulator(step_delay_us=1)
        asked = []

        def never(question: str) -> bool:
            asked.append(question)
            return False

        with serve_tcp(board) as server:
            if far:
                with pytest.raises(UsageError, match=f"{far}, and no limit is set.*allowed 5 mm; pass --yes"):
                    commands.stage_move(server.url, None, place, settings=settings, may_go_far=never)
                assert board.position() == (0, 0, 0)
            facts = commands.stage_move(
                server.url, None, place, settings=settings, may_go_far=lambda _: bool(far)
            )
            assert dataclasses.astuple(facts.position_um) == tuple(um or 0.0 for um in place)
        assert len(asked) == bool(far)

    def test_the_way_is_told(self) -> None:
        board, told = SangaboardSimulator(step_delay_us=100), []
        with serve_tcp(board) as server:
            commands.stage_move(server.url, None, (3000.0, None, None), on_way=told.append)
        xs = [position.x_um for position in told]
        assert xs == sorted(xs)
        assert 0 < xs[len(xs) // 2] < 3000


def test_a_stage_that_is_held_on_its_way_says_so() -> None:
    board = GrblSimulator(settings=FAST)
    with serve_tcp(board) as server, open_stage(server.url, patience=QUICK) as stage:
        stage.move(30_000.0, wait=False)
        time.sleep(0.1)
        board._freeze()
        board._resting = "Check"
        with pytest.raises(NotArrivedError, match="short of its target, in the state Check"):
            stage.wait()
