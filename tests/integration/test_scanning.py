"""A scan over real transports: the camera is served over HTTP, the stage moves what it shows."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from sessions import record
from virtual_stage import VirtualStage

from edgeleuk.commands.run import RunOptions
from edgeleuk.commands.scan import StoppableStage, earlier_scan_in, parse_area, scan
from edgeleuk.errors import HardwareError, InterruptedBeforeRecordError, SessionError, UsageError
from edgeleuk.io.console import lose_voice, set_voice
from edgeleuk.io.settings import RunSettings
from edgeleuk.session import create_session, read_session
from edgeleuk.session.open import resume_session
from edgeleuk.session.report import report_text, session_report
from edgeleuk.stage.base import ScanField
from edgeleuk.stage.resuming import field_source
from edgeleuk.stage.scanning import ScanPlan
from edgeleuk.virtual.microscope import Stand, VirtualMicroscope
from edgeleuk.virtual.render import VirtualSlide
from edgeleuk.virtual.serving import MjpegServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgeleuk.results import SessionSummary

SIXTEEN = [ScanField(number, 0, number, 0.0, 0.0) for number in range(16)]
PLAN = ScanPlan(125.0, 90.0)
SETTINGS = RunSettings()


class Fragile(VirtualStage):
    """Stops moving after so many moves, as a cable does that somebody pulls; or somebody ends the scan."""

    moves_left = 10**9
    ends_by: signal.Signals | None = None

    def move(self, x_um: float | None = None, y_um: float | None = None, z_um: float | None = None) -> None:
        self.moves_left -= 1
        if self.moves_left == 0 and self.ends_by is not None:
            os.kill(os.getpid(), self.ends_by)
        elif self.moves_left < 0 and self.ends_by is None:
            raise HardwareError("the stage does not answer")
        super().move(x_um, y_um, z_um)


@pytest.fixture
def stand() -> Iterator[tuple[Fragile, str]]:
    microscope = VirtualMicroscope(
        VirtualSlide(4, white_cells_per_field=8.0),
        Stand(focus_um=3.0, tilt_x=0.005, backlash_um=2.0, turned_degrees=3.0),
        640,
        480,
    )
    stage = Fragile(microscope, take_out_um=5.0)
    with MjpegServer(lambda: stage().pixels, "127.0.0.1", 0, fps=25.0) as server:
        yield stage, f"http://127.0.0.1:{server.port}/stream"


def test_a_scan_is_one_session_and_one_picture_and_goes_on(
    stand: tuple[Fragile, str], tmp_path: Path
) -> None:
    stage, camera = stand
    path, picture = tmp_path / "s.db", tmp_path / "slide.png"

    def part(moves: int, ends_by: signal.Signals | None, *, resume: bool) -> tuple[SessionSummary, object]:
        stage.moves_left, stage.ends_by = moves, ends_by
        options = RunOptions(path, picture=picture, resume=resume)
        return scan(camera, "default", SETTINGS, stage, PLAN, options)

    summary, error = part(60, None, resume=False)
    assert isinstance(error, HardwareError)
    assert 0 < summary.processed < 13
    rejected_twice = out_of_focus(path, summary.captured)
    # Whatever ended it has left the lens far from the slide.
    stage.moves_left = 10**9
    stage.move(z_um=-40.0)
    before = summary.processed
    summary, error = part(40, signal.SIGTERM, resume=True)
    assert (error, summary.ended) == (None, "stopped by the user")
    assert before <= summary.processed < 16
    summary, error = part(10**9, None, resume=True)
    assert error is None
    fields = 16
    assert (summary.processed, summary.rejected) == (fields, rejected_twice)
    assert summary.px_per_um == pytest.approx(13.0, rel=0.01)
    assert summary.unique > 3
    # The camera says so.
    assert summary.simulated
    assert "SIMULATED" in report_text(session_report(path))
    with read_session(path) as reader:
        assert reader.verify().broken is None
        assert [row["sequence"] for row in reader.rows("frames")] == list(range(fields + rejected_twice))
    assert earlier_scan_in(path).left(SIXTEEN) == []  # type: ignore[union-attr]
    drawn = cv2.imread(str(picture))
    assert drawn.shape[1] > 1000
    # Every field is in it, those of the first part, too.
    assert np.mean(drawn[:1000] == 245) < 0.1


def out_of_focus(path: Path, first: int) -> int:
    """Reject the next two fields, as a lens that was left somewhere does."""
    with read_session(path) as reader:
        settings = reader.settings
    with resume_session(path, settings) as session:
        for number in (first, first + 1):
            session.record_rejected(
                number, 1.7e9, field_source(str(settings["camera"]), number), "out of focus"
            )
    return 2


def test_a_scan_that_is_ended_before_its_first_field_leaves_a_session_in_order(
    stand: tuple[Fragile, str], tmp_path: Path
) -> None:
    stage, camera = stand
    stage.moves_left, stage.ends_by = 4, signal.SIGTERM
    path, picture = tmp_path / "s.db", tmp_path / "slide.png"
    options = RunOptions(path, picture=picture)
    summary, error = scan(camera, "default", SETTINGS, stage, PLAN, options)
    assert isinstance(error, InterruptedBeforeRecordError)
    assert (summary.captured, summary.ended) == (0, "stopped by the user")
    assert not picture.exists()
    with read_session(path) as reader:
        assert reader.summary is not None
    # Nothing was begun that could be gone on with.
    assert earlier_scan_in(path) is None


def test_a_stage_that_nobody_would_stop_any_more_ends_the_scan(
    stand: tuple[Fragile, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that stops the stage has crashed: the scan ends, and says so."""
    stage, camera = stand
    stage.moves_left = 10**9

    def crash(_: StoppableStage) -> None:
        raise LookupError

    monkeypatch.setattr(StoppableStage, "_watch", crash)
    set_voice(quiet=True)
    try:
        _, error = scan(camera, "default", SETTINGS, stage, PLAN, RunOptions(tmp_path / "s.db", draw=False))
    finally:
        lose_voice()
    assert error is not None
    assert (error.what, error.exit_code) == ("the thread stage-stop crashed by LookupError", 1)
    with read_session(tmp_path / "s.db") as reader:
        assert [str(row["text"]) for row in reader.rows("events") if row["kind"] == "error"] == [error.what]


class TestRefusals:
    @pytest.mark.parametrize("text", ["", "5", "5x", "axb", "5x5x5"])
    def test_an_area_that_cannot_be_read(self, text: str) -> None:
        with pytest.raises(UsageError, match=r"the area to scan cannot be read: got .*allowed WxH"):
            parse_area(text)

    def test_a_session_that_is_no_scan(self, tmp_path: Path) -> None:
        with create_session(tmp_path / "s.db", {}) as session:
            assert earlier_scan_in(tmp_path / "s.db") is None
            record(session, 0)
        with pytest.raises(SessionError, match=r"s\.db is no session of a scan"):
            earlier_scan_in(tmp_path / "s.db")

    def test_another_area(self, tmp_path: Path) -> None:
        with create_session(tmp_path / "s.db", {}) as session:
            session.record_event(
                "scan", '{"start_um": [0, 0], "matrix": [[13, 0], [0, 13]], "plan": [100, 100, 0.3]}'
            )
        stage = VirtualStage(VirtualMicroscope(VirtualSlide(1)))
        with pytest.raises(UsageError, match=r"begun over another area: got 0\.125x0\.09 mm"):
            scan(
                "virtual://",
                "default",
                SETTINGS,
                stage,
                PLAN,
                RunOptions(tmp_path / "s.db", resume=True),
            )

    def test_a_port_that_is_taken(self) -> None:
        with (
            MjpegServer(lambda: None, "127.0.0.1", 0) as server,  # type: ignore[arg-type,return-value]
            pytest.raises(HardwareError, match="cannot be served on 127"),
        ):
            MjpegServer(lambda: None, "127.0.0.1", server.port)  # type: ignore[arg-type,return-value]
