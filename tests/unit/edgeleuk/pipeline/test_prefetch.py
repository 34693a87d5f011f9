"""One frame ahead, never two; nothing is lost, and an error waits for its turn."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgeleuk.capture import open_reader
from edgeleuk.errors import CameraError
from edgeleuk.frames import Frame
from edgeleuk.pipeline.engine import Engine
from edgeleuk.pipeline.prefetch import LookAhead
from edgeleuk.pipeline.scale import ScaleKeeper

if TYPE_CHECKING:
    from collections.abc import Iterator


class Source:
    """Five grey frames, and then nothing, an error, or silence."""

    uri = "grey"

    def __init__(self, *, live: bool = False, ends: str = "") -> None:
        self.live = live
        self.ends = ends
        self.given = 0
        self.closed = threading.Event()

    def frames(self) -> Iterator[Frame]:
        for number in range(5):
            self.given += 1
            yield Frame(np.full((60, 80, 3), 200, np.uint8), number, 0.0, 0.0, f"grey {number}")
        if self.ends == "error":
            raise CameraError("the camera died")
        if self.ends == "silence":
            self.closed.wait()

    def close(self) -> None:
        self.closed.set()


def ahead_of(source: Source, first: int = 0) -> LookAhead:
    engine = Engine(None, None)  # type: ignore[arg-type]
    return LookAhead(open_reader(source), engine, ScaleKeeper(2.0, lambda _: None), first, threading.Event())


def take(ahead: LookAhead) -> int | None:
    field = ahead.field(lambda: None)
    return None if field is None else field.sequence


def test_frames_come_in_order_and_one_is_taken_ahead() -> None:
    source = Source()
    with ahead_of(source) as ahead:
        for number in range(4):
            assert take(ahead) == number
            ahead.begin()
            ahead.begin()
            assert ahead.taken <= number + 2
        while ahead.taken < 5:
            time.sleep(0.01)
        last = ahead.last()
        assert last is not None
        assert (last.sequence, last.px_per_um, last.reason) == (4, 2.0, None)
        assert (ahead.taken, ahead.passed_over) == (5, 0)
        assert take(ahead) is None


def test_nothing_is_taken_unasked() -> None:
    source = Source()
    with ahead_of(source) as ahead:
        assert take(ahead) == 0
        assert ahead.last() is None
        assert source.given == ahead.taken == 1


def test_what_is_recorded_is_passed_over() -> None:
    with ahead_of(Source(), first=3) as ahead:
        assert [take(ahead) for _ in range(3)] == [3, 4, None]
        assert (ahead.taken, ahead.passed_over) == (2, 3)


def test_an_error_waits_until_the_frames_before_it_are_taken() -> None:
    with ahead_of(Source(ends="error")) as ahead:
        for number in range(5):
            assert take(ahead) == number
            ahead.begin()
        with pytest.raises(CameraError, match="the camera died"):
            take(ahead)


def test_it_does_not_wait_for_a_camera_that_is_silent() -> None:
    source = Source(live=True, ends="silence")
    ahead = ahead_of(source)
    while (field := ahead.field(lambda: None)) is not None and field.sequence < 4:
        pass
    ahead.begin()
    closer = threading.Thread(target=ahead.close)
    closer.start()
    closer.join(30)
    assert not closer.is_alive()
    source.close()
