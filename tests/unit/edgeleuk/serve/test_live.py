"""What a run tells its page, and what the page asks of the run."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from served import FedRun, cell_of, noise, summary_of

from edgeleuk.counting.confusion import KnownKinds
from edgeleuk.errors import CheckFailedError, HardwareError, SessionError, UsageError
from edgeleuk.results import Check, Counted, Decision
from edgeleuk.results.kinds import Kind
from edgeleuk.serve.budget import SpareTime, Turn
from edgeleuk.serve.desk import StageDesk
from edgeleuk.serve.document import SHOWN_CELLS, SHOWN_EVENTS, CountsKeeper, document_of
from edgeleuk.serve.live import KEPT_EVENTS, NEWEST_CELLS, RunFacts
from edgeleuk.serve.newest import Newest
from edgeleuk.serve.picture import MOST_WIDTH, picture_of
from edgeleuk.vision.quality import measure_quality
from edgeleuk_firmware_bridge.stage.protocols import Position

if TYPE_CHECKING:
    from concurrent.futures import Future

    from edgeleuk.results import SessionSummary


def settled(asked: Future[None]) -> str:
    return "done" if asked.exception(1) is None else str(asked.exception(1))


def test_what_is_asked_is_recorded_on_the_runs_thread(tmp_path: Path) -> None:
    run = FedRun(tmp_path)
    state = run.state
    asked = [state.say("operator", "A. B."), state.pause(), state.resume(), state.stop()]
    assert run.noted == []
    assert not any(one.done() for one in asked)
    run.tick()
    assert [kind for kind, _ in run.noted] == ["operator", "paused", "goes on", "stopped"]
    assert [settled(one) for one in asked] == ["done"] * 4
    assert run.stop.is_set()
    assert document_of(state, None)["operator"] == "A. B."


def test_the_phases(tmp_path: Path) -> None:
    run = FedRun(tmp_path)

    def phase() -> str:
        return str(document_of(run.state, None)["phase"])

    assert phase() == "waiting"
    run.field(noise())
    assert phase() == "running"
    run.state.pause()
    assert phase() == "paused"
    run.state.resume()
    assert phase() == "running"
    run.state.end(summary_of(1))
    assert phase() == "ended"


def test_nothing_is_asked_of_a_run_that_has_ended(tmp_path: Path) -> None:
    run = FedRun(tmp_path)
    before = run.state.say("note", "too late")
    run.state.end(None)
    assert "the run has ended" in settled(before)
    assert "the run has ended" in settled(run.state.say("note", "later still"))
    assert run.noted == []


def test_no_more_than_a_handful_waits_to_be_recorded(tmp_path: Path) -> None:
    run = FedRun(tmp_path)
    with pytest.raises(CheckFailedError, match="too much waits to be recorded"):  # noqa: PT012 - which one is too much
        for _ in range(100):
            run.state.say("note", "again")
    run.tick()
    assert 10 < len(run.noted) < 100


def test_a_session_that_takes_no_note_says_so_to_both(tmp_path: Path) -> None:
    run = FedRun(tmp_path)

    def full(*_: str) -> None:
        raise SessionError("the disk is full")

    run.state._note = full
    asked = run.state.say("note", "x")
    with pytest.raises(SessionError):
        run.tick()
    assert "the disk is full" in settled(asked)


def test_memory_is_bounded(tmp_path: Path) -> None:
    run = FedRun(tmp_path)
    pixels = noise()
    for track in range(200):
        run.field(pixels, cell_of(track))
        run.state.heard(track + 1, 0.0, "note", "x")
    for number in range(2 * KEPT_EVENTS):
        run.state.heard(200 + number, 0.0, "note", "x")
    found = run.state.snapshot()
    assert [cell.track for cell in found.cells] == list(range(199, 199 - NEWEST_CELLS, -1))
    assert len(found.events) == KEPT_EVENTS
    document = document_of(run.state, None)
    assert len(document["cells"]) == SHOWN_CELLS
    assert len(document["events"]) == SHOWN_EVENTS
    assert document["events_recorded"] == found.events[-1].number


def test_a_cell_that_is_seen_again_shows_what_is_said_now(tmp_path: Path) -> None:
    run = FedRun(tmp_path)
    pixels = noise()
    run.field(pixels, cell_of(1), cell_of(2))
    run.field(pixels, cell_of(1, Decision.NORMAL, new=False))
    told = {cell["track"]: cell["decision"] for cell in document_of(run.state, None)["cells"]}
    assert told == {1: "normal", 2: "blast"}


def test_a_cells_picture_is_a_copy(tmp_path: Path) -> None:
    run = FedRun(tmp_path)
    pixels = noise()
    run.field(pixels, cell_of(1))
    kept = run.state.cell(1).pixels.copy()
    pixels[:] = 0
    assert (run.state.cell(1).pixels == kept).all()
    assert run.state.cell(2) is None


COUNTED = (
    Counted(),
    Counted(blast=3, normal=7),
    Counted(blast=3, normal=7, uncertain=5, doubts={Check.AREA: 5}),
    Counted(2, 1, 1, {Check.PROBABILITY: 1}, {Kind.NEUTROPHIL: 30, Kind.ERYTHROBLAST: 2, Kind.SMUDGE: 1}),
)


@pytest.mark.parametrize("counted", COUNTED)
def test_the_document_is_json_and_counts_every_cell_once(tmp_path: Path, counted: Counted) -> None:
    run = FedRun(tmp_path)
    run.field(noise())
    run.state.tick(lambda: summary_of(1, counted))
    document = document_of(run.state, measure_quality(noise()))
    text = msgspec.json.encode(document)
    assert json.loads(text) == json.loads(json.dumps(json.loads(text), allow_nan=False))
    counts = document["counts"]
    told = counts["differential"]
    kinds = sum(one["count"] for one in told["white_cells"]["kinds"].values())
    beside = sum(told["beside"].values()) + told["erythroblasts"]["count"]
    assert kinds + beside + told["uncertain"] == counts["total"] == counted.total
    for one in told["white_cells"]["kinds"].values():
        assert one["share"] is None or one["low"] <= one["share"] <= one["high"]


def test_a_copy_of_the_counts_is_taken_twice_a_second_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = FedRun(tmp_path)
    now = [100.0]
    monkeypatch.setattr("edgeleuk.serve.live.time.monotonic", lambda: now[0])
    copies: list[int] = []

    def so_far() -> SessionSummary:
        copies.append(1)
        return summary_of(1)

    for _ in range(100):
        run.state.tick(so_far)
        now[0] += 0.125
    assert len(copies) == 25


@pytest.mark.parametrize("size", [(240, 320), (480, 1024), (1500, 2000)])
def test_pictures_are_no_larger_than_a_screen(tmp_path: Path, size: tuple[int, int]) -> None:
    run = FedRun(tmp_path)
    run.field(noise(0, *size), cell_of(1))
    width = {320: 320, 1024: 1024, 2000: 1000}[size[1]]
    assert width <= MOST_WIDTH
    assert picture_of(run.state.field(), simulated=True).shape[1] == width
    run.state.rejected(noise(0, *size), "out of focus")
    drawn = picture_of(run.state.field(), simulated=False)
    assert drawn.shape[1] == width
    assert drawn.shape[0] > drawn.shape[1] * size[0] / size[1]


class Stage:
    """Stands at a place, and has a lamp."""

    channels = ("white",)

    def __init__(self) -> None:
        self.at = [0.0, 10.0, -3.0]
        self.told: list[tuple[float | None, ...]] = []
        self.lit = 0.5
        self.fails = False

    def position(self) -> Position:
        return Position(*self.at)

    def move(self, *goals: float | None) -> None:
        if self.fails:
            raise HardwareError("the stage is stuck")
        self.told.append(goals)
        self.at = [at if goal is None else goal for at, goal in zip(self.at, goals, strict=True)]

    def level(self, channel: str) -> float:
        assert channel == "white"
        return self.lit

    def set_level(self, channel: str, level: float) -> None:
        assert channel == "white"
        self.lit = level


def test_the_stage_is_moved_on_the_cameras_thread_alone(tmp_path: Path) -> None:
    stage = Stage()
    desk = StageDesk(stage, stage)
    asked = [desk.move(5.0), desk.move(z_um=-1.0), desk.light(0.25)]
    assert stage.told == []
    desk.work()
    assert [settled(one) for one in asked] == ["done"] * 3
    assert stage.told == [(5.0, None, None), (None, None, -4.0)]
    facts = document_of(FedRun(tmp_path, desk).state, None)["stage"]
    assert facts["place_um"] == (5.0, 10.0, -4.0)
    assert facts["lamp"] == 0.25
    assert facts["trouble"] is None


def test_what_a_stage_cannot_do_is_one_sentence() -> None:
    stage = Stage()
    desk = StageDesk(stage)
    with pytest.raises(UsageError, match="does not go so far at once: got 2000, 0, 0 um, allowed 1000 um"):
        desk.move(2000)
    with pytest.raises(UsageError, match="does not go so far"):
        desk.move(float("nan"))
    with pytest.raises(UsageError, match="the stage has no lamp"):
        desk.light(0.5)
    with pytest.raises(UsageError, match="the lamp's level is out of range: got 2, allowed 0 to 1"):
        StageDesk(stage, stage).light(2)
    stage.fails = True
    stuck, unfocused = desk.move(1), desk.autofocus()
    desk.work()
    assert settled(stuck) == "the stage is stuck"
    assert "cannot be brought into focus" in settled(unfocused)
    assert desk.state().trouble is not None
    with pytest.raises(CheckFailedError, match="the stage has enough to do"):  # noqa: PT012 - which one is too much
        for _ in range(10):
            desk.move(1)
    last = desk._errands
    desk.close()
    assert last.empty()


def test_autofocus_is_whoever_reads_the_cameras() -> None:
    desk = StageDesk(Stage())
    looked: list[int] = []
    desk.focus = lambda: looked.append(1)
    asked = desk.autofocus()
    desk.work()
    assert settled(asked) == "done"
    assert looked == [1]


def test_who_is_slow_gets_the_newest() -> None:
    newest: Newest[str] = Newest()

    async def slow() -> list[tuple[int, str]]:
        found = []
        number = 0
        for _ in range(2):
            one = await newest.after(number, 5)
            found.append((one.number, one.value))
            number = one.number
            for value in ("b", "c", "d"):
                newest.put(value)
        newest.close()
        assert await newest.after(99, 5) is None
        return found

    threading.Timer(0.05, newest.put, ("a",)).start()
    assert asyncio.run(slow()) == [(1, "a"), (4, "d")]
    assert newest.closed
    assert newest.now().value == "d"


def test_nobody_waits_for_ever() -> None:
    newest: Newest[str] = Newest()
    assert asyncio.run(newest.after(0, 0.01)) is None
    assert newest.waiting == 0
    assert newest.now() is None


@pytest.mark.parametrize(
    ("kinds", "of"), [(KnownKinds(), "lymphoid"), (KnownKinds(("neutrophil",)), "white")]
)
def test_how_well_it_is_known_is_of_the_share_that_ends_the_run(kinds: KnownKinds, of: str) -> None:
    counted = Counted(blast=4, normal=16)
    facts = RunFacts("virtual://", Path("s.db"), "default", simulated=True, kinds=kinds)
    always = Turn(1.0, 0.0, SpareTime())
    assert CountsKeeper(always, always).of(counted, facts, last=True)["precision"]["of"] == of
