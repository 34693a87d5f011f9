"""The whole run on a virtual camera that fails in every way: named, conserved, and no cell counted twice."""

from __future__ import annotations

import math
import threading
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgeleuk.capture import ReconnectPolicy, SourceEvent, decoded, open_camera, open_source
from edgeleuk.errors import CameraError, UsageError
from edgeleuk.frames import Frame
from edgeleuk.pipeline.engine import Engine
from edgeleuk.pipeline.run import run
from edgeleuk.results import Decision, Prediction
from edgeleuk.session import create_session, read_session
from edgeleuk.virtual.scenario import STRENGTHS, CameraFaultKind, load_scenario
from edgeleuk.vision.stream import BLACK, FROZEN, SWAPPED, StreamWatch
from edgeleuk.vision.tracking import FieldTracker, TrackedCell

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from edgeleuk.capture import FrameSource
    from edgeleuk.frames import Cell, CellCrop, RgbImage, TrueCell
    from edgeleuk.results import FrameResult, SessionSummary

# Half of what is seen before a fault of 0.4 s is seen again after it.
SLIDE = "width=480&height=360&px_per_um=6&overlap=0.9&white_cells_per_field=10"
# Waits longer than a cable is out, so that the first try succeeds.
PATIENT = ReconnectPolicy(first_wait_s=1.0, gap_s=0.3)
QUICK = ReconnectPolicy(first_wait_s=0.02)
# The faults of a stream that the run itself has to name; for the others the scenario's own event stands.
REASONS = {
    CameraFaultKind.BLACK: BLACK,
    CameraFaultKind.FREEZE: FROZEN,
    CameraFaultKind.SWAP: SWAPPED,
    CameraFaultKind.TORN: "truncated JPEG",
}
EVENTS = {
    CameraFaultKind.BLACK: ["black", "recovered"],
    CameraFaultKind.FREEZE: ["frozen", "recovered"],
    CameraFaultKind.SWAP: ["swapped", "recovered"],
    CameraFaultKind.RESOLUTION: ["resolution", "resolution"],
    CameraFaultKind.UNPLUG: ["lost", "trying", "opened", "back"],
}


class Large:
    """Stands in for the network."""

    def classify(self, crops: Sequence[CellCrop]) -> list[Prediction]:
        return [Prediction(Decision.BLAST, 0.75)] * len(crops)

    def consensus(self, views: Sequence[Prediction]) -> Prediction:
        return views[0]


class Forgetful(FieldTracker):
    """Forgets the slide in the middle, so that cells are counted twice."""

    def __init__(self) -> None:
        super().__init__()
        self.fields = 0

    def update(self, pixels: RgbImage, cells: Sequence[Cell]) -> list[TrackedCell]:
        self.fields += 1
        if self.fields == 5:
            self._cells = type(self._cells)()
        return super().update(pixels, cells)


class Known:
    """A source that remembers what its frames really showed."""

    def __init__(self, source: FrameSource) -> None:
        self.source = source
        self.uri, self.live = source.uri, source.live
        self.truth: dict[int, Sequence[TrueCell]] = {}

    def frames(self) -> Iterator[Any]:
        for item in self.source.frames():
            if isinstance(item, Frame):
                self.truth[item.sequence] = item.truth
            yield item

    def close(self) -> None:
        self.source.close()

    def __enter__(self) -> Known:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Watched:
    """One run, and what it left."""

    def __init__(
        self,
        folder: Path,
        scenario: str,
        frames: int,
        *,
        policy: ReconnectPolicy = PATIENT,
        address: str = SLIDE,
        tracker: FieldTracker | None = None,
    ) -> None:
        (folder / "s.toml").write_text(scenario)
        uri = f"virtual://?scenario={folder / 's.toml'}&frames={frames}&{address}"
        self.results: list[FrameResult] = []
        self.path = folder / "s.db"
        with Known(open_camera(uri, policy)) as source, create_session(self.path, {}) as session:
            watch = StreamWatch(camera=True)
            self.summary: SessionSummary = run(
                source,
                Engine(Large(), tracker or FieldTracker(), watch=watch.look),
                session,
                on_frame=self._keep,
                stop=threading.Event(),
            )
        self.truth = source.truth
        with read_session(self.path) as reader:
            self.events = [(str(row["kind"]), str(row["text"])) for row in reader.rows("events")]
            self.rows = list(reader.rows("frames"))

    def _keep(self, result: FrameResult, _: RgbImage) -> None:
        self.results.append(result)

    @property
    def kinds(self) -> list[str]:
        # A loaded machine makes gaps of its own.
        return [kind for kind, _ in self.events if kind not in {"scenario", "gap"}]

    def laws_hold(self) -> None:
        summary = self.summary
        assert summary.captured == summary.processed + summary.dropped + summary.rejected + summary.in_flight
        assert summary.detected == summary.unique + summary.seen_before + summary.excluded
        assert summary.events == len(self.events)
        assert len(self.rows) == summary.processed + summary.rejected
        assert summary.ended == "the source has ended"
        sequences = [row["sequence"] for row in self.rows]
        assert len(set(sequences)) == len(sequences)

    def counted(self) -> dict[int, set[int]]:
        """True cell -> the numbers under which it was counted."""
        tracks: dict[int, set[int]] = defaultdict(set)
        for result in self.results:
            for cell in (cell for cell in result.cells if cell.is_new):
                x, y = cell.box.centre
                for true in self.truth[result.sequence]:
                    if math.hypot(true.x - x, true.y - y) < 0.5 * true.radius_px:
                        tracks[true.identity].add(cell.track)
        return dict(tracks)


def fault(kind: CameraFaultKind, at_s: float = 0.4, for_s: float = 0.4, **more: float) -> str:
    rest = "".join(f"{name} = {value}\n" for name, value in more.items())
    return f'[[fault]]\nkind = "{kind.value}"\nat_s = {at_s}\nfor_s = {for_s}\n{rest}'


@pytest.mark.parametrize("kind", CameraFaultKind, ids=lambda kind: kind.value)
def test_a_run_through_each_fault(tmp_path: Path, kind: CameraFaultKind) -> None:
    run = Watched(tmp_path, fault(kind), 12)
    run.laws_hold()
    assert run.kinds == EVENTS.get(kind, [])
    assert kind is not CameraFaultKind.STALL or "gap" in dict(run.events)
    assert [text for kind_, text in run.events if kind_ == "scenario"] == [
        load_scenario(tmp_path / "s.toml").fault[0].text
    ]
    rejected = {int(str(row["sequence"])): row["rejected"] for row in run.rows if row["rejected"] is not None}
    hidden = kind in {CameraFaultKind.STALL, CameraFaultKind.UNPLUG}
    assert run.summary.captured == 12 - 4 * hidden
    assert rejected == (dict.fromkeys(range(4, 8), REASONS[kind]) if kind in REASONS else {})
    counted = run.counted()
    assert sum(map(len, counted.values())) >= 7
    # The tracker's map begins anew at another resolution, so there a cell counts again.
    if kind is not CameraFaultKind.RESOLUTION:
        assert {identity: tracks for identity, tracks in counted.items() if len(tracks) > 1} == {}


def test_a_cell_counted_twice_would_be_seen(tmp_path: Path) -> None:
    run = Watched(tmp_path, fault(CameraFaultKind.STALL), 12, tracker=Forgetful())
    assert [len(tracks) for tracks in run.counted().values()].count(2) >= 2


def test_a_run_through_all_of_them(tmp_path: Path) -> None:
    faults = "".join(fault(kind, at_s=0.2 + 0.5 * n, for_s=0.3) for n, kind in enumerate(CameraFaultKind))
    run = Watched(tmp_path, faults, 64)
    run.laws_hold()
    assert sum(kind == "scenario" for kind, _ in run.events) == len(CameraFaultKind)
    assert Counter(run.kinds) == Counter(kind for kinds in EVENTS.values() for kind in kinds)
    assert run.summary.rejected_by_reason == dict.fromkeys(REASONS.values(), 3)
    assert run.summary.captured == 64 - 2 * 3


def test_a_live_run_loses_its_camera_and_comes_back(tmp_path: Path) -> None:
    run = Watched(
        tmp_path, fault(CameraFaultKind.UNPLUG, 0.2, 0.3), 20, policy=QUICK, address=f"{SLIDE}&fps=20"
    )
    run.laws_hold()
    assert run.kinds[0] == "lost"
    assert "refused" in run.kinds
    assert run.kinds[-1] == "back"
    assert run.summary.captured == 20 - 6
    assert not [thread for thread in threading.enumerate() if thread.name == "newest-frame"]


def test_a_camera_that_stays_unplugged_ends_the_run(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(fault(CameraFaultKind.UNPLUG, 0.2, 1000))
    uri = f"virtual://?scenario={tmp_path / 's.toml'}&{SLIDE}"
    policy = ReconnectPolicy(first_wait_s=0.01, tries=2)
    with open_camera(uri, policy) as source, create_session(tmp_path / "s.db", {}) as session:
        with pytest.raises(CameraError, match="cannot be opened: got unplugged for another"):
            run(source, Engine(Large(), FieldTracker()), session, stop=threading.Event())
        assert session.summary is not None
        assert (session.summary.captured, session.summary.processed) == (2, 2)
    with read_session(tmp_path / "s.db") as reader:
        kinds = [row["kind"] for row in reader.rows("events")]
    assert kinds == ["scenario", "lost", "trying", "refused", "trying", "abandoned", "error"]


def items(folder: Path, scenario: str, **keys: float) -> list[Any]:
    (folder / "s.toml").write_text(scenario)
    options = {"width": 320, "height": 240, "px_per_um": 8, "frames": 6} | keys
    query = "&".join(f"{key}={value}" for key, value in options.items())
    with open_source(f"virtual://?scenario={folder / 's.toml'}&{query}") as source:
        return [item for item in source.frames() if not isinstance(item, SourceEvent)]


class TestCamera:
    def test_the_same_scenario_gives_the_same_frames(self, tmp_path: Path) -> None:
        scenario = "".join(
            fault(kind, 0.1, 0.3)
            for kind in CameraFaultKind
            if kind not in {CameraFaultKind.UNPLUG, CameraFaultKind.STALL}
        )
        once, again = items(tmp_path, scenario), items(tmp_path, scenario)
        for one, other in zip(once, again, strict=True):
            if isinstance(one, Frame):
                assert np.array_equal(one.pixels, other.pixels)
                assert one.truth == other.truth
            else:
                assert one.data == other.data

    def test_without_a_fault_it_is_the_plain_camera(self, tmp_path: Path) -> None:
        with open_source("virtual://?width=320&height=240&px_per_um=8&frames=6") as source:
            plain = [decoded(item) for item in source.frames() if not isinstance(item, SourceEvent)]
        for one, other in zip(items(tmp_path, fault(CameraFaultKind.BLACK, 100, 1)), plain, strict=True):
            assert np.array_equal(one.pixels, other.pixels)
            assert one.truth == other.truth

    @pytest.mark.parametrize("kind", STRENGTHS, ids=lambda kind: kind.value)
    def test_the_extremes_of_strength_are_drawn(self, tmp_path: Path, kind: CameraFaultKind) -> None:
        for strength in STRENGTHS[kind][:2]:
            assert len(items(tmp_path, fault(kind, 0.1, 0.2, strength=strength), frames=3)) == 3

    def test_a_frozen_picture_keeps_its_cells_and_gets_new_times(self, tmp_path: Path) -> None:
        frames = items(tmp_path, fault(CameraFaultKind.FREEZE, 0.2, 0.2))
        assert [np.array_equal(frame.pixels, frames[1].pixels) for frame in frames] == [
            False, True, True, True, False, False,
        ]  # fmt: skip
        assert frames[3].truth == frames[1].truth
        assert [frame.sequence for frame in frames] == list(range(6))
        times = [frame.captured_monotonic for frame in frames]
        assert times == sorted(set(times))

    def test_another_resolution_has_another_scale(self, tmp_path: Path) -> None:
        whole, half = items(tmp_path, fault(CameraFaultKind.RESOLUTION, 0.1, 9), seed=3, frames=2)
        assert half.pixels.shape == (120, 160, 3)
        assert (whole.px_per_um, half.px_per_um) == (8, 4)
        assert all(cell.x < 200 and cell.radius_px < 40 for cell in half.truth)

    def test_dust_stays_where_it_is_while_the_field_moves(self, tmp_path: Path) -> None:
        clean = items(tmp_path, fault(CameraFaultKind.DUST, 100, 1))
        dusty = items(tmp_path, fault(CameraFaultKind.DUST, 0, 9, strength=3))
        shades = [np.asarray(d.pixels, int) - c.pixels < -60 for c, d in zip(clean, dusty, strict=True)]
        always = np.logical_and.reduce([shade[..., 1] for shade in shades])
        assert always.sum() > 10

    def test_the_lamp_drifts(self, tmp_path: Path) -> None:
        frames = items(tmp_path, fault(CameraFaultKind.LAMP, 0, 0.5, strength=0.5))
        means = [float(np.median(frame.pixels[..., 0])) for frame in frames]
        assert means[:5] == sorted(means[:5], reverse=True)
        assert means[4] < 0.7 * means[0]
        assert means[5] > 0.9 * means[0]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[[fault]", r"bad scenario .*s.toml: got "),
        ("[[faults]]\nkind = 'black'", "unknown field `faults`"),
        (
            fault(CameraFaultKind.BLACK) + "how = 1",
            r"unknown field `how` - at `\$.fault\[0\]`, allowed kind \(stain",
        ),
        ("[[fault]]\nkind = 'melt'\nat_s = 1\nfor_s = 1", r"Invalid enum value 'melt' .*, allowed kind"),
        ("[[fault]]\nkind = 'black'\nat_s = 1", "missing required field `for_s`"),
        (fault(CameraFaultKind.BLACK, at_s=-1), "at_s of black from 0 to 1e6, got -1"),
        (fault(CameraFaultKind.BLACK, for_s=0), "for_s of black from 0.001 to 1e6, got 0"),
        (fault(CameraFaultKind.BLACK, at_s=math.nan), "at_s of black from 0 to 1e6, got nan"),
        (fault(CameraFaultKind.FREEZE, strength=1), "expected no strength of freeze, got 1"),
        (fault(CameraFaultKind.LAMP, strength=9), r"strength of lamp \(brightness .*\) from 0 to 3, got 9"),
        (
            fault(CameraFaultKind.LAMP) + fault(CameraFaultKind.LAMP, at_s=0.6),
            "lamp at 0.6 s after the one before",
        ),
    ],
)
def test_a_bad_scenario_is_refused_in_one_sentence(tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(UsageError, match=match) as caught:
        open_source(f"virtual://?scenario={tmp_path / 's.toml'}")
    assert "s.toml" in str(caught.value)
    assert str(caught.value).endswith('; write it like [[fault]] kind = "freeze" at_s = 2.0 for_s = 1.5')


def test_a_missing_scenario(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: got No such file or directory"):
        open_source(f"virtual://?scenario={tmp_path}/none.toml")
