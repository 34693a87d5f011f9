"""What is to be sent of a session: the file is the queue, of which only a little is held in memory."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from edgeleuk.counting.confusion import known_kinds_of
from edgeleuk.fleet.cursor import Cursor, CursorFile
from edgeleuk.fleet.messages import (
    EVENTS,
    QUALITY,
    SUMMARY,
    About,
    event_message,
    key_of,
    summary_message,
)
from edgeleuk.fleet.windows import Windows
from edgeleuk.io.closing import Closing
from edgeleuk.io.uris import is_simulated_session
from edgeleuk.session.following import SessionFollower

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edgeleuk.fleet.messages import EventMessage, QualityMessage, SummaryMessage
    from edgeleuk.session.following import EventRow, FrameRow, SummaryRow

    Said = EventMessage | QualityMessage | SummaryMessage
    Row = EventRow | FrameRow | SummaryRow

# Messages in memory, and rows that one transaction reads.
_MOST_HELD = 200
_MOST_ROWS = 500
# A broker that is ended by force may forget what it acknowledged shortly before.
AGAIN_S = 30.0
_MOST_AGAIN = 500


class Message(NamedTuple):
    """A message that has to arrive.

    Attributes
    ----------
    name : str
        Of its topic.
    key : str
    payload : bytes
    retain : bool
        Whether the broker keeps it for whoever comes later.
    """

    name: str
    key: str
    payload: bytes
    retain: bool = False


@dataclass
class _Stream:
    """One sort of records: where reading stands, and what is acknowledged out of order."""

    read: int
    on_its_way: deque[tuple[str, int, str]] = field(default_factory=deque)
    done: set[str] = field(default_factory=set)


class Outbox(Closing):
    """Messages of a session in their order, until each is acknowledged; used from one thread.

    Parameters
    ----------
    path : Path
        Of the session.
    target : str
        Where they go; see `edgeleuk.fleet.address.Broker`.
    again : bool
        Send everything from the beginning.
    clock : callable
        Steady seconds.

    Attributes
    ----------
    sent : Counter of str
        Messages that were acknowledged, by the name of their topic.

    Raises
    ------
    UsageError, SessionError
        See `SessionFollower` and `CursorFile`.
    """

    def __init__(
        self,
        path: Path,
        target: str,
        *,
        again: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._follower = SessionFollower(path)
        try:
            self._file = CursorFile(path, target)
        except BaseException:
            self._follower.close()
            raise
        self._clock = clock
        self._about: About | None = None
        self._windows: Windows | None = None
        self._resumed_at: list[float] = []
        self._unsent: deque[Message] = deque()
        self._unacknowledged: OrderedDict[str, Message] = OrderedDict()
        self._recent: deque[tuple[float, Message]] = deque(maxlen=_MOST_AGAIN)
        self.sent: Counter[str] = Counter()
        self._start(again=again)
        # What was summed up before belongs to earlier parts of a session that goes on.
        self._earlier_summaries = self._follower.ends()[2]

    @property
    def about(self) -> About | None:
        """What is said of the session in every message; None before its first record."""
        if self._about is None:
            session, settings = self._follower.identity(), self._follower.settings
            if session is None:
                return None
            bundle, digest = settings.get("bundle"), settings.get("bundle_sha256")
            self._about = About(
                session=session,
                simulated=is_simulated_session(settings),
                bundle=bundle if isinstance(bundle, str) else None,
                bundle_sha256=digest if isinstance(digest, str) else None,
                kinds=tuple(known_kinds_of(settings.get("known_kinds")).asked),
            )
        return self._about

    @property
    def waiting(self) -> int:
        """How many messages are not acknowledged: those at hand, and events that nobody has read yet."""
        unread = max(0, self._follower.ends()[0] - self._events.read)
        return len(self._unsent) + len(self._unacknowledged) + unread

    def fill(self, *, complete: bool) -> bool:
        """Read what is new, as much as may be held.

        Parameters
        ----------
        complete : bool
            Nothing more will be recorded: the last minute is sent though it is not over.

        Returns
        -------
        bool
            Whether that was all there is.
        """
        about = self.about
        if about is None:
            return True
        if self._windows is None:
            self._windows = Windows(about)
            self._resumed_at = self._follower.resumed_at()
        self._read_events(about)
        self._read_frames(self._windows)
        if self._room() <= 0:
            return False
        at_end = (self._events.read, self._frames.read) >= self._follower.ends()[:2]
        if complete and at_end and (window := self._windows.flush()) is not None:
            self._put_window(window)
        self._read_summaries(about, complete=complete)
        return at_end and self._room() > 0

    def take(self, most: int) -> list[Message]:
        """Return the next messages to be sent, so many that no more than `most` are on their way."""
        found = []
        while self._unsent and len(self._unacknowledged) < most:
            message = self._unsent.popleft()
            self._unacknowledged[message.key] = message
            found.append(message)
        return found

    def acknowledged(self, key: str) -> None:
        """Take in that a message arrived."""
        message = self._unacknowledged.pop(key, None)
        if message is None:
            return
        self._recent.append((self._clock(), message))
        stream, name = self._stream_of(message.name)
        if not any(key == waiting for waiting, _, _ in stream.on_its_way):
            # It was sent once more, for the broker may have forgotten it.
            return
        self.sent[message.name] += 1
        stream.done.add(key)
        while stream.on_its_way and stream.on_its_way[0][0] in stream.done:
            done, number, mark = stream.on_its_way.popleft()
            stream.done.discard(done)
            setattr(self._file.cursor, name, number)
            self._file.cursor.marks[name] = mark

    def lost(self) -> None:
        """Take in that the connection is gone: what was on its way, and the last before, go again."""
        again = [message for at, message in self._recent if at >= self._recent[-1][0] - AGAIN_S]
        self._recent.clear()
        self._unsent.extendleft(reversed([*again, *self._unacknowledged.values()]))
        self._unacknowledged.clear()

    def save(self) -> None:
        """Keep on the disk what is acknowledged."""
        self._file.save()

    def close(self) -> None:
        """Close both files."""
        self._file.save()
        self._file.close()
        self._follower.close()

    def _start(self, *, again: bool) -> None:
        """Begin behind what is acknowledged; where that is not what the session holds, from the beginning."""
        cursor = self._file.cursor
        if again or cursor.session != self._follower.identity() or not self._are_the_same(cursor):
            self._file.cursor = cursor = Cursor(target=cursor.target, session=self._follower.identity())
        self._events, self._frames = _Stream(cursor.events), _Stream(cursor.frames)
        self._summaries = _Stream(cursor.summaries)

    def _are_the_same(self, cursor: Cursor) -> bool:
        """Whether the last acknowledged records are those of the session: a power cut may have taken them."""
        follower = self._follower
        found: dict[str, tuple[int, int, Sequence[Row]]] = {
            "events": (cursor.events, 0, follower.events(cursor.events - 1, 1)),
            "frames": (cursor.frames, -1, follower.frames(cursor.frames - 1, 1)),
            "summaries": (cursor.summaries, 0, follower.summaries(cursor.summaries - 1, 1)),
        }
        return all(
            number == none or (bool(rows) and cursor.marks.get(name) == _mark(rows[0]))
            for name, (number, none, rows) in found.items()
        )

    def _stream_of(self, topic: str) -> tuple[_Stream, str]:
        return {
            EVENTS: (self._events, "events"),
            QUALITY: (self._frames, "frames"),
            SUMMARY: (self._summaries, "summaries"),
        }[topic]

    def _room(self) -> int:
        return _MOST_HELD - len(self._unsent) - len(self._unacknowledged)

    def _put(self, topic: str, message: Said, number: int, mark: str, *, retain: bool = False) -> None:
        self._stream_of(topic)[0].on_its_way.append((message.key, number, mark))
        self._unsent.append(Message(topic, message.key, msgspec.json.encode(message), retain))

    def _put_window(self, window: QualityMessage) -> None:
        (last,) = self._follower.frames(window.last_frame - 1, 1)
        self._put(QUALITY, window, window.last_frame, _mark(last))

    def _read_events(self, about: About) -> None:
        if self._file.cursor.session is None:
            self._file.cursor.session = about.session
        for row in self._follower.events(self._events.read, max(0, self._room())):
            self._events.read = row.number
            self._put(EVENTS, event_message(row, about), row.number, _mark(row))

    def _read_frames(self, windows: Windows) -> None:
        while self._room() > 0:
            rows = self._follower.frames(self._frames.read, _MOST_ROWS)
            for row in rows:
                self._frames.read = row.sequence
                if (window := windows.add(row, self._resumed_at)) is not None:
                    self._put_window(window)
            if len(rows) < _MOST_ROWS:
                return

    def _read_summaries(self, about: About, *, complete: bool) -> None:
        """Read summaries; of a run that goes on only those of its earlier parts, which nobody is to keep."""
        last = self._follower.ends()[2]
        for row in self._follower.summaries(self._summaries.read, max(0, self._room())):
            if not complete and row.number > self._earlier_summaries:
                return
            self._summaries.read = row.number
            message = _summary_of(row, about)
            self._put(SUMMARY, message, row.number, _mark(row), retain=complete and row.number == last)


def _summary_of(row: SummaryRow, about: About) -> SummaryMessage:
    facts = json.loads(row.value)
    return summary_message(
        facts,
        about,
        key=key_of(about.session, "summary", row.number, row.value),
        at=facts["started_at"] + facts["duration_s"],
        phase="ended",
    )


def _mark(row: Row) -> str:
    """Return a digest of a record, by which it is known again."""
    return hashlib.sha256(repr(tuple(row)).encode()).hexdigest()[:8]
