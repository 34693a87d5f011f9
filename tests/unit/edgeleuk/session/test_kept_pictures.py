"""Which pictures of cells a session keeps, and what is said where they were left out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sessions import CROP, PIXELS, record, summary

from edgeleuk.counting.doubt import draw
from edgeleuk.frames import CellCrop
from edgeleuk.results import Decision, Prediction
from edgeleuk.results.kinds import Kind
from edgeleuk.review import ReviewDesk
from edgeleuk.review.queue import Why
from edgeleuk.session import create_session, read_session, resume_session
from edgeleuk.session.pictures import THUMBNAIL_PX, as_png, decode_crop, encode_crop, pack_crop, thumbnail_of
from edgeleuk.session.verify import verify_session

if TYPE_CHECKING:
    from pathlib import Path

    from outcome import Call

SURE, SURE_NORMAL = Prediction(Decision.BLAST, 0.99), Prediction(Decision.NORMAL, 0.01)
UNCERTAIN = Prediction(Decision.UNCERTAIN, 0.55, "probability between 0.5 and 0.7")
UNLIKE = Prediction(Decision.UNCERTAIN, 0.99, "unlike the training cells", foreign=True)
NEAR = Prediction(Decision.BLAST, 0.7)
OF_A_KIND = Prediction(Decision.OTHER, 0.1, None, False, Kind.NEUTROPHIL, 0.95)
DOUBTFUL_KIND = Prediction(Decision.OTHER, 0.1, None, False, Kind.NEUTROPHIL, 0.6)


def kept_of(path: Path) -> list[int]:
    with read_session(path) as reader:
        return [int(str(row["track"])) for row in reader.rows("cells", thumbnails=True) if row["crop"]]


def made(path: Path, which: str, predictions: list[Prediction]) -> Path:
    with create_session(path, {"camera": "test://", "pictures": which}) as session:
        for number, prediction in enumerate(predictions):
            record(session, number, prediction)
        session.finish(summary(path))
    assert verify_session(path).broken is None
    return path


@pytest.mark.parametrize(("which", "kept"), [("all", [0, 1, 2]), ("none", [])])
def test_all_or_none(tmp_path: Path, which: str, kept: list[int]) -> None:
    assert kept_of(made(tmp_path / "s.db", which, [SURE, UNCERTAIN, UNLIKE])) == kept


def test_doubtful_ones_and_a_sample_of_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeleuk.session.kept_pictures.SAMPLE", 2)
    doubtful = [UNCERTAIN, UNLIKE, NEAR, DOUBTFUL_KIND]
    predictions = [*doubtful, *[SURE, SURE_NORMAL, OF_A_KIND] * 20, *doubtful]
    path = made(tmp_path / "s.db", "doubtful", predictions)
    kept = set(kept_of(path))
    assert {0, 1, 2, 3, 64, 65, 66, 67} <= kept
    assert len(kept) < 40
    with ReviewDesk(path) as desk:
        seed = desk.seed
    for first in (4, 5, 6):
        of_a_name = range(first, 64, 3)
        assert set(sorted(of_a_name, key=lambda track: draw(seed, track))[:2]) <= kept


def test_a_resumed_session_goes_on_with_its_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeleuk.session.kept_pictures.SAMPLE", 2)
    path, settings = tmp_path / "s.db", {"pictures": "doubtful"}
    for part in range(3):
        with resume_session(path, settings) as session:
            for number in range(10 * part, 10 * part + 10):
                record(session, number, NEAR if number % 3 == 0 else SURE)
    with ReviewDesk(path) as desk:
        seed = desk.seed
    sure = [number for number in range(30) if number % 3]
    assert set(sorted(sure, key=lambda track: draw(seed, track))[:2]) <= set(kept_of(path))
    assert set(range(0, 30, 3)) <= set(kept_of(path))


def test_other_pictures_from_here_on_are_told(tmp_path: Path) -> None:
    path = made(tmp_path / "s.db", "all", [SURE])
    with resume_session(path, {"camera": "test://", "pictures": "none"}) as session:
        record(session, 1)
    with read_session(path) as reader:
        (event,) = reader.rows("events")
    assert event["text"] == "the run goes on, from here on with --pictures none"
    assert kept_of(path) == [0]


class TestSaid:
    """What keeps no picture says so."""

    @pytest.fixture(params=["doubtful", "none"])
    def session(self, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
        return made(tmp_path / "s.db", request.param, [SURE] * 3)

    def test_report_and_page(self, edgeleuk: Call, session: Path, tmp_path: Path) -> None:
        with read_session(session) as reader:
            which = reader.settings["pictures"]
        told = edgeleuk("report", session, "--html", tmp_path / "page.html")
        assert f"(--pictures {which})" in told.out
        assert json.loads(edgeleuk("report", session, "--json").out)["pictures"].endswith(f"{which})")
        assert f"(--pictures {which})" in (tmp_path / "page.html").read_text(encoding="utf-8")

    def test_replay(self, edgeleuk: Call, tmp_path: Path) -> None:
        from edgeleuk.bundle.reading import read_bundle

        path = tmp_path / "none.db"
        facts: dict[str, object] = {
            "bundle_sha256": read_bundle("default").sha256,
            "pictures": "none",
            "abstain": "band",
        }
        facts |= {"runtime": "litert", "precision": "int8", "threads": 1}
        with create_session(path, facts) as session:
            record(session, 0)
        told = edgeleuk("replay", path, "--cell", "0")
        assert told.code == 2
        assert (
            "cell 0 cannot be judged again: the session keeps no pictures of cells (--pictures none)"
            in told.err
        )

    def test_export(self, edgeleuk: Call, tmp_path: Path) -> None:
        path = made(tmp_path / "none.db", "none", [SURE] * 2)
        told = edgeleuk("export", path, "--coco", tmp_path / "out")
        assert told.code == 4
        assert "no cell with a picture: got 2 cells without, as the session keeps no pictures" in told.err
        assert edgeleuk("export", path, "--csv").out.count("blast") == 2

    def test_an_export_of_some(self, edgeleuk: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("edgeleuk.session.kept_pictures.SAMPLE", 0)
        path = made(tmp_path / "some.db", "doubtful", [SURE, UNCERTAIN])
        told = edgeleuk("export", path, "--coco", tmp_path / "out")
        assert told.code == 0
        assert "left out  1 cells without a picture in the session: the session keeps pictures" in told.out

    def test_review_shows_none_and_forgets_none(self, tmp_path: Path) -> None:
        path = made(tmp_path / "none.db", "none", [SURE, UNCERTAIN])
        with ReviewDesk(path) as desk:
            assert desk.queue("A") == []
            assert [desk.why(track) for track in (0, 1)] == [Why.NO_PICTURE] * 2


def test_a_review_draws_its_sample_from_the_kept_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeleuk.session.kept_pictures.SAMPLE", 3)
    path = made(tmp_path / "s.db", "doubtful", [SURE] * 40 + [NEAR])
    with ReviewDesk(path) as desk:
        shown = [cell.track for cell in desk.queue("A")]
        assert shown[0] == 40
        # The sample speaks for all cells that were called so surely, with a picture or not.
        in_turn = sorted(range(40), key=lambda track: draw(desk.seed, track))
        assert shown[1:4] == in_turn[:3]
        assert all(desk.why(track) is Why.SAMPLE for track in range(40))
        assert set(shown) == set(kept_of(path))


def test_of_many_doubtful_cells_a_sample_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeleuk.session.kept_pictures.MOST_DOUBTFUL", 4)
    path = made(tmp_path / "s.db", "doubtful", [NEAR, UNCERTAIN, UNLIKE] * 30)
    kept = set(kept_of(path))
    assert len(kept) < 60
    with ReviewDesk(path) as desk:
        for first, reason in enumerate((Why.NEAR, Why.UNCERTAIN, Why.UNLIKE)):
            of_a_reason = range(first, 90, 3)
            assert {desk.why(track) for track in of_a_reason} == {reason}
            assert set(sorted(of_a_reason, key=lambda track: draw(desk.seed, track))[:4]) <= kept
        # No more is asked for than can be shown.
        assert desk.state().asked == len(kept)


def test_a_later_doubtful_view_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from edgeleuk.frames import Box
    from edgeleuk.results import FrameResult
    from edgeleuk.session import JudgedCell

    monkeypatch.setattr("edgeleuk.session.kept_pictures.SAMPLE", 0)
    path = tmp_path / "s.db"
    with create_session(path, {"pictures": "doubtful"}) as session:
        result = FrameResult(0, 1e9, "test://", 640, 480, 13.0, (), (), (), 1.0)
        view = JudgedCell(7, Box(0, 0, 9, 9), 1, 1, 1.0, 1.0, SURE, CROP)
        for number, (prediction, agreed) in enumerate(
            [(SURE, None), (SURE, SURE), (UNCERTAIN, SURE), (SURE, SURE)]
        ):
            judged = replace(view, prediction=prediction, agreed=agreed)
            session.record_frame(replace(result, sequence=number), [judged])
    with read_session(path) as reader:
        assert [row["crop"] is not None for row in reader.views(7)] == [False, False, True, True]
        crop = reader.cell(7)["crop"]
    assert isinstance(crop, bytes)
    with ReviewDesk(path) as desk:
        assert desk.call(7).has_picture


@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 1000),
    share=st.floats(0, 1),
)
def test_a_packed_crop_is_the_crop(shape: tuple[int, int], seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (*shape, 3), np.uint8)
    # What is around the cell may be seen, too.
    mask = np.where(rng.random(shape) < share, 255, 0).astype(np.uint8)
    for encode in (pack_crop, encode_crop):
        found = decode_crop(encode(CellCrop(pixels, mask, 8.5)), 8.5)
        assert (found.pixels == pixels).all()
        assert (found.mask == mask).all()
    again = decode_crop(as_png(pack_crop(CellCrop(pixels, mask, 8.5))), 8.5)
    assert (again.pixels == pixels).all()


def test_a_crop_is_kept_in_fewer_bytes(tmp_path: Path) -> None:
    smooth = np.repeat(np.arange(60, 180, dtype=np.uint8)[None, :, None], 90, 0).repeat(3, 2)
    noise = np.random.default_rng(1).integers(-2, 3, smooth.shape)
    crop = CellCrop((smooth + noise).astype(np.uint8), CROP.mask, 13.0)
    assert len(pack_crop(crop)) < 0.8 * len(encode_crop(crop))
    # Any viewer shows it.
    (tmp_path / "cell.webp").write_bytes(pack_crop(crop))
    import cv2

    assert (cv2.imread(str(tmp_path / "cell.webp"))[:, :, ::-1] == crop.pixels).all()


def test_what_is_damaged_is_told_from_a_crop() -> None:
    whole = pack_crop(CROP)
    for damaged in (whole[:-1], whole[:40], whole + b"x" * 3, b"RIFF", whole[:20] + b"\0" * 400):
        try:
            found = decode_crop(damaged, 1.0)
        except (ValueError, TypeError, IndexError):
            continue
        assert found.mask.shape == CROP.mask.shape


def test_a_thumbnail_is_made_of_the_crop_or_is_the_one_of_before() -> None:
    made_now = thumbnail_of({"crop": pack_crop(CROP)})
    assert made_now is not None
    assert made_now[:2] == b"\xff\xd8"
    assert thumbnail_of({"crop": None}) is None
    assert thumbnail_of({"crop": None, "thumbnail": b"before"}) == b"before"
    assert max(PIXELS.shape[:2]) > THUMBNAIL_PX
