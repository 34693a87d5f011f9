"""A camera that is paused: what it sends meanwhile is in no count, and a file waits."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleuk.frames import Frame
from edgeleuk.serve.reader import AttendedReader

if TYPE_CHECKING:
    from collections.abc import Callable

PIXELS = np.zeros((4, 4, 3), np.uint8)


class Encoded:
    """A picture that is not decoded yet."""

    def __init__(self, sequence: int) -> None:
        self.sequence = sequence

    def decode(self) -> Frame:
        return frame(self.sequence)


def frame(sequence: int) -> Frame:
    return Frame(PIXELS, sequence, 0.0, 0.0, "test")


class Scripted:
    """A reader that hands out numbered frames; before each something may happen."""

    def __init__(self, count: int, before: Callable[[int], None], *, encoded: bool = False) -> None:
        self.captured = self.dropped = 0
        self._count = count
        self._before = before
        self._make = Encoded if encoded else frame

    def take(self, stop: threading.Event, meanwhile: Callable[[], object] = lambda: None) -> object:
        if self.captured == self._count or stop.is_set():
            return None
        meanwhile()
        self._before(self.captured)
        self.captured += 1
        return self._make(self.captured - 1)

    def events(self) -> list[object]:
        return ["an event"]

    def close(self) -> None:
        self.closed = True


def taken(reader: AttendedReader, stop: threading.Event) -> list[int]:
    found = []
    while (item := reader.take(stop)) is not None:
        found.append(item.sequence)
        if isinstance(item, Encoded) or not isinstance(item, Frame):
            assert item.decode().sequence == item.sequence
    return found


@given(
    count=st.integers(0, 30),
    pauses=st.sets(st.integers(0, 30)),
    ends=st.sets(st.integers(0, 30)),
    encoded=st.booleans(),
)
def test_frames_of_a_pause_are_in_no_count(
    count: int, pauses: set[int], ends: set[int], *, encoded: bool
) -> None:
    paused, stop = threading.Event(), threading.Event()
    wanted = []

    def before(number: int) -> None:
        if number in pauses:
            paused.set()
        elif number in ends:
            paused.clear()
        wanted.append(not paused.is_set())

    reader = AttendedReader(Scripted(count, before, encoded=encoded), paused, lambda: None, live=True)
    numbers = taken(reader, stop)
    assert numbers == list(range(sum(wanted)))
    assert reader.captured == len(numbers)
    assert reader.dropped == 0


def test_frames_dropped_during_a_pause_are_in_no_count() -> None:
    paused, stop = threading.Event(), threading.Event()
    below = Scripted(6, lambda _: None)

    def before(number: int) -> None:
        if number == 2:
            paused.set()
        if number == 4:
            # A newer frame had replaced one that nobody took.
            below.captured += 3
            below.dropped += 3
            paused.clear()

    below._before = before
    below._count = 9
    reader = AttendedReader(below, paused, lambda: None, live=True)
    taken(reader, stop)
    assert reader.dropped == 0
    assert reader.captured == below.captured - 3 - 2


def test_a_file_waits_and_loses_nothing() -> None:
    paused, stop = threading.Event(), threading.Event()
    rounds = []

    def attend() -> None:
        rounds.append(paused.is_set())
        if sum(rounds) > 3:
            paused.clear()

    reader = AttendedReader(
        Scripted(5, lambda number: paused.set() if number == 2 else None), paused, attend, live=False
    )
    assert taken(reader, stop) == [0, 1, 2, 3, 4]
    assert (reader.captured, reader.dropped) == (5, 0)
    assert sum(rounds) > 3


@pytest.mark.parametrize("live", [True, False])
def test_a_pause_ends_with_the_run(*, live: bool) -> None:
    paused, stop = threading.Event(), threading.Event()
    paused.set()
    reader = AttendedReader(Scripted(10**6, lambda _: None), paused, stop.set, live=live)
    assert reader.take(stop) is None


def test_a_source_that_ends_during_a_pause_has_ended() -> None:
    paused = threading.Event()
    paused.set()
    reader = AttendedReader(Scripted(3, lambda _: None), paused, lambda: None, live=True)
    assert reader.take(threading.Event()) is None
    assert reader.captured == 0
    assert reader.events() == ["an event"]
