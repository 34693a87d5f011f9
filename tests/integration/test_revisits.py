"""A part of the slide that is seen again after a long way elsewhere: its cells are counted once."""

from __future__ import annotations

import shutil
import threading
from typing import TYPE_CHECKING

import cv2
import pytest

from edgeleuk.capture import open_source
from edgeleuk.pipeline.engine import Engine
from edgeleuk.pipeline.run import PipelineOptions, run
from edgeleuk.results import Decision, Prediction
from edgeleuk.session import read_session
from edgeleuk.session.open import resume_session
from edgeleuk.virtual.render import VirtualSlide
from edgeleuk.vision import tracking
from edgeleuk.vision.tracking import FieldTracker

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeleuk.frames import CellCrop
    from edgeleuk.results import SessionSummary

WIDTH, HEIGHT, SCALE = 640, 480, 13.0
STEP = WIDTH / SCALE * 0.6
ROW = [(column * STEP, 0.0) for column in range(8)]
ELSEWHERE = [(5000 + 1.5 * column * STEP, 3000.0) for column in range(20)]


class Normal:
    """Calls every cell normal."""

    def classify(self, crops: Sequence[CellCrop]) -> list[Prediction]:
        return [Prediction(Decision.NORMAL, 0.1, "")] * len(crops)

    def consensus(self, views: Sequence[Prediction]) -> Prediction:
        return views[0]


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of a row, of fields elsewhere, and of the row again, a little beside and backwards."""
    folder = tmp_path_factory.mktemp("slide")
    slide = VirtualSlide(9, white_cells_per_field=8.0)
    again = [(x + 1.5, y - 1.0) for x, y in ROW[::-1]]
    for number, (x, y) in enumerate([*ROW, *ELSEWHERE, *again]):
        field = slide.field(
            x, y, width=WIDTH, height=HEIGHT, exposure=number, lamp=0.96 if number > 27 else 1.0
        )
        cv2.imwrite(str(folder / f"{number:03}.png"), field.pixels[..., ::-1])
    return folder


def watched(pictures: Path, session: Path, frames: int | None = None) -> SessionSummary:
    with resume_session(session, {"camera": "test://"}) as writer, open_source(f"dir://{pictures}") as source:
        tracker = FieldTracker()
        engine = Engine(Normal(), tracker)
        return run(
            source,
            engine,
            writer,
            PipelineOptions(
                px_per_um=SCALE,
                frames=frames,
                resume_from=writer.resume_state(),
                recall=lambda _: tracker.recall(writer.earlier_fields()),
            ),
            stop=threading.Event(),
        )


def only(slide: Path, folder: Path, numbers: range) -> Path:
    folder.mkdir()
    for number in numbers:
        shutil.copy(slide / f"{number:03}.png", folder)
    return folder


def test_a_long_way_elsewhere_and_back(slide: Path, tmp_path: Path) -> None:
    there = watched(only(slide, tmp_path / "there", range(8)), tmp_path / "there.db")
    alone = watched(only(slide, tmp_path / "alone", range(8, 28)), tmp_path / "alone.db")
    whole = watched(slide, tmp_path / "whole.db")
    assert there.unique >= 2
    assert alone.unique >= 5
    # A cell that the border cut the first time may show itself whole the second.
    assert there.unique + alone.unique <= whole.unique <= there.unique + alone.unique + 1


def test_what_a_session_holds_is_told_before_it_is_remembered(slide: Path, tmp_path: Path) -> None:
    session = tmp_path / "s.db"
    first = watched(slide, session, frames=24)
    told: list[SessionSummary] = []
    with resume_session(session, {"camera": "test://"}) as writer, open_source(f"dir://{slide}") as source:
        options = PipelineOptions(
            px_per_um=SCALE,
            frames=25,
            resume_from=writer.resume_state(),
            recall=lambda so_far: told.append(so_far()),
        )
        run(source, Engine(Normal(), FieldTracker()), writer, options, stop=threading.Event())
    (before,) = told
    assert (before.processed, before.counted, before.in_flight) == (24, first.counted, 0)


def test_textures_that_would_be_forgotten_are_not_read(
    slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = tmp_path / "s.db"
    watched(slide, session)

    def with_texture() -> list[int]:
        with resume_session(session, {"camera": "test://"}) as writer:
            return [n for n, field in enumerate(writer.earlier_fields()) if field.placed.texture is not None]

    every = with_texture()
    assert len(every) > 5
    for most in (5, 1):
        monkeypatch.setattr(tracking, "MOST_FIELDS", most)
        assert with_texture() == every[-most:]


def test_resumed_between_the_first_visit_and_the_second(slide: Path, tmp_path: Path) -> None:
    whole = watched(slide, tmp_path / "whole.db")
    watched(slide, tmp_path / "parts.db", frames=24)
    resumed = watched(slide, tmp_path / "parts.db")
    assert resumed.unique == whole.unique
    assert resumed.seen_before == whole.seen_before
    with read_session(tmp_path / "parts.db") as reader:
        assert reader.verify().broken is None
