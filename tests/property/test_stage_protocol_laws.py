"""Any bytes at all may come over a wire."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleuk_firmware_bridge.stage.grbl import Grbl, Line, Realtime, Status
from edgeleuk_firmware_bridge.stage.protocols import Steps
from edgeleuk_firmware_bridge.stage.sangaboard import Ask, Sangaboard
from edgeleuk_firmware_bridge.stage.state_machine import (
    LONGEST_LINE,
    Answered,
    DialogueState,
    ProtocolError,
    Synced,
)

LINES = [
    *(
        b"1 2 3",
        b"-7 0 99999999999",
        b"done.",
        b"true",
        b"minimum step delay 1000",
        b"--END--",
        b"--END",
        b"ok",
    ),
    *(b"Sangaboard Firmware v1.0.1", b"Type 'help' for a list of commands.", b"CC LED:0.32", b"error:9"),
    *(
        b"<Idle|MPos:1.000,2.000,3.000|FS:0,0>",
        b"<Jog|WPos:1,2,3|WCO:0.1,0,0>",
        b"<Idle|MPos:1,,3>",
        b"ALARM:1",
    ),
    *(b"Grbl 1.1h ['$' for help]", b"[MSG:Reset to continue]", b"[GC:G0 G54]", b"[HLP:$$]", b"$10=1", b"<"),
]
BYTES = st.lists(st.sampled_from(LINES).map(lambda line: line + b"\r\n") | st.binary(max_size=40)).map(
    b"".join
)
QUESTIONS = [
    *((Sangaboard, question) for question in Ask),
    *((Grbl, question) for question in (*Line, Realtime.STATUS)),
]


@given(st.sampled_from(QUESTIONS), st.lists(BYTES, max_size=6), st.booleans())
def test_no_bytes_raise_and_none_are_hoarded(
    question: tuple[Any, ...], chunks: list[bytes], adrift: bool
) -> None:
    kind, command = question
    dialogue = kind()
    if adrift:
        dialogue.timed_out()
    if not adrift or command in {Line.MODES, Line.HELP, Line.BUILD, *Ask}:
        (dialogue.sync if adrift else dialogue.ask)(command)
    for chunk in chunks:
        for event in dialogue.receive(chunk):
            if isinstance(event, Answered) and command is Ask.POSITION:
                assert isinstance(event.value, Steps)
            if isinstance(event, Answered) and command is Realtime.STATUS:
                assert isinstance(event.value, Status)
        assert len(dialogue._lines._rest) <= LONGEST_LINE


@given(BYTES, st.integers(1, 9))
def test_however_bytes_are_cut_they_mean_the_same(data: bytes, size: int) -> None:
    whole, cut = Sangaboard(), Sangaboard()
    whole.ask(Ask.POSITION)
    cut.ask(Ask.POSITION)
    pieces = [cut.receive(data[at : at + size]) for at in range(0, len(data), size)]
    assert [event for piece in pieces for event in piece] == whole.receive(data)


@given(st.binary(min_size=LONGEST_LINE + 1, max_size=3000).map(lambda data: data.replace(b"\n", b"x")))
def test_a_line_without_an_end_is_dropped(data: bytes) -> None:
    board = Sangaboard()
    board.ask(Ask.POSITION)
    assert not [event for event in board.receive(data + b"\n1 2 ") if isinstance(event, Answered)]
    assert board.receive(b"3\r\n") == [Answered(Ask.POSITION, Steps(1, 2, 3))]


def test_a_late_answer_is_not_the_next_ones() -> None:
    board = Sangaboard()
    board.ask(Ask.POSITION)
    board.timed_out()
    with pytest.raises(ProtocolError):
        board.ask(Ask.POSITION)
    board.sync(Ask.DELAY)
    events = board.receive(b"1 2 3\r\nminimum step delay 1000\r\n")
    assert isinstance(events[-1], Synced)
    assert not [event for event in events if isinstance(event, Answered)]
    assert board.state is DialogueState.READY


def test_a_late_ok_is_not_the_next_lines() -> None:
    board = Grbl()
    board.ask(Line.DARK)
    board.timed_out()
    board.sync(Line.MODES)
    assert not [event for event in board.receive(b"ok\r\n") if isinstance(event, Synced)]
    assert isinstance(board.receive(b"[GC:G0 G54 G17]\r\nok\r\n")[-1], Synced)
