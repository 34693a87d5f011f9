"""What the page may take of the processor: a law over what the work costs, and how idleness is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleuk.serve.budget import SpareTime, Turn


class Clocks:
    """A steady clock, and one that goes only while there is work."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.cpu_s = 0.0

    def work(self, seconds: float) -> None:
        self.now_s += seconds
        self.cpu_s += seconds

    def turn(self, share: float, least_s: float, spare: SpareTime) -> Turn:
        return Turn(share, least_s, spare, lambda: self.now_s, lambda: self.cpu_s)


class Machine:
    """Counts ticks as ``/proc/stat`` does."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.busy = self.idle = 0

    def line(self) -> str:
        return f"cpu  {self.busy} 0 0 {self.idle} 0 0 0 0 0 0"

    def go_on(self, seconds: float, idle_share: float) -> None:
        self.now_s += seconds
        self.idle += round(200 * seconds * idle_share)
        self.busy += round(200 * seconds * (1 - idle_share))


NEVER = SpareTime(lambda: "", lambda: 0.0)


@given(
    costs=st.lists(st.floats(0.0001, 2.0), min_size=5, max_size=40),
    share=st.floats(0.002, 0.5),
    least_s=st.floats(0.0, 1.0),
)
def test_work_takes_no_more_than_its_share(costs: list[float], share: float, least_s: float) -> None:
    clocks = Clocks()
    turn = clocks.turn(share, least_s, NEVER)
    for cost in costs:
        clocks.now_s = max(clocks.now_s, turn.due_s)
        began_s = clocks.now_s
        assert turn.come()
        clocks.work(cost)
        turn.done()
        assert not turn.come() or cost == pytest.approx(turn.due_s - began_s)
        assert turn.due_s - began_s >= least_s * (1 - 1e-9)
        assert cost <= share * (turn.due_s - began_s) * (1 + 1e-9)
    assert clocks.cpu_s <= share * turn.due_s * (1 + 1e-9)


def test_where_there_is_room_it_comes_more_often() -> None:
    machine, clocks = Machine(), Clocks()
    spare = SpareTime(machine.line, lambda: machine.now_s)
    turn = clocks.turn(0.01, 0.1, spare)
    intervals = []
    for idle_share in (0.0, 0.0, 0.5, 0.5, 0.0, 0.2):
        machine.go_on(3, idle_share)
        clocks.now_s = turn.due_s
        assert turn.come()
        clocks.work(0.05)
        turn.done()
        intervals.append(round(turn.due_s - clocks.now_s + 0.05, 3))
    # The first look only begins to count.
    assert intervals == [5.0, 5.0, 0.417, 0.417, 5.0, 5.0]


def test_idleness_is_read_every_two_seconds_at_most() -> None:
    machine = Machine()
    reads = []

    def line() -> str:
        reads.append(1)
        return machine.line()

    spare = SpareTime(line, lambda: machine.now_s)
    for _ in range(40):
        spare.room()
        machine.go_on(0.25, 0.9)
    assert len(reads) == 5
    assert spare.room()


@pytest.mark.parametrize("line", ["", "cpu", "cpu one two three four five", "cpu 1 2"])
def test_what_is_no_count_of_idleness_leaves_none(line: str) -> None:
    now = [0.0]
    spare = SpareTime(lambda: line, lambda: now[0])
    for _ in range(3):
        assert not spare.room()
        now[0] += 3


def test_a_machine_without_that_file() -> None:
    spare = SpareTime(Path("/no/such/stat").read_text, lambda: 0.0)
    assert not spare.room()
