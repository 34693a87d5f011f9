"""A thread that crashes is heard of, once, by whoever leads the work."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from edgeleuk.errors import EdgeleukError
from edgeleuk.io.threads import Crashes, crashes_noticed, crashing


def fail() -> None:
    msg = "no picture"
    raise ValueError(msg)


def in_thread(name: str, work: object) -> None:
    thread = threading.Thread(target=work, name=name)
    thread.start()
    thread.join()


def test_the_first_crash_is_the_one_that_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    stop = threading.Event()
    with crashes_noticed(stop) as crashes:
        crashes.check()
        in_thread("page", fail)
        in_thread("other", lambda: 1 / 0)
        with pytest.raises(
            EdgeleukError, match="the thread page crashed by ValueError: got no picture"
        ) as told:
            crashes.check()
    assert told.value.exit_code == 1
    assert isinstance(told.value.__cause__, ValueError)
    assert stop.is_set()
    # Whoever repairs it sees where.
    assert "in fail" in capfd.readouterr().err


def test_who_ends_itself_has_not_crashed() -> None:
    stop = threading.Event()
    with crashes_noticed(stop) as crashes:
        in_thread("page", lambda: sys.exit(3))
    assert crashes.error() is None
    assert not stop.is_set()


@pytest.mark.usefixtures("capfd")
def test_a_task_that_nobody_asks_for_crashes_as_a_thread_does() -> None:
    def look(number: int) -> None:
        if number == 2:
            fail()

    with crashes_noticed(threading.Event()) as crashes, ThreadPoolExecutor(1, "features") as pool:
        done = [pool.submit(crashing(look), number) for number in range(4)]
    error = crashes.error()
    assert error is not None
    assert error.what == "the thread features_0 crashed by ValueError"
    assert [one.exception() is None for one in done] == [True, True, False, True]


def test_the_hook_of_before_is_put_back() -> None:
    before = threading.excepthook
    with crashes_noticed(threading.Event()):
        assert threading.excepthook != before
    assert threading.excepthook is before
    assert Crashes(threading.Event()).error() is None
