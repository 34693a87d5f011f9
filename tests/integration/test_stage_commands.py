"""What `edgeleuk stage` prints and refuses, against simulated boards that are processes of their own."""

from __future__ import annotations

import contextlib
import json
import math
import os
import pty
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from edgeleuk.errors import HardwareError, UsageError
from edgeleuk.io.settings import load_settings
from edgeleuk.io.settings_file import save_settings
from edgeleuk_firmware_bridge.commands import stage as commands
from edgeleuk_firmware_bridge.simulation.grbl import GrblSimulator
from edgeleuk_firmware_bridge.simulation.sangaboard import SangaboardSimulator
from edgeleuk_firmware_bridge.simulation.serving import serve_tcp
from edgeleuk_firmware_bridge.stage.protocols import AxisSettings, StageSettings
from edgeleuk_firmware_bridge.stage.serial_link import open_link

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EDGELEUK = [sys.executable, "-m", "edgeleuk"]


@pytest.fixture(scope="module", params=["sangaboard", "grbl"])
def board(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    words = ("stage", "simulate", "--protocol", request.param, "--listen", ":0")
    process = subprocess.Popen([*EDGELEUK, *words], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    found = re.search(r"speaks at (\S+)", process.stderr.readline())
    assert found is not None
    yield request.param, found[1]
    process.kill()
    process.communicate()


def edgeleuk(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*EDGELEUK, *words], capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_a_stage_is_asked_moved_and_stopped(board: tuple[str, str]) -> None:
    protocol, url = board
    told = json.loads(edgeleuk("stage", "info", "--stage", url, "--json").stdout)
    assert told["protocol"] == protocol
    assert told["can_stop"] is True
    at = ("--stage", url, "--um-per-step", "0.5", "--backlash-um", "5", "--json")
    start = told["steps"]["x"] * 0.5
    moved = json.loads(edgeleuk("stage", "move", "--x", str(start + 30), "--z", "-12", *at).stdout)
    assert moved["position_um"]["x"] == pytest.approx(start + 30)
    back = json.loads(edgeleuk("stage", "move", "--x", "-10", "--relative", *at).stdout)
    assert back["position_um"] == pytest.approx({**moved["position_um"], "x": start + 20})
    assert back["steps"]["x"] == pytest.approx(2 * (start + 20))
    stopped = edgeleuk("stage", "stop", "--stage", url, "--um-per-step", "0.5").stdout
    assert stopped == f"position  x {start + 20:g}  y {moved['position_um']['y']:g}  z -12 um\n"


def test_what_a_stage_tells_people(board: tuple[str, str]) -> None:
    protocol, url = board
    text = edgeleuk("stage", "info", "--stage", url).stdout
    assert f"board     {protocol}: " in text
    assert "lamps     " in text


def test_moves_that_are_refused(board: tuple[str, str], tmp_path: Path) -> None:
    _, url = board
    config = tmp_path / "stage.toml"
    config.write_text("settle_s = 0.0\n[x]\nleast_um = -100\nmost_um = 100\n")
    at = ("--stage", url, "--stage-config", str(config))
    before = edgeleuk("stage", "info", "--stage", url).stdout
    done = edgeleuk("stage", "move", "--x", "101", *at, code=2)
    assert done.stderr == "error: x is beyond the stage's limits: got 101 um, allowed -100 to 100 um\n"
    assert "there is nowhere to go" in edgeleuk("stage", "move", *at, code=2).stderr
    assert edgeleuk("stage", "info", "--stage", url).stdout == before


def test_the_other_protocol_is_named(board: tuple[str, str]) -> None:
    protocol, url = board
    other = {"grbl": "sangaboard", "sangaboard": "grbl"}[protocol]
    done = edgeleuk("stage", "info", "--stage", url, "--protocol", other, code=6)
    assert f"does not speak {other}" in done.stderr
    assert f"pass --protocol {protocol}" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("info", "--stage", "serial:///dev/ttyNOT"), 6, "/dev/ttyNOT"),
        (("info", "--stage", "socket://127.0.0.1:1"), 6, "127.0.0.1:1"),
        (("info", "--stage", "COM3"), 2, "this is no address of a stage"),
        (
            ("simulate", "--protocol", "marlin", "--listen", ":0"),
            2,
            "there is no such protocol: got 'marlin'",
        ),
        (("simulate",), 2, "a simulator has one address"),
        (("simulate", "--listen", "nowhere"), 2, "this is no address to listen on"),
        (("simulate", "--listen", ":0", "--fault", "gremlins"), 2, "gremlins"),
    ],
)
def test_bad_input(words: tuple[str, ...], code: int, sentence: str) -> None:
    assert sentence in edgeleuk("stage", *words, code=code).stderr


def test_a_stage_without_autofocus_and_the_other_way_round() -> None:
    for words in (("--stage", "socket://127.0.0.1:1"), ("--autofocus",)):
        done = edgeleuk("run", "--camera", "virtual://", *words, code=2)
        assert "a stage and --autofocus belong together" in done.stderr


class TestSettings:
    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("settle_s = -1", "expected settle_s from 0 to 60, got -1"),
            ("lamp = 1.5", r"expected lamp from 0 to 1, got 1\.5"),
            ("[x]\num_per_step = 0", r"um_per_step = 0"),
            ("[y]\nbacklash_um = -2", r"backlash_um = -2"),
            ("[z]\nleast_um = 5.0\nmost_um = 5.0", r"least_um = 5\.0"),
            ("[w]\num_per_step = 1", r"unknown key in .*stage\.toml, line 1: got w, allowed x, y, z"),
            ("[x]\nsteps = 1", r"unknown key in .*stage\.toml, line 2: got x\.steps"),
        ],
    )
    def test_of_a_file(self, text: str, sentence: str, tmp_path: Path) -> None:
        file = tmp_path / "stage.toml"
        file.write_text(text)
        with pytest.raises(UsageError, match=sentence):
            load_settings(StageSettings, file=file, environ={})

    @pytest.mark.parametrize("flags", [(0.0, None, None), (None, -1.0, None), (None, None, 2.0)])
    def test_of_flags(self, flags: tuple[float | None, float | None, float | None]) -> None:
        with pytest.raises(UsageError, match="bad setting of the stage: expected"):
            commands.settings_with(StageSettings(), *flags)

    def test_flags_win_over_the_file_and_leave_the_rest(self) -> None:
        of_file = StageSettings(x=AxisSettings(um_per_step=0.2, least_um=-5.0), lamp=0.3)
        merged = commands.settings_with(of_file, 0.5, None)
        assert merged.x == AxisSettings(um_per_step=0.5, least_um=-5.0)
        assert merged.lamp == 0.3

    def test_what_is_written_is_read_back(self, tmp_path: Path) -> None:
        settings = commands.with_play(StageSettings(z=AxisSettings(0.1, -200.0), lamp=0.5), (3.0, 1.0))
        assert [axis.backlash_um for axis in (settings.x, settings.y, settings.z)] == [6.0, 3.0, 6.0]
        save_settings(tmp_path / "stage.toml", settings)
        assert load_settings(StageSettings, file=tmp_path / "stage.toml", environ={}) == settings
        assert settings.x.most_um == math.inf
        with pytest.raises(UsageError, match="cannot be written: got"):
            save_settings(tmp_path / "none" / "stage.toml", settings)


def test_a_lamp_is_lit_while_the_stage_is_open_and_a_board_without_one_is_named() -> None:
    lit = SangaboardSimulator()
    with serve_tcp(lit) as server:
        with commands.opened(server.url, None, StageSettings(lamp=0.5)):
            assert lit.lamp()["cc"] == pytest.approx(0.5, abs=0.05)
        assert lit.lamp()["cc"] == 0.0
    with (
        serve_tcp(SangaboardSimulator(firmware="0.5")) as server,
        pytest.raises(UsageError, match=r"there is no such lamp: .*none: the board has no lamp"),
    ):
        commands.opened(server.url, "sangaboard", StageSettings(lamp=0.5))


def test_a_port_that_may_not_be_opened_names_the_group() -> None:
    master, slave = pty.openpty()
    name = os.ttyname(slave)
    os.fchmod(slave, 0)
    us = os.geteuid()
    try:
        if us == 0:
            # For root nothing is forbidden.
            os.seteuid(65534)
        with pytest.raises(HardwareError, match=r"usermod -aG \S+ .*\$USER, then log in again"):
            open_link(f"serial://{name}")
    finally:
        os.seteuid(us)
        os.close(slave)
        os.close(master)


def on_a_terminal(*words: str, typed: bytes = b"") -> tuple[int, str]:
    """Run a command with a terminal as its input and its errors; exit code, and what the terminal showed."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*EDGELEUK, *words], stdin=slave, stderr=slave, stdout=subprocess.DEVNULL, start_new_session=True
    )
    os.close(slave)
    os.write(master, typed)
    shown = b""
    with contextlib.suppress(OSError):
        while data := os.read(master, 4096):
            shown += data
    os.close(master)
    return process.wait(60), shown.decode()


def test_a_long_way_is_asked_about_on_a_terminal_and_refused_without_one() -> None:
    with serve_tcp(SangaboardSimulator(step_delay_us=350)) as server:
        move = ("stage", "move", "--stage", server.url, "--x", "6000")
        done = edgeleuk(*move, code=2)
        assert done.stderr.startswith(
            "error: x would go 6 mm, and no limit is set on that side: allowed 5 mm;"
        )
        code, shown = on_a_terminal(*move, typed=b"n\n")
        assert code == 2
        assert "go there? [y/N]" in shown
        code, shown = on_a_terminal(*move, typed=b"y\n")
        assert code == 0
        # It takes two seconds, and shows where it is.
        assert re.search(r"moving +x \d+ +y 0 +z 0 um", shown)
        edgeleuk("stage", "move", "--stage", server.url, "--x", "900", "--yes")


def test_a_board_is_unlocked() -> None:
    board = GrblSimulator()
    board.hit_limit()
    board.due()
    with serve_tcp(board) as server:
        told = edgeleuk("stage", "info", "--stage", server.url).stdout
        assert re.search(r"state     Alarm: .+\n +free the stage, then `edgeleuk stage unlock`\n", told)
        facts = json.loads(edgeleuk("stage", "unlock", "--stage", server.url, "--json").stdout)
        assert (facts["unlocked"], facts["was"]["state"]) == (True, "Alarm")
        assert edgeleuk("stage", "unlock", "--stage", server.url).stdout.startswith("it was not locked\n")


def test_a_move_that_is_terminated_stops_the_stage() -> None:
    board = SangaboardSimulator(step_delay_us=2000)
    with serve_tcp(board) as server:
        process = subprocess.Popen(
            [*EDGELEUK, "stage", "move", "--stage", server.url, "--x", "4000"], stderr=subprocess.PIPE
        )
        while board.position().x == 0:
            time.sleep(0.02)
        process.terminate()
        process.communicate(timeout=30)
        assert process.returncode == 130
        assert board.receive(b"moving?\n") == b"false\r\n"
        assert 0 < board.position().x < 4000
