"""`run --save-video`: every judged field stands in the film, however the run ends."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgeleuk.commands.save_video import LEAST_STEP_MS, MOST_STEP_MS, AnnotatedVideo
from edgeleuk.errors import UsageError
from edgeleuk.results import FrameResult

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from outcome import Outcome

RUN = ("run", "--camera", "virtual://?seed=3&width=320&height=240", "--runtime", "litert")
RESULT = FrameResult(0, 100.0, "test", 65, 49, 6.6, (), (), (), 0.0)


def shown_ms(path: Path) -> list[int]:
    """Return when each picture of a film is shown; every one is decoded."""
    import av

    with av.open(str(path)) as film:
        return [round(frame.time * 1000) for frame in film.decode(video=0)]


def test_every_judged_field_stands_in_the_film(edgeleuk: Callable[..., Outcome], tmp_path: Path) -> None:
    outcome = edgeleuk(*RUN, "--frames", 3, "--session", "s.db", "--save-video", "s.mp4", "--json")
    assert outcome.code == 0, outcome.err
    assert len(shown_ms(tmp_path / "s.mp4")) == json.loads(outcome.out)["frames"]["processed"] == 3
    assert "video     s.mp4" in outcome.err
    again = edgeleuk(*RUN, "--frames", 4, "--session", "s.db", "--resume", "--save-video", "s.mp4")
    assert again.code == 2
    assert "s.mp4 is there already, and a film cannot go on; choose another --save-video" in again.err
    assert len(shown_ms(tmp_path / "s.mp4")) == 3


def test_times_are_those_of_capture_within_bounds(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with AnnotatedVideo(path, simulated=False) as film:
        for at in (100.0, 100.0, 100.5, 999.0):
            film.seen(replace(RESULT, captured_at=at), np.full((49, 65, 3), 200, np.uint8))
        # A camera that came back with another size.
        film.seen(replace(RESULT, captured_at=999.2), np.full((98, 130, 3), 200, np.uint8))
    steps = [LEAST_STEP_MS, 500, MOST_STEP_MS, 200]
    assert shown_ms(path) == [sum(steps[:n]) for n in range(5)]
    # What edgeleuk made, it may make again.
    AnnotatedVideo(path, simulated=False).close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["terminated", "killed"])
def test_a_run_that_is_ended_leaves_a_film_that_plays(tmp_path: Path, number: signal.Signals) -> None:
    # By the second, the film may be ahead of the session.
    words = [*RUN, "--session", "s.db", "--durability", "frame", "--save-video", "s.mp4", "--json"]
    with subprocess.Popen(
        [sys.executable, "-m", "edgeleuk", *words],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        path = tmp_path / "s.mp4"
        for _ in range(600):
            if path.exists() and path.stat().st_size > 20_000:
                break
            time.sleep(0.05)
        process.send_signal(number)
        assert process.stderr is not None
        said = process.stderr.read()
    assert ("video     s.mp4" in said) is (number is signal.SIGTERM), said
    frames = len(shown_ms(path))
    with sqlite3.connect(tmp_path / "s.db") as session:
        (judged,) = session.execute("SELECT count(*) FROM frames").fetchone()
    session.close()
    # A kill may come between the session's field and the film's, and what the film's last field waits for.
    assert 1 <= judged - 2 * (number is signal.SIGKILL) <= frames <= judged


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("a.avi", "wrong ending of --save-video: got a.avi, allowed NAME.mp4"),
        ("none/a.mp4", "the folder of the video does not exist"),
        ("mine.mp4", "mine.mp4 exists, and edgeleuk did not make it"),
    ],
)
def test_a_bad_place_is_refused_before_the_run(
    edgeleuk: Callable[..., Outcome], tmp_path: Path, name: str, sentence: str
) -> None:
    (tmp_path / "mine.mp4").write_bytes(b"precious")
    outcome = edgeleuk(*RUN, "--frames", 1, "--save-video", name)
    assert (outcome.code, outcome.out) == (2, "")
    assert sentence in outcome.err
    assert (tmp_path / "mine.mp4").read_bytes() == b"precious"
    assert not list(tmp_path.glob("*.db"))


def test_a_film_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    film = AnnotatedVideo(tmp_path / "a.mp4", simulated=False)
    (tmp_path / "a.mp4").mkdir()
    with pytest.raises(UsageError, match=r"a\.mp4 cannot be written"):
        film.seen(RESULT, np.zeros((49, 65, 3), np.uint8))
    film.close()
