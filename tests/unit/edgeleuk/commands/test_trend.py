"""``edgeleuk trend``: which sessions it takes, what it says of the others, and what it prints and writes."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from trend_stand import stand
from typer.testing import CliRunner
from weeks import AGED, DAY_S, SOUND, START, one_session, weeks

from edgeleuk.cli.app import app
from edgeleuk.commands.control import add_control
from edgeleuk.commands.trend import TrendOptions, find_sessions, trend
from edgeleuk.control.trend_text import MOST_ROWS, trend_text
from edgeleuk.control.trends import judge_trends
from edgeleuk.errors import DataRefusedError, EdgeleukError, UsageError
from edgeleuk.session import read_session

if TYPE_CHECKING:
    from pathlib import Path

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def aged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of sessions, the lamp of which ages."""
    folder = tmp_path_factory.mktemp("aged")
    weeks(folder, AGED)
    return folder


def test_a_lamp_that_ages_is_named_in_lines_json_and_by_the_exit_code(aged: Path) -> None:
    said = RUNNER.invoke(app, ["trend", str(aged)])
    assert said.exit_code == 3
    (verdict,) = [line for line in said.stdout.splitlines() if line.startswith("verdict")]
    assert verdict == "verdict   DRIFT: light DOWN since 2026-01-10"
    (light,) = [line for line in said.stdout.splitlines() if line.startswith("  light")]
    assert "DOWN since 2026-01-10 (day9.db): 2" in light
    assert "; at this pace fields are rejected for it from 2026-0" in light
    told = json.loads(RUNNER.invoke(app, ["trend", str(aged), "--json"]).stdout)
    assert told["drifting"]
    assert [one["session"] for one in told["sessions"]] == [f"day{day}.db" for day in range(len(AGED))]
    (drifting,) = [one for one in told["setups"][0]["measures"] if one["state"] == "drifting"]
    assert (drifting["measure"], drifting["drifts"][0]["since"]) == ("light", "day9.db")


def test_a_sound_stand_is_steady(tmp_path: Path) -> None:
    weeks(tmp_path, SOUND)
    said = RUNNER.invoke(app, ["trend", str(tmp_path)])
    assert said.exit_code == 0
    assert "verdict   steady\n" in said.stdout


def test_the_working_folder_is_what_a_missing_one_means(aged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(aged)
    assert "DRIFT" in RUNNER.invoke(app, ["trend"]).stdout


def test_sessions_that_cannot_be_read_are_named_and_skipped(tmp_path: Path) -> None:
    weeks(tmp_path, SOUND[:6])
    (tmp_path / "broken.db").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    (tmp_path / "empty.db").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no session")
    result = trend([tmp_path])
    assert len(result.sessions) == 6
    assert {one.file.rsplit("/", 1)[1] for one in result.skipped} == {"broken.db", "empty.db"}
    text = trend_text(result)
    assert text.count("\nskipped   ") == 2
    assert "notes.txt" not in text


def test_a_session_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    first, *_ = weeks(tmp_path, SOUND[:6])
    shutil.copy(first, tmp_path / "z-copy.db")
    result = trend([tmp_path, first])
    assert len(result.sessions) == 6
    assert result.notes == ["z-copy.db is the same session as day0.db, and counts once"]


def test_a_clock_that_was_not_set_is_said(tmp_path: Path) -> None:
    weeks(tmp_path, SOUND[:6])
    one_session(tmp_path / "day6.db", 100.0, 210.0)
    result = trend([tmp_path])
    assert [one.session for one in result.sessions] == [f"day{day}.db" for day in range(7)]
    assert result.sessions[-1].recorded_at is None
    assert "order of their names" in result.notes[0]
    assert "clock not set" in trend_text(result)


def test_control_slides_are_told_from_other_sessions(tmp_path: Path) -> None:
    sessions = weeks(tmp_path, SOUND[:6])
    file = tmp_path / "control.json"
    add_control(sessions[:2], file, "lot-7")
    result = trend([tmp_path], TrendOptions(control=file))
    assert [(setup.slide, setup.sessions) for setup in result.setups] == [("lot-7", 2), (None, 4)]
    assert "control slide lot-7, bundle default" in trend_text(result)


def test_the_last_days_alone_are_shown_and_are_judged_by_all(aged: Path) -> None:
    result = trend([aged], TrendOptions(last="3d"))
    assert [one.session for one in result.sessions] == [f"day{day}.db" for day in range(12, 16)]
    assert result.drifting
    assert result.notes == ["12 earlier sessions are not shown; the others are held against them, too"]


def test_the_time_of_repair_begins_a_baseline(aged: Path) -> None:
    result = trend([aged], TrendOptions(mended=["2026-01-10"]))
    assert [setup.sessions for setup in result.setups] == [9, 7]
    assert result.setups[1].began == "something was mended"


def test_many_sessions_are_cut_in_the_lines_alone() -> None:
    result = judge_trends(stand(np.random.default_rng(0), MOST_ROWS + 2))
    lines = trend_text(result).splitlines()
    assert "... 2 earlier sessions; --json and --html have them all" in lines
    assert sum(line.startswith("session") for line in lines) == MOST_ROWS + 1


def test_a_page_is_written_and_takes_the_place_of_ours_alone(aged: Path, tmp_path: Path) -> None:
    page = tmp_path / "trend.html"
    for _ in range(2):
        trend([aged], TrendOptions(html=page))
    text = page.read_text()
    assert "Quality over weeks" in text
    assert text.count("<svg") == text.count('role="img"') >= 8
    assert "http" not in text.replace("http://stand/stream", "")
    page.write_text("somebody's own page")
    with pytest.raises(UsageError, match="--html"):
        trend([aged], TrendOptions(html=page))
    assert page.read_text() == "somebody's own page"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (TrendOptions(last="30"), "--last is no span of time: got '30', allowed hours, days or weeks"),
        (TrendOptions(last="0d"), "--last is no span of time"),
        (TrendOptions(mended=["spring"]), "--mended is no date: got 'spring', allowed ISO 8601"),
    ],
)
def test_spans_and_dates_that_are_none_are_refused(aged: Path, options: TrendOptions, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        trend([aged], options)


def test_without_a_session_it_says_so_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataRefusedError, match=r"^there are no sessions \(\*\.db\) in .*; pass the folder"):
        trend([tmp_path])
    with pytest.raises(UsageError, match="there is no such session or folder"):
        trend([tmp_path / "missing"])
    (tmp_path / "broken.db").write_bytes(b"nothing")
    with pytest.raises(DataRefusedError, match="none of the 1 sessions could be read"):
        trend([tmp_path])
    said = RUNNER.invoke(app, ["trend", str(tmp_path)])
    assert isinstance(said.exception, EdgeleukError)
    assert said.exception.exit_code == 4


def test_the_last_days_need_a_clock(tmp_path: Path) -> None:
    one_session(tmp_path / "a.db", 100.0, 210.0)
    with pytest.raises(DataRefusedError, match="no session was recorded with a clock that was set"):
        trend([tmp_path], TrendOptions(last="3d"))


def test_folders_are_searched_below_too(tmp_path: Path) -> None:
    (tmp_path / "may").mkdir()
    path = one_session(tmp_path / "may" / "a.db", START + DAY_S, 210.0)
    assert find_sessions([tmp_path, path]) == [path]


def test_cells_are_spread_over_the_whole_session(tmp_path: Path) -> None:
    path = one_session(tmp_path / "a.db", START, 210.0, cells=50)
    with read_session(path) as reader:
        assert reader.spread_tracks(5) == [0, 12, 24, 36, 49]
        assert reader.spread_tracks(400) == list(range(50))
    none = one_session(tmp_path / "b.db", START, 210.0, cells=0)
    with read_session(none) as reader:
        assert reader.spread_tracks(5) == []
