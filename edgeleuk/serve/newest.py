"""The newest of something, made on any thread and awaited by any number of the server's tasks."""

from __future__ import annotations

import asyncio
import threading
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Numbered(NamedTuple, Generic[T]):
    """A value, and how many there were before it."""

    number: int
    value: T


class Newest(Generic[T]):
    """Holds one value: who is slow misses those between, and whoever makes them never waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number = 0
        self._value: T | None = None
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether no more will come."""
        return self._closed

    @property
    def waiting(self) -> int:
        """How many wait for the next."""
        return len(self._waiting)

    def put(self, value: T) -> None:
        """Replace the value; on any thread."""
        with self._lock:
            self._number += 1
            self._value = value
            self._wake()

    def close(self) -> None:
        """Let everybody know that no more will come; the last value stays."""
        with self._lock:
            self._closed = True
            self._wake()

    def now(self) -> Numbered[T] | None:
        """Return the value at hand; None as long as there is none."""
        with self._lock:
            return None if self._value is None else Numbered(self._number, self._value)

    async def after(self, number: int, within_s: float) -> Numbered[T] | None:
        """Wait for a value with a greater number than that.

        Returns
        -------
        Numbered or None
            None where none came within that time, or none will come.
        """
        came = asyncio.Event()
        waiter = (asyncio.get_running_loop(), came)
        with self._lock:
            if self._value is not None and self._number > number:
                return Numbered(self._number, self._value)
            if self._closed:
                return None
            self._waiting.append(waiter)
        try:
            await asyncio.wait_for(came.wait(), within_s)
        except asyncio.TimeoutError:
            return None
        finally:
            with self._lock:
                if waiter in self._waiting:
                    self._waiting.remove(waiter)
        found = self.now()
        return found if found is not None and found.number > number else None

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for loop, came in waiting:
            # A server that has ended needs no waking.
            if not loop.is_closed():
                loop.call_soon_threadsafe(came.set)
