"""A run with its page: the program itself, asked by real clients."""

from __future__ import annotations

import json
import re
import signal
import struct
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from edgeleuk.session import read_session
from edgeleuk.session.verify import verify_session
from edgeleuk_firmware_bridge.commands import stage as boards

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SMALL = "virtual://?seed=1&width=480&height=360&white_cells_per_field=4"
EDGELEUK = (sys.executable, "-m", "edgeleuk", "run")
ONE_RUNTIME = ("--runtime", "litert")


class Page:
    """A run under way, and its page."""

    def __init__(self, process: subprocess.Popen[str], url: str, said: list[str]) -> None:
        self.process = process
        self.url = url.rstrip("/")
        self.said = said

    @property
    def live(self) -> str:
        return self.url.replace("http", "ws", 1) + "/api/live"

    def state(self) -> dict[str, Any]:
        answer = httpx.get(f"{self.url}/api/state", timeout=20)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def ask(self, command: str, **body: object) -> httpx.Response:
        return httpx.post(f"{self.url}/api/commands/{command}", json=body, timeout=70)

    def finish(self) -> dict[str, Any]:
        out, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, self.said
        found: dict[str, Any] = json.loads(out)
        return found


@contextmanager
def page(*words: object) -> Iterator[Page]:
    command = [*EDGELEUK, *ONE_RUNTIME, "--json", *map(str, words)]
    said: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                said.append(line)
                if line.startswith("page "):
                    break
            assert said, process.poll()
            assert said[-1].startswith("page "), said
            # Before anybody else adds lines.
            url = said[-1].split()[1]
            rest = threading.Thread(target=lambda: said.extend(process.stderr), daemon=True)
            rest.start()
            yield Page(process, url, said)
        finally:
            if process.poll() is None:
                process.kill()


def until_frames(live: Any, processed: int) -> dict[str, Any]:
    """Hear the page's numbers until so many frames are processed."""
    while True:
        told: dict[str, Any] = json.loads(live.recv(60))
        if told["run"] is not None and told["run"]["frames"]["processed"] >= processed:
            return told


def pictures_of(live: Any, wanted: bytes) -> bool:
    """Hear the page's messages until one holds a cell's picture; those are bytes."""
    while True:
        told = live.recv(60)
        if isinstance(told, bytes):
            found = []
            while told:
                track, length = struct.unpack(">QI", told[:12])
                found.append((track, told[12 : 12 + length]))
                told = told[12 + length :]
            assert len({track for track, _ in found}) == len(found)
            if wanted in [jpeg for _, jpeg in found]:
                return True


def test_a_run_is_shown_asked_and_ended(tmp_path: Path) -> None:
    session = tmp_path / "s.db"
    with page("--camera", SMALL, "--session", session, "--serve", "0") as found:
        assert found.url.startswith("http://127.0.0.1:")
        with connect(found.live) as live:
            told = until_frames(live, 2)
            assert told["simulated"] is True
            for command, body in (
                ("operator", {"text": "A. B."}),
                ("sample", {"text": "slide 7"}),
                ("note", {"text": "two\nlines \x00 and a zero"}),
            ):
                assert found.ask(command, **body).json() == {"done": True}
            if told["cells"]:
                picture = httpx.get(f"{found.url}/api/cells/{told['cells'][0]['track']}/picture")
                assert picture.content[:2] == b"\xff\xd8"
                with connect(f"{found.live}?pictures=true") as pictured:
                    assert pictures_of(pictured, picture.content)
            with httpx.stream("GET", f"{found.url}/stream.mjpg", timeout=30) as stream:
                part = next(stream.iter_bytes())
            assert part.startswith(b"--edgeleuk-field\r\nContent-Type: image/jpeg")
            refused = found.ask("move", x_um=5)
            assert (refused.status_code, refused.json()["detail"]) == (
                409,
                "no stage is attached: start the run with --stage",
            )
            assert found.ask("stop").json() == {"done": True}
            last = _last(live)
        summary = found.finish()
    assert last["phase"] == "ended"
    assert last["ended"] == summary["ended"] == "stopped by the user"
    for name in ("captured", "processed", "dropped", "rejected"):
        assert last["run"]["frames"][name] == summary["frames"][name]
    for name in ("blast", "normal", "other", "uncertain"):
        assert last["counts"][name] == summary["cells"][name]
    with read_session(session) as reader:
        events = [(row["kind"], row["text"]) for row in reader.rows("events")]
    assert [one for one in events if one[0] in ("operator", "sample", "stopped")] == [
        ("operator", "A. B."),
        ("sample", "slide 7"),
        ("stopped", "by the page"),
    ]
    (note,) = [str(text) for kind, text in events if kind == "note"]
    assert note.startswith("two lines")
    assert "\x00" not in note
    assert [(one["kind"], one["text"]) for one in last["events"]] == events
    assert verify_session(session).broken is None


def _last(live: Any) -> dict[str, Any]:
    told: dict[str, Any] = {}
    try:
        while True:
            told = json.loads(live.recv(60))
    except ConnectionClosed:
        return told


def test_a_pause_takes_no_frames_and_loses_none(tmp_path: Path) -> None:
    session = tmp_path / "s.db"
    words = ("--camera", SMALL, "--session", session, "--frames", 60)
    with page(*words, "--serve", "0") as found, connect(found.live) as live:
        until_frames(live, 2)
        assert found.ask("pause").json() == {"done": True}
        told = json.loads(live.recv(60))
        while told["phase"] != "paused" or told["run"]["frames"]["in_flight"]:
            told = json.loads(live.recv(60))
        # What was at hand is finished; then nothing moves.
        counts = [json.loads(live.recv(60))["run"]["frames"]["processed"] for _ in range(4)]
        assert counts[-1] == counts[1] < 60
        assert found.ask("resume").json() == {"done": True}
        summary = found.finish()
    assert summary["frames"]["processed"] == summary["frames"]["captured"] == 60
    assert summary["frames"]["dropped"] == 0
    with read_session(session) as reader:
        kinds = [row["kind"] for row in reader.rows("events")]
    assert [kind for kind in kinds if kind in ("paused", "goes on")] == ["paused", "goes on"]


def test_a_page_that_comes_back_has_lost_no_event(tmp_path: Path) -> None:
    """The browser is closed, opened again, and the program killed and started again with ``--resume``."""
    session = tmp_path / "s.db"
    words = ("--camera", SMALL, "--session", session)
    with page(*words, "--serve", "0") as found:
        with connect(found.live) as live:
            until_frames(live, 1)
        # Without frames in between it takes a tenth of a second each.
        found.ask("pause")
        for number in range(60):
            assert found.ask("note", text=f"note {number}").json() == {"done": True}
        with connect(found.live) as live:
            told = json.loads(live.recv(30))
        assert len(told["events"]) == 50
        known = httpx.get(f"{found.url}/api/events").json()
        assert [one["text"] for one in known if one["kind"] == "note"] == [f"note {n}" for n in range(60)]
        after = httpx.get(f"{found.url}/api/events", params={"after": known[-3]["number"]}).json()
        assert after == known[-2:]
        port = found.url.rpartition(":")[2]
        found.process.kill()
    with page(*words, "--resume", "--serve", port) as found, connect(found.live) as live:
        told = until_frames(live, told["run"]["frames"]["processed"])
        assert "note 59" in [one["text"] for one in told["events"]]
        found.process.send_signal(signal.SIGTERM)
        summary = found.finish()
    assert summary["cells"]["unique"] >= told["counts"]["total"]


def test_a_page_for_the_network_has_a_token_and_a_code(tmp_path: Path) -> None:
    with page("--camera", SMALL, "--session", tmp_path / "s.db", "--serve", "0.0.0.0:0") as found:
        token = re.search(r"\?token=(\S+)$", found.url)
        assert token is not None
        port = int(re.search(r":(\d+)/", found.url)[1])
        base = f"http://127.0.0.1:{port}"
        assert httpx.get(base).status_code == 401
        with httpx.Client(base_url=base) as browser:
            assert browser.get("/", params={"token": token[1]}).status_code == 200
            assert "live.js" in browser.get("/").text
        found.process.send_signal(signal.SIGTERM)
        found.finish()
        said = "".join(found.said)
    assert "█" in said
    assert "warning: without --tls-cert" in said


@pytest.fixture
def stand() -> Iterator[tuple[str, str]]:
    """A virtual microscope, camera and board, in a process of its own."""
    command = [sys.executable, "-m", "edgeleuk", "virtual-microscope", "--http", "127.0.0.1:0"]
    command += ["--stage", "127.0.0.1:0", "--width", "480", "--fps", "5"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        camera, wire = re.search(r"camera (\S+), stage (\S+),", line).groups()
        yield camera, wire
        process.terminate()


def test_the_stage_is_moved_from_the_page(tmp_path: Path, stand: tuple[str, str]) -> None:
    camera, wire = stand
    words = ("--camera", camera, "--stage", wire, "--um-per-step", "0.1", "--session", tmp_path / "s.db")
    with page(*words, "--serve", "0") as found, connect(found.live) as live:
        told = json.loads(live.recv(60))
        assert told["stage"]["has_lamp"] is True
        assert found.ask("move", x_um=12.5).json() == {"done": True}
        assert found.ask("lamp", level=0.5).json() == {"done": True}
        # Of the lamp the board tells 1/255 of its power.
        while told["stage"]["lamp"] != pytest.approx(0.5, abs=0.01):
            told = json.loads(live.recv(60))
        assert told["stage"]["place_um"] == [12.5, 0.0, 0.0]
        assert found.ask("autofocus").json() == {"done": True}
        found.process.send_signal(signal.SIGTERM)
        found.finish()
    with read_session(tmp_path / "s.db") as reader:
        assert [row["text"] for row in reader.rows("events") if row["kind"] == "focus"]
    assert boards.stage_info(wire, None).position_um.x == pytest.approx(125.0)
