"""The run on real sources: folders, videos, the virtual slide; nothing is lost and nothing counted twice."""

from __future__ import annotations

import math
import sqlite3
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mjpeg_server import smear

from edgeleuk.capture import open_source
from edgeleuk.errors import (
    CameraError,
    DataRefusedError,
    EdgeleukError,
    InterruptedBeforeRecordError,
    SessionError,
)
from edgeleuk.frames import Box, Cell, Frame
from edgeleuk.pipeline.engine import Engine
from edgeleuk.pipeline.latency import LatencyHistogram
from edgeleuk.pipeline.run import PipelineOptions, run
from edgeleuk.results import (
    CUT,
    SCALE_IMPLAUSIBLE,
    SCALE_UNKNOWN,
    STUCK_DUST,
    CellResult,
    Check,
    Decision,
    ExcludedCell,
    FrameResult,
    Prediction,
    SessionSummary,
)
from edgeleuk.results.kinds import Kind
from edgeleuk.session import SessionWriter, create_session, export_csv, read_session
from edgeleuk.vision.annotate import COLOURS, annotate
from edgeleuk.vision.stream import StreamWatch
from edgeleuk.vision.tracking import FieldTracker, Placed, TrackedCell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from edgeleuk.frames import CellCrop, RgbImage


class BySize:
    """Stands in for the network: large is blast, as it often is."""

    def __init__(self) -> None:
        self.crops = 0

    def classify(self, crops: Sequence[CellCrop]) -> list[Prediction]:
        assert crops, "an empty batch wastes a call"
        self.crops += len(crops)
        areas = [np.count_nonzero(crop.mask) / crop.px_per_um**2 for crop in crops]
        return [Prediction(Decision.BLAST if area > 95 else Decision.NORMAL, 0.75) for area in areas]

    def consensus(self, views: Sequence[Prediction]) -> Prediction:
        return views[0]


def full_engine(**changes: Any) -> Engine:
    return replace(Engine(BySize(), FieldTracker()), **changes)


@dataclass
class Seen:
    """Cells that the next frames are said to show: (track, x, touches the border)."""

    script: list[list[tuple[int, int, bool]]]
    frame: int = -1
    # A class's own, no field: a test may make it a property.
    placed: ClassVar[Placed | None] = None

    def segment(self, pixels: RgbImage, *, px_per_um: float | None = None) -> list[Cell]:
        self.frame += 1
        mask = np.full((20, 20), 255, np.uint8)
        return [Cell(Box(x, 30, 20, 20), mask, cut) for _, x, cut in self.script[self.frame]]

    def update(self, pixels: RgbImage, cells: Sequence[Cell]) -> list[TrackedCell]:
        return [TrackedCell(track, is_new=False) for track, *_ in self.script[self.frame]]

    def engine(self, **changes: Any) -> Engine:
        return replace(Engine(BySize(), self, segment=self.segment), **changes)


def pictures(folder: Path, number: int) -> str:
    folder.mkdir(exist_ok=True)
    for index in range(number):
        assert cv2.imwrite(str(folder / f"{index}.png"), smear(160, 120, seed=index)[..., ::-1])
    return f"dir://{folder}"


def run_on(
    uri: str,
    engine: Engine,
    path: Path,
    *,
    before: Callable[[SessionWriter], object] | None = None,
    **options: Any,
) -> SessionSummary:
    listening = {name: options.pop(name) for name in ("stop", "on_frame") if name in options}
    listening.setdefault("stop", threading.Event())
    with open_source(uri) as source, create_session(path, {"camera": source.uri}) as session:
        if before is not None:
            before(session)
        return run(source, engine, session, PipelineOptions(**options), **listening)


def laws_hold(summary: SessionSummary, path: Path) -> None:
    assert summary.captured == summary.processed + summary.dropped + summary.rejected + summary.in_flight
    assert summary.detected == summary.unique + summary.seen_before + summary.excluded
    with read_session(path) as reader:
        assert reader.summary == summary.to_json()
        counts = reader.counts()
        assert (counts.processed, counts.rejected) == (summary.processed, summary.rejected)
        assert (counts.cells, counts.events) == (summary.unique, summary.events)
        frames = list(reader.rows("frames"))
        assert sum(int(str(row["detected"])) for row in frames) == summary.detected
        decisions = [row["decision"] for row in reader.rows("cells")]
        for decision in Decision:
            assert decisions.count(decision.value) == getattr(summary.counted, decision.value)


def test_the_virtual_slide_is_counted_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    results: list[FrameResult] = []
    summary = run_on(
        "virtual://?seed=3&width=640&height=480&px_per_um=8",
        full_engine(),
        path,
        frames=12,
        on_frame=lambda result, _: results.append(result),
    )
    laws_hold(summary, path)
    assert (summary.captured, summary.processed, summary.dropped) == (12, 12, 0)
    assert summary.simulated
    assert summary.px_per_um == 8.0
    assert [result.sequence for result in results] == list(range(12))
    assert summary.truth is not None
    cells = summary.truth["cells"]
    assert isinstance(cells, dict)
    # Touching cells may be found as one; every cell seen again in the overlaps must not count again.
    assert 0.6 * sum(cells.values()) <= summary.unique <= sum(cells.values()) + 1
    assert summary.seen_before > 0
    assert math.isclose(summary.latency_ms["p50"], np.median([r.latency_ms for r in results]), rel_tol=0.5)
    assert export_csv(path, tmp_path / "cells.csv") == summary.unique


def test_real_fields(tmp_path: Path, edgeleuk_data: Path) -> None:
    path = tmp_path / "s.db"
    summary = run_on(f"dir://{edgeleuk_data}/fields_bccd", full_engine(), path, frames=15)
    laws_hold(summary, path)
    assert summary.processed == 15
    assert summary.detected >= 12
    # Field notes: about 13 px/um there.
    assert summary.px_per_um == pytest.approx(12.5, rel=0.2)
    assert not summary.simulated
    assert summary.truth is None


class TestCounting:
    def test_a_cell_counts_once_at_its_first_whole_view(self, tmp_path: Path) -> None:
        path = tmp_path / "s.db"
        seen = Seen([
            [(7, 0, True), (8, 50, False)],  # 7 is cut, 8 is judged
            [(7, 20, False), (8, 70, False)],  # 7 is judged, 8 is known
            [(7, 40, False), (8, 140, True), (9, 0, True)],  # known, known though cut, cut
        ])  # fmt: skip
        results: list[FrameResult] = []
        engine = seen.engine()
        summary = run_on(
            pictures(tmp_path / "p", 3), engine, path, px_per_um=2.0, on_frame=lambda r, _: results.append(r)
        )
        laws_hold(summary, path)
        assert (summary.detected, summary.unique, summary.seen_before, summary.excluded) == (7, 2, 3, 2)
        assert summary.excluded_by_reason == {CUT: 2}
        assert isinstance(engine.classifier, BySize)
        # 7 and 8 once each, and a second, equally sharp view of both.
        assert engine.classifier.crops == 4
        assert [[(c.track, c.is_new) for c in result.cells] for result in results] == [
            [(8, True)], [(7, True), (8, False)], [(7, False), (8, False)],
        ]  # fmt: skip
        assert results[1].cells[0].area_um2 == 100.0
        with read_session(path) as reader:
            assert [(row["track"], row["frame"]) for row in reader.rows("cells")] == [(7, 1), (8, 0)]

    def test_the_same_track_twice_in_one_frame_counts_once(self, tmp_path: Path) -> None:
        seen = Seen([[(1, 10, False), (1, 60, False)]])
        summary = run_on(pictures(tmp_path / "p", 1), seen.engine(), tmp_path / "s.db", px_per_um=2.0)
        assert (summary.detected, summary.unique, summary.seen_before) == (2, 1, 1)

    def test_what_stays_while_the_slide_moves_is_taken_back(self, tmp_path: Path) -> None:
        path = tmp_path / "s.db"

        class Moving(Seen):
            @property
            def placed(self) -> Placed:  # type: ignore[override]
                return Placed(1, 40.0 * self.frame, 0.0)

        fields = [[(n, 60, False)] for n in range(5)]
        engine = replace(Seen([]).engine(), tracker=(seen := Moving(fields)), segment=seen.segment)
        summary = run_on(pictures(tmp_path / "p", 5), engine, path, px_per_um=2.0)
        laws_hold(summary, path)
        assert (summary.unique, summary.counted.doubts, summary.excluded) == (2, {Check.DUST: 2}, 3)
        assert summary.excluded_by_reason == {STUCK_DUST: 3}
        with read_session(path) as reader:
            assert [row["reason"] for row in reader.rows("cells")] == [STUCK_DUST] * 2
            assert reader.verify().broken is None

    def test_more_cells_than_are_remembered(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("edgeleuk.counting.consensus._MOST_REMEMBERED", 2)
        fields = [[(track, 25 * track, False) for track in range(5)]] * 3
        summary = run_on(pictures(tmp_path / "p", 3), Seen(fields).engine(), tmp_path / "s.db", px_per_um=2.0)
        laws_hold(summary, tmp_path / "s.db")
        assert (summary.unique, summary.seen_before) == (5, 10)

    def test_without_a_scale_no_cell_is_judged(self, tmp_path: Path) -> None:
        path = tmp_path / "s.db"
        engine = Seen([[(1, 10, False)]]).engine(estimate_scale=lambda _: None)
        summary = run_on(pictures(tmp_path / "p", 1), engine, path)
        laws_hold(summary, path)
        assert (summary.counted.doubts, summary.px_per_um) == ({Check.SCALE: 1}, None)
        with read_session(path) as reader:
            cell = next(iter(reader.rows("cells")))
        assert (cell["reason"], cell["probability"], cell["area_um2"]) == (SCALE_UNKNOWN, None, None)
        assert cell["area_px"] == 400

    def test_with_an_implausible_scale_no_cell_is_judged(self, tmp_path: Path) -> None:
        @dataclass
        class Estimate:
            px_per_um: float

        path = tmp_path / "s.db"
        # Too few pixels, then too many, then cells of 4 um2.
        values = iter([1.6, 41.0, 10.0])
        fields = [[(track, 25 * track, False) for track in range(3)]] * 3
        engine = Seen(fields).engine(estimate_scale=lambda _: Estimate(next(values)))
        summary = run_on(pictures(tmp_path / "p", 3), engine, path)
        laws_hold(summary, path)
        assert (summary.counted.doubts, summary.px_per_um) == ({Check.SCALE: 3}, None)
        with read_session(path) as reader:
            assert {cell["reason"] for cell in reader.rows("cells")} == {SCALE_IMPLAUSIBLE}
            assert [row["text"] for row in reader.rows("events")] == [SCALE_IMPLAUSIBLE]

    def test_the_scale_is_the_median_of_the_fields(self, tmp_path: Path) -> None:
        @dataclass
        class Estimate:
            px_per_um: float

        estimates = iter([10.0, 11.0, None, 30.0, 12.0])
        scales: list[float | None] = []
        engine = Seen([[]] * 5).engine(
            estimate_scale=lambda _: None if (value := next(estimates)) is None else Estimate(value)
        )
        run_on(
            pictures(tmp_path / "p", 5),
            engine,
            tmp_path / "s.db",
            on_frame=lambda result, _: scales.append(result.px_per_um),
        )
        assert scales == [10.0, 10.5, 10.5, 11.0, 11.5]

    def test_a_rejected_frame_is_counted_by_its_reason(self, tmp_path: Path) -> None:
        uri = pictures(tmp_path / "p", 4)
        (tmp_path / "p" / "2.png").write_bytes(b"no picture")
        reasons = iter([None, "out of focus", None])
        engine = Seen([[], []]).engine(quality_check=lambda _: next(reasons))
        summary = run_on(uri, engine, tmp_path / "s.db", px_per_um=2.0)
        laws_hold(summary, tmp_path / "s.db")
        assert summary.rejected_by_reason == {"out of focus": 1, "unreadable file": 1}
        assert (summary.captured, summary.processed, summary.events) == (4, 2, 1)

    def test_a_part_that_breaks_its_promise_is_a_bug(self, tmp_path: Path) -> None:
        class Forgetful(BySize):
            def classify(self, crops: Sequence[CellCrop]) -> list[Prediction]:
                return []

            def consensus(self, views: Sequence[Prediction]) -> Prediction:
                return views[0]

        engine = replace(Seen([[(1, 10, False)]]).engine(), classifier=Forgetful())
        with pytest.raises(ValueError, match="shorter"):
            run_on(pictures(tmp_path / "p", 1), engine, tmp_path / "s.db", px_per_um=2.0)
        with read_session(tmp_path / "s.db") as reader:
            assert reader.summary is not None
            assert (reader.summary["ended"], reader.counts().processed) == ("ValueError", 0)

    def test_a_lost_count_is_an_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("edgeleuk.capture.newest.InOrderReader.captured", 5, raising=False)
        original = "edgeleuk.pipeline.counts.RunCounts.rejected"
        monkeypatch.setattr(original, property(lambda _: 3))
        with pytest.raises(EdgeleukError, match="a count was lost") as caught:
            run_on(pictures(tmp_path / "p", 1), Seen([[]]).engine(), tmp_path / "s.db", px_per_um=2.0)
        assert caught.value.exit_code == 1

    def test_rows_that_are_not_what_was_counted_are_an_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def record_less(session: SessionWriter, result: FrameResult, *judged: Any) -> None:
            record_frame(session, replace(result, found=result.found[1:]), *judged)

        record_frame = SessionWriter.record_frame
        monkeypatch.setattr(SessionWriter, "record_frame", record_less)
        engine = Seen([[(1, 10, True), (2, 10, True)]]).engine()
        with pytest.raises(
            EdgeleukError, match=r"a bug: sightings and decisions, .* got \(1, 0, 2, .*\(2, 0, 2"
        ):
            run_on(pictures(tmp_path / "p", 1), engine, tmp_path / "s.db", px_per_um=2.0)

    @settings(max_examples=30)
    @given(
        script=st.lists(
            st.lists(st.tuples(st.integers(0, 5), st.just(10), st.booleans()), max_size=5),
            min_size=1,
            max_size=6,
        )
    )
    def test_whatever_is_seen_each_cell_counts_once(self, script: list[list[tuple[int, int, bool]]]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "s.db"
            with create_session(path, {}) as session:
                options = PipelineOptions(px_per_um=2.0)
                summary = run(
                    Blank(len(script)), Seen(script).engine(), session, options, stop=threading.Event()
                )
            laws_hold(summary, path)
        assert summary.unique == len({track for field in script for track, _, cut in field if not cut})


class Blank:
    """A camera that sends white pictures, of two sizes where it is live."""

    uri = "test://blank"

    def __init__(self, frames: int, *, live: bool = False) -> None:
        self.number, self.live = frames, live

    def frames(self) -> Iterator[Frame]:
        for sequence in range(self.number):
            size = (200, 300) if self.live and sequence >= self.number / 2 else (120, 160)
            yield Frame(np.full((*size, 3), 255, np.uint8), sequence, time.time(), time.monotonic(), self.uri)
            time.sleep(0.02 * self.live)

    def close(self) -> None: ...

    def __enter__(self) -> Blank:
        return self

    def __exit__(self, *_: object) -> None: ...


class TestLive:
    def test_the_virtual_slide_in_real_time(self, tmp_path: Path) -> None:
        uri = "virtual://?seed=2&width=160&height=120&fps=60&frames=20"
        engine = full_engine(quality_check=lambda _: time.sleep(0.1))
        summary = run_on(uri, engine, tmp_path / "s.db")
        laws_hold(summary, tmp_path / "s.db")
        assert (summary.captured, summary.ended) == (20, "the source has ended")
        assert summary.dropped > 0

    def test_another_resolution_is_an_event(self, tmp_path: Path) -> None:
        with create_session(tmp_path / "s.db", {}) as session:
            engine = full_engine(watch=StreamWatch(camera=True).look)
            summary = run(Blank(6, live=True), engine, session, stop=threading.Event())
        assert summary.processed + summary.rejected == 6 - summary.dropped
        with read_session(tmp_path / "s.db") as reader:
            texts = [row["text"] for row in reader.rows("events") if row["kind"] == "resolution"]
        assert texts == ["the camera now sends 300x200"]


class TestEnds:
    def test_after_so_many_frames(self, tmp_path: Path) -> None:
        summary = run_on(
            pictures(tmp_path / "p", 5), Seen([[]] * 5).engine(), tmp_path / "s.db", frames=2, px_per_um=2.0
        )
        assert (summary.processed, summary.captured, summary.ended) == (2, 2, "2 frames were processed")

    def test_when_the_source_ends(self, tmp_path: Path) -> None:
        summary = run_on(
            pictures(tmp_path / "p", 2), Seen([[]] * 2).engine(), tmp_path / "s.db", frames=9, px_per_um=2.0
        )
        assert (summary.processed, summary.ended) == (2, "the source has ended")

    def test_when_the_user_says_so_the_frames_at_hand_are_finished(self, tmp_path: Path) -> None:
        stop = threading.Event()
        summary = run_on(
            pictures(tmp_path / "p", 5),
            Seen([[(1, 10, False)]] * 5).engine(),
            tmp_path / "s.db",
            px_per_um=2.0,
            stop=stop,
            on_frame=lambda *_: stop.set(),
        )
        laws_hold(summary, tmp_path / "s.db")
        # One, and the next if it had been taken.
        assert summary.processed in {1, 2}
        assert (summary.unique, summary.ended) == (1, "stopped by the user")

    def test_before_anything_was_recorded(self, tmp_path: Path) -> None:
        stop = threading.Event()
        stop.set()
        with pytest.raises(InterruptedBeforeRecordError):
            run_on(pictures(tmp_path / "p", 1), Seen([]).engine(), tmp_path / "s.db", stop=stop)
        with read_session(tmp_path / "s.db") as reader:
            assert reader.counts().processed == 0

    def test_a_folder_of_rubbish_is_refused(self, tmp_path: Path) -> None:
        for number in range(3):
            (tmp_path / f"{number}.jpg").write_bytes(b"rubbish")
        with pytest.raises(DataRefusedError, match=r"none of the 3 pictures"):
            run_on(f"dir://{tmp_path}", Seen([]).engine(), tmp_path / "s.db")
        with read_session(tmp_path / "s.db") as reader:
            assert reader.counts().rejected == 3

    def test_a_full_disk(self, tmp_path: Path) -> None:
        path = tmp_path / "s.db"
        fields = [[(5 * frame + track, 25 * track, False) for track in range(5)] for frame in range(60)]
        with pytest.raises(SessionError, match="the disk is full"):
            run_on(
                pictures(tmp_path / "p", 60),
                Seen(fields).engine(),
                path,
                px_per_um=2.0,
                before=lambda session: session._connection.execute("PRAGMA max_page_count = 96"),
            )
        with read_session(path) as reader:
            frames, cells = list(reader.rows("frames")), list(reader.rows("cells"))
        assert 0 < len(frames) < 60
        assert len(cells) == 5 * len(frames)

    def test_a_camera_that_dies(self, tmp_path: Path) -> None:
        class Dying:
            uri, live, sent = "test://dying", False, 0

            def frames(self) -> Any:
                with open_source(pictures(tmp_path / "p", 2)) as folder:
                    yield from folder.frames()
                raise CameraError("the camera was unplugged", cure="plug it in")

            def close(self) -> None: ...

            def __enter__(self) -> Any:
                return self

            def __exit__(self, *_: object) -> None: ...

        with create_session(tmp_path / "s.db", {}) as session:
            with pytest.raises(CameraError, match="unplugged"):
                run(
                    Dying(),
                    Seen([[]] * 2).engine(),
                    session,
                    PipelineOptions(px_per_um=2.0),
                    stop=threading.Event(),
                )
            assert session.summary is not None
            assert session.summary.ended == "the camera was unplugged"
            laws_hold(session.summary, tmp_path / "s.db")
        with read_session(tmp_path / "s.db") as reader:
            assert [row["kind"] for row in reader.rows("events")] == ["error"]

    def test_a_session_that_is_locked_by_another_program(self, tmp_path: Path) -> None:
        def lock(session: SessionWriter) -> None:
            session._connection.execute("PRAGMA busy_timeout = 10")
            self.other = sqlite3.connect(session.path, isolation_level=None)
            self.other.execute("BEGIN IMMEDIATE")

        with pytest.raises(SessionError, match="in use"):
            run_on(pictures(tmp_path / "p", 1), Seen([[]]).engine(), tmp_path / "s.db", before=lock)
        self.other.close()


def test_latencies_of_any_size_fit_the_histogram() -> None:
    random = np.random.default_rng(1)
    latencies = random.lognormal(4, 1.5, 20_000)
    histogram = LatencyHistogram()
    for latency in latencies:
        histogram.add(float(latency))
    for name, value in histogram.percentiles().items():
        assert value == pytest.approx(np.percentile(latencies, int(name[1:])), rel=0.01)
    for extreme in (0.0, -1.0, 1e12):
        histogram.add(extreme)
    assert LatencyHistogram().percentiles() == {}


class TestAnnotated:
    def result(self, width: int, height: int) -> FrameResult:
        predictions = [
            Prediction(Decision.BLAST, 0.93), Prediction(Decision.NORMAL, 0.1),
            Prediction(Decision.UNCERTAIN, math.nan, "scale unknown"),
            Prediction(Decision.OTHER, math.nan, kind=Kind.BAND, kind_probability=0.9),
        ]  # fmt: skip
        side = height // 4
        mask = cv2.circle(np.zeros((side, side), np.uint8), (side // 2, side // 2), side // 2 - 1, 255, -1)
        boxes = [Box(width * place // 5, 0 if place == 1 else height // 2, side, side) for place in range(5)]
        judged = zip(range(4), boxes[:4], predictions, strict=True)
        return FrameResult(
            0, 0.0, "test://", width, height, 13.0,
            tuple(CellResult(track, True, box, 1.0, 1.0, prediction) for track, box, prediction in judged),
            (ExcludedCell(4, boxes[4], CUT),),
            tuple(Cell(box, np.asarray(mask, np.uint8)) for box in boxes), 5.0,
        )  # fmt: skip

    @pytest.mark.parametrize(("width", "height"), [(640, 480), (1280, 960), (2592, 1944), (200, 120)])
    def test_every_decision_shows_in_its_colour(self, width: int, height: int) -> None:
        field = np.full((height, width, 3), 220, np.uint8)
        picture = annotate(field, self.result(width, height), simulated=False)
        assert (field == 220).all()
        assert picture.dtype == np.uint8
        assert picture.shape[1:] == (width, 3)
        assert height < picture.shape[0] < 1.3 * height
        for colour in COLOURS.values():
            assert (picture[:height] == colour).all(axis=2).sum() > 20

    def test_a_simulated_field_is_stamped(self) -> None:
        field = np.full((480, 640, 3), 220, np.uint8)
        result = replace(self.result(640, 480), cells=(), excluded=(), found=())
        plain = annotate(field, result, simulated=False)
        stamped = annotate(field, result, simulated=True)
        assert (plain[:480] == 220).all()
        # Beside the picture: a stamp on it would hide cells.
        assert (stamped[:480] == 220).all()
        white = [(picture[480:, :200] == 255).all(axis=2).sum() for picture in (plain, stamped)]
        assert white[1] > 1.5 * white[0]

    def test_the_bar_follows_the_scale(self) -> None:
        field = np.full((480, 640, 3), 220, np.uint8)
        result = replace(self.result(640, 480), px_per_um=None)
        none, ten = (annotate(field, result, simulated=False, scale=scale) for scale in (None, 12.8))
        rows, columns = np.nonzero((none != ten).any(axis=2))
        assert rows.min() >= 480
        # 10 um, 128 px long, and its words.
        assert 128 < columns.max() - columns.min() < 200
