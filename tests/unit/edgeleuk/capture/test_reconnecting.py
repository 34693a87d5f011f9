"""The connection of a camera: every pair of the table, bounded waits, and no picture out of a gap."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleuk.capture import SourceEvent, open_source
from edgeleuk.capture.base import JpegFrame
from edgeleuk.capture.reconnecting import (
    TRANSITIONS,
    Action,
    Connection,
    ConnectionEvent,
    ConnectionState,
    ReconnectingSource,
    ReconnectPolicy,
    open_camera,
)
from edgeleuk.errors import CameraError
from edgeleuk.frames import Frame

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The way to each state.
WAYS = {
    ConnectionState.FRESH: (),
    ConnectionState.STREAMING: (ConnectionEvent.PICTURE,),
    ConnectionState.WAITING: (ConnectionEvent.LOST,),
    ConnectionState.OPENING: (ConnectionEvent.LOST, ConnectionEvent.WAITED),
    ConnectionState.ENDED: (ConnectionEvent.CLOSED,),
}


def in_state(state: ConnectionState) -> Connection:
    connection = Connection(ReconnectPolicy(), lambda: 0.0)
    for what in WAYS[state]:
        connection.happened(what, at_s=0.0)
    assert connection.state is state
    return connection


@pytest.mark.parametrize(("state", "what"), list(itertools.product(ConnectionState, ConnectionEvent)))
def test_every_pair_is_in_the_table_or_refused(state: ConnectionState, what: ConnectionEvent) -> None:
    connection = in_state(state)
    if (state, what) in TRANSITIONS:
        step = connection.happened(what, "why", at_s=1.0)
        assert (connection.state, step.action) == TRANSITIONS[state, what]
        return
    with pytest.raises(ValueError, match=f"{state.name} cannot have {what.name}"):
        connection.happened(what, at_s=1.0)
    assert connection.state is state


def test_only_an_open_connection_gives_pictures() -> None:
    emitting = {state for (state, _), (_, action) in TRANSITIONS.items() if action is Action.EMIT}
    assert emitting == {ConnectionState.FRESH, ConnectionState.STREAMING}
    assert all(state is not ConnectionState.ENDED for state, _ in TRANSITIONS)


def test_a_change_of_state_is_an_event_unless_the_run_ends_or_begins_with_it() -> None:
    connection = Connection(ReconnectPolicy(tries=1), lambda: 1.0)
    happened = (
        ConnectionEvent.PICTURE,
        ConnectionEvent.LOST,
        ConnectionEvent.WAITED,
        ConnectionEvent.OPENED,
        ConnectionEvent.PICTURE,
    )
    events = [connection.happened(what, "no answer", at_s=float(n)).event for n, what in enumerate(happened)]
    assert events[0] is None
    said = [(event.kind, event.text) for event in events if event is not None]
    assert said == [
        ("lost", "the camera was lost: no answer; try 1 of 1 in 0.5 s"),
        ("trying", "the camera is opened anew, try 1 of 1"),
        ("opened", "the camera is open again, its first picture is awaited"),
        ("back", "pictures come again after 3.0 s without one"),
    ]
    for what in (ConnectionEvent.LOST, ConnectionEvent.WAITED):
        connection.happened(what, "no answer", at_s=5.0)
    event = connection.lost("refused", at_s=6.0).event
    assert event is not None
    assert (event.kind, event.text) == ("abandoned", "the camera is given up after 1 tries: refused")


@given(
    first=st.floats(0.001, 10),
    longest=st.floats(0.001, 100),
    tries=st.integers(0, 60),
    jitter=st.lists(st.floats(0, 1), min_size=60, max_size=60),
    opens=st.lists(st.booleans(), min_size=60, max_size=60),
)
def test_waits_are_bounded_and_tries_end(
    first: float, longest: float, tries: int, jitter: list[float], opens: list[bool]
) -> None:
    random = iter(jitter)
    connection = Connection(ReconnectPolicy(first, longest, tries), lambda: next(random))
    connection.happened(ConnectionEvent.PICTURE, at_s=0.0)
    waits: list[float] = []
    step = connection.lost("gone", at_s=1.0)
    while step.action is Action.WAIT:
        whole = min(first * 2 ** len(waits), longest)
        assert whole / 2 <= step.wait_s <= whole <= longest
        waits.append(step.wait_s)
        connection.happened(ConnectionEvent.WAITED, at_s=1.0)
        # Some cameras accept, and close at once: that is no success.
        if opens[len(waits) - 1]:
            connection.happened(ConnectionEvent.OPENED, at_s=1.0)
        step = connection.lost("gone", at_s=1.0)
    assert step.action is Action.FAIL
    assert len(waits) == tries
    assert connection.state is ConnectionState.ENDED


def test_a_picture_gives_all_tries_back() -> None:
    connection = Connection(ReconnectPolicy(tries=1), lambda: 1.0)
    for _ in range(5):
        assert connection.lost("gone", at_s=0.0).wait_s == 0.5
        for what in (ConnectionEvent.WAITED, ConnectionEvent.OPENED, ConnectionEvent.PICTURE):
            connection.happened(what, at_s=0.0)


class Cable:
    """A camera whose connections are scripted: a number of pictures, then dead; None refuses to open."""

    uri, live = "test://cable", True

    def __init__(self, script: list[int | None], *, ends: bool = False) -> None:
        self.script, self.ends = script, ends
        self.now_s, self.opened, self.closed = 0.0, 0, 0
        self.plugged = False
        self.waits: list[float] = []

    def reopen(self) -> Cable:
        self.now_s += 0.1
        if not self.script or self.script[0] is None:
            self.script = self.script[1:]
            raise CameraError(f"{self.uri} cannot be opened", got="Connection refused", cure="switch it on")
        self.opened, self.plugged = self.opened + 1, True
        return self

    def frames(self) -> Iterator[Frame | SourceEvent]:
        number, self.script = self.script[0], self.script[1:]
        assert number is not None
        for sequence in range(number):
            self.now_s += 0.1
            assert self.plugged
            yield Frame(np.zeros((2, 2, 3), np.uint8), sequence, self.now_s, self.now_s, self.uri)
        self.plugged = False
        if not self.ends or self.script:
            raise CameraError(f"{self.uri} died", got="no answer within 5 s", cure="check the cable")

    def close(self) -> None:
        self.closed += 1

    def __enter__(self) -> Cable:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def camera(self, tries: int = 3) -> ReconnectingSource:
        def wait(seconds: float) -> bool:
            self.waits.append(seconds)
            self.now_s += seconds
            return False

        self.reopen()
        policy = ReconnectPolicy(tries=tries)
        return ReconnectingSource(
            self, self.reopen, policy, clock=lambda: self.now_s, wait=wait, jitter=lambda: 1.0
        )


def test_the_frames_are_numbered_on_and_the_gap_is_told() -> None:
    cable = Cable([3, None, 2], ends=True)
    items = list(cable.camera().frames())
    assert [item if isinstance(item, int) else item.kind for item in map(short, items)] == [
        0, 1, 2, "lost", "trying", "refused", "trying", "opened", "back", 3, 4,
    ]  # fmt: skip
    assert cable.waits == [0.5, 1.0]
    assert cable.opened == 2
    assert cable.closed == 2, "after the loss, and after the refusal"
    lost = next(item for item in items if isinstance(item, SourceEvent))
    assert lost.text == "the camera was lost: test://cable died (no answer within 5 s); try 1 of 3 in 0.5 s"


def short(item: object) -> int | SourceEvent:
    if isinstance(item, SourceEvent):
        return item
    assert isinstance(item, Frame)
    return item.sequence


@given(script=st.lists(st.none() | st.integers(0, 4), max_size=12), tries=st.integers(0, 4))
def test_whatever_the_cable_does_no_frame_is_invented(script: list[int | None], tries: int) -> None:
    cable = Cable([2, *script])
    source = cable.camera(tries)
    items: list[object] = []
    with pytest.raises(CameraError):
        items.extend(only_while_streaming(source))
    frames = [item for item in items if isinstance(item, Frame)]
    assert [frame.sequence for frame in frames] == list(range(len(frames)))
    assert len({frame.captured_at for frame in frames}) == len(frames)
    assert len(frames) <= 2 + sum(number or 0 for number in script)
    assert source._connection.state is ConnectionState.ENDED


def test_a_camera_that_never_comes_back_is_given_up_with_its_last_error() -> None:
    cable = Cable([1])
    items: list[object] = []
    with pytest.raises(CameraError, match="cannot be opened: got Connection refused; switch it on"):
        items.extend(cable.camera(tries=2).frames())
    assert [item.kind for item in items if isinstance(item, SourceEvent)] == [
        "lost", "trying", "refused", "trying", "abandoned",
    ]  # fmt: skip


def only_while_streaming(source: ReconnectingSource) -> Iterator[object]:
    for item in source.frames():
        assert isinstance(item, SourceEvent) or source._connection.state is ConnectionState.STREAMING
        yield item


def test_a_silence_is_a_gap_although_the_connection_held() -> None:
    class Slow(Cable):
        def frames(self) -> Iterator[Frame | SourceEvent]:
            for item in super().frames():
                self.now_s += 2.0 * (isinstance(item, Frame) and item.sequence == 2)
                yield item

    slow, texts = Slow([4], ends=True), []
    for item in slow.camera().frames():
        if isinstance(item, SourceEvent):
            texts.append(item.text)
        slow.now_s += 5.0  # a consumer that takes its time makes no gap
    assert texts == ["no picture came for 2.1 s"]


@pytest.mark.parametrize("every_s", [1.5, 2.0, 10.0])
def test_a_slow_camera_makes_no_gaps_but_for_its_own(every_s: float) -> None:
    class Slow(Cable):
        def frames(self) -> Iterator[Frame | SourceEvent]:
            for item in super().frames():
                self.now_s += every_s * (4 if isinstance(item, Frame) and item.sequence == 12 else 1)
                yield item

    slow = Slow([20], ends=True)
    texts = [item.text for item in slow.camera().frames() if isinstance(item, SourceEvent)]
    assert len(texts) == 1
    assert texts[0].startswith(f"no picture came for {4 * every_s:.0f}.")


def test_closing_ends_the_wait_for_a_lost_camera() -> None:
    cable = Cable([1])
    cable.reopen()
    source = ReconnectingSource(cable, cable.reopen, ReconnectPolicy(first_wait_s=3600, longest_wait_s=3600))
    frames = source.frames()
    assert isinstance(next(frames), Frame)
    assert isinstance(event := next(frames), SourceEvent)
    assert event.kind == "lost"
    source.close()
    assert list(frames) == []


def test_a_connection_that_opens_behind_a_close_is_closed() -> None:
    cable = Cable([1, 5])

    def reopen() -> Cable:
        source.close()
        return cable.reopen()

    cable.reopen()
    source = ReconnectingSource(cable, reopen, ReconnectPolicy(first_wait_s=0))
    assert [item.kind for item in source.frames() if isinstance(item, SourceEvent)][:2] == ["lost", "trying"]
    assert cable.closed >= 3


def test_undecoded_frames_are_numbered_on_too() -> None:
    class Encoded(Cable):
        def frames(self) -> Iterator[Frame | SourceEvent]:
            for item in super().frames():
                assert isinstance(item, Frame)
                yield JpegFrame(b"", item.sequence, item.captured_at, 0.0, self.uri)  # type: ignore[misc]

    items = list(Encoded([2, 2], ends=True).camera().frames())
    assert [item.sequence for item in items if isinstance(item, JpegFrame)] == [0, 1, 2, 3]


def test_folders_and_files_have_no_connection_to_lose(tmp_path: Path) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "a.png"), np.full((9, 9, 3), (200, 60, 120), np.uint8))
    with open_camera(f"dir://{tmp_path}") as source, open_source(f"dir://{tmp_path}") as plain:
        assert type(source) is type(plain)
