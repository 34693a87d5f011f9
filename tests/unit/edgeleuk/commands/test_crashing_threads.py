"""Whichever thread of a run crashes, the run ends: with an exit code, an event, and a sound session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import uvicorn

from edgeleuk.capture.virtual import VirtualSource
from edgeleuk.classifier.classifier import Classifier
from edgeleuk.commands import live_view
from edgeleuk.commands.live_view import LiveView
from edgeleuk.fleet.publisher import RunPublisher
from edgeleuk.pipeline.prefetch import LookAhead
from edgeleuk.serve.worker import PageWorker
from edgeleuk.session import read_session
from edgeleuk.session.verify import verify_session

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from outcome import Outcome

SLOW = "virtual://?seed=3&width=320&height=240&fps=20"
SMALL = "virtual://?seed=3&width=320&height=240"
SERVED = ("--serve", "0")


def crash(*_: object, **__: object) -> Any:
    msg = "planted"
    raise LookupError(msg)


def after(calls: int, real: Callable[..., Any]) -> Callable[..., Any]:
    """Do what is really done for some calls, then crash."""
    left = iter(range(calls))

    def does(*words: Any, **more: Any) -> Any:
        if next(left, None) is None:
            crash()
        return real(*words, **more)

    return does


def frames_then_crash(source: Any) -> Any:
    for number, frame in enumerate(REAL_FRAMES(source)):
        if number == 3:
            crash()
        yield frame


REAL_FRAMES = VirtualSource.frames
# The thread -> what crashes in it, on which camera, with which words more.
THREADS: dict[str, tuple[object, str, Any, str, tuple[str, ...]]] = {
    "newest-frame": (VirtualSource, "frames", frames_then_crash, SLOW, ()),
    "look-ahead": (LookAhead, "_seen", after(3, LookAhead._seen), SMALL, ()),
    "beside-the-network": (Classifier, "_measured", after(2, Classifier._measured), SMALL, ()),
    "page-worker": (PageWorker, "_idle_s", after(3, PageWorker._idle_s), SLOW, SERVED),
    "page-server": (uvicorn.Server, "on_tick", after(3, uvicorn.Server.on_tick), SLOW, SERVED),
    "mqtt": (RunPublisher, "_run", crash, SLOW, ("--mqtt", "mqtt://127.0.0.1:9/stand")),
    "display": (LiveView, "line", crash, SLOW, ()),
}
# What hands its error on to the run's own thread, so that the run tells it as its own.
HANDED_ON = ("newest-frame", "look-ahead", "beside-the-network")


@pytest.mark.parametrize("name", THREADS)
def test_a_crash_ends_the_run(
    name: str, edgeleuk: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place, attribute, broken, camera, words = THREADS[name]
    monkeypatch.setattr(place, attribute, broken)
    monkeypatch.setattr(live_view, "LINE_EVERY_S", 0.2)
    session = ("--session", "s.db", "--runtime", "litert")
    done = edgeleuk("run", "--camera", camera, "--no-quality-check", *session, *words)
    assert done.code == 1, done.err
    # Where, for whoever repairs it; and what it was, for whoever reads the session.
    assert "in crash" in done.err
    with read_session(tmp_path / "s.db") as reader:
        told = [str(row["text"]) for row in reader.rows("events") if row["kind"] == "error"]
    assert len(told) == 1
    assert "LookupError" in told[0]
    assert name in HANDED_ON or f"the thread {name} crashed" in told[0]
    assert verify_session(tmp_path / "s.db").broken is None
