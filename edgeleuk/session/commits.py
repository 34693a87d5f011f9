"""When what was recorded is put on the disk: with each frame, or within a second of it.

A commit costs as much as a frame without a cell needs in all, and a card of flash dies of writes. With
``second`` the frames of most of a second share one. A thread makes it, so that neither the encoding of
pictures nor the disk holds up the next frame.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FRAME, SECOND = "frame", "second"
# What was recorded is on the disk so soon.
PROMISED_S = 1.0
# The commit begins so much earlier than it would have to, by how long the last ones took.
_SPARE_S = 0.1
_FORGOTTEN = 0.8
_LEAST_WAIT_S = 0.1


def by_second(settings: Mapping[str, object]) -> bool:
    """Whether the frames of a second are committed together."""
    return settings.get("durability") == SECOND


class Committer:
    """A thread that commits once the oldest record that waits is nearly as old as was promised.

    Parameters
    ----------
    commit : callable
        Puts on the disk what waits. It is called on the thread.

    Attributes
    ----------
    error : BaseException or None
        What a commit met: no further one is tried.
    """

    def __init__(self, commit: Callable[[], None]) -> None:
        self._commit = commit
        self._changed = threading.Condition()
        self._since_s: float | None = None
        self._takes_s = 0.0
        self._ended = False
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="edgeleuk-commits", daemon=True)
        self._thread.start()

    def expect(self) -> None:
        """Take note that a record waits from now on."""
        with self._changed:
            if self._since_s is None:
                self._since_s = time.monotonic()
                self._changed.notify()

    @property
    def is_late(self) -> bool:
        """Whether what waits is older than was promised."""
        since_s = self._since_s
        return since_s is not None and time.monotonic() - since_s > PROMISED_S

    def end(self) -> None:
        """End the thread, after the commit under way."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while self._is_due():
            began_s = time.monotonic()
            try:
                self._commit()
            except BaseException as error:  # noqa: BLE001 - the thread that records raises it
                self.error = error
                return
            spent_s = time.monotonic() - began_s
            self._takes_s = max(spent_s, _FORGOTTEN * self._takes_s)

    def _is_due(self) -> bool:
        """Wait until there is something to commit; False when all has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._since_s is not None)
            if self._since_s is not None:
                waits_s = max(_LEAST_WAIT_S, PROMISED_S - _SPARE_S - self._takes_s)
                left_s = self._since_s + waits_s - time.monotonic()
                self._changed.wait_for(lambda: self._ended, max(left_s, 0.0))
            # What is recorded from now on waits anew.
            self._since_s = None
            return not self._ended
