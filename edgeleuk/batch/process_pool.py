"""Processes of this machine that judge an archive's pictures."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import cv2

from edgeleuk.batch.worker import judge, keep_bundle, line_of
from edgeleuk.errors import BundleError, HardwareError
from edgeleuk.io.closing import Closing
from edgeleuk.io.console import shared_voice, take_voice
from edgeleuk.io.signals import held_back, leave_ending_to_parent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future

    from edgeleuk.batch.images import OnPicture
    from edgeleuk.batch.worker import Picture, Standard
    from edgeleuk.io.console import SharedVoice

DIED = "the process that read it died"
# How often a picture's process may die before the picture is taken for the cause, and how often one may die
# at its start before the machine is.
_ALONE_TRIES, _STARTS = 2, 3


class Workers(Protocol):
    """Whoever judges pictures, several batches at a time.

    Attributes
    ----------
    slots : int
        Batches that are worked on at the same time.
    """

    slots: int

    def begin(self, pictures: Sequence[Picture]) -> Any:
        """Hand over a batch; return what `finish` wants."""
        ...

    def finish(self, pictures: Sequence[Picture], begun: Any) -> list[str]:
        """Wait for a batch's lines; those of pictures that kill their worker say so."""
        ...

    def close(self) -> None:
        """Let all workers go, whatever they are at."""
        ...


class ProcessWorkers(Closing):
    """Worker processes, spawned: runtimes and their threads do not survive a fork.

    They end with this process, however it ends. A picture that kills its worker costs that picture alone.

    Parameters
    ----------
    jobs : int
    bundle : bytes
    standard : Standard
    threads : int
        Of each network.
    """

    def __init__(self, jobs: int, bundle: bytes, standard: Standard, threads: int = 1) -> None:
        self.slots = jobs
        self._bundle = _Shared(bundle)
        self._standard = standard
        self._threads = threads
        _start_tracker()
        self._pool = self._new_pool(jobs)

    def begin(self, pictures: Sequence[Picture]) -> Future[list[str]]:
        """Hand over a batch; see `Workers`."""
        for _ in range(_STARTS):
            try:
                return self._submit(self._pool, pictures)
            except BrokenProcessPool:
                _end(self._pool)
                self._pool = self._new_pool(self.slots)
        raise _starts_fail()

    def finish(self, pictures: Sequence[Picture], begun: Future[list[str]]) -> list[str]:
        """Wait for a batch; see `Workers`.

        Raises
        ------
        HardwareError
            Processes die as they start, whatever they are to read.
        """
        try:
            return begun.result()
        except BrokenProcessPool:
            return self._one_by_one(pictures)

    def close(self) -> None:
        """End the processes, also in the middle of a picture."""
        _end(self._pool)
        self._bundle.close()

    def _submit(self, pool: ProcessPoolExecutor, pictures: Sequence[Picture]) -> Future[list[str]]:
        with held_back(), _little_to_hand_over():
            return pool.submit(judge, pictures, self._standard, self._threads)

    def _one_by_one(self, pictures: Sequence[Picture]) -> list[str]:
        """Find out which picture it is that no process survives."""
        lines = []
        pool = self._started_pool()
        try:
            for picture in pictures:
                for _ in range(_ALONE_TRIES):
                    try:
                        lines += self._submit(pool, [picture]).result()
                        break
                    except BrokenProcessPool:
                        _end(pool)
                        pool = self._started_pool()
                else:
                    lines.append(died_line(picture, self._standard))
        finally:
            _end(pool)
        return lines

    def _started_pool(self) -> ProcessPoolExecutor:
        """Return one process that has got through its start."""
        for _ in range(_STARTS):
            pool = self._new_pool(1)
            try:
                with _little_to_hand_over():
                    pool.submit(os.getpid).result()
            except BrokenProcessPool:
                _end(pool)
            except BaseException:
                _end(pool)
                raise
            else:
                return pool
        raise _starts_fail()

    def _new_pool(self, jobs: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            jobs,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin_worker,
            initargs=(self._bundle.place, self._standard.bundle_sha256, shared_voice()),
        )


class OwnProcess(Closing):
    """The process itself as the only worker, so that pictures can be drawn on where they were judged.

    Parameters
    ----------
    bundle : bytes
    standard : Standard
    threads : int
        Of the network.
    on_picture : callable
        See `judge`.
    """

    slots = 1

    def __init__(self, bundle: bytes, standard: Standard, threads: int, *, on_picture: OnPicture) -> None:
        keep_bundle(bundle, standard.bundle_sha256)
        self._standard = standard
        self._threads = threads
        self._on_picture = on_picture

    def begin(self, pictures: Sequence[Picture]) -> None:
        """Do nothing yet."""

    def finish(self, pictures: Sequence[Picture], begun: None) -> list[str]:  # noqa: ARG002 - as all workers
        """Judge a batch; see `judge`."""
        return judge(pictures, self._standard, self._threads, self._on_picture)

    def close(self) -> None:
        """Leave the network to the process."""


class _Shared(Closing):
    """Bytes that other processes of this user may read, and that are gone when this process is.

    What starts a process goes to it through a pipe whose other end this process holds as well: of a process
    that dies before it has read more than a pipe holds, nobody would ever hear.
    """

    def __init__(self, data: bytes) -> None:
        self._file = os.fdopen(os.memfd_create("edgeleuk-bundle"), "wb")
        self._file.write(data)
        self._file.flush()
        self.place = f"/proc/{os.getpid()}/fd/{self._file.fileno()}"

    def close(self) -> None:
        """Let the bytes go."""
        self._file.close()


def _start_tracker() -> None:
    """Start multiprocessing's own helper so that it goes on through a SIGHUP, as it does through Ctrl-C.

    Blocked signals stay blocked in a process that is started; this one has its own unblocked again.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        resource_tracker.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _little_to_hand_over() -> Iterator[None]:
    """Leave out of what a process is started with the command line, which may name thousands of files."""
    words = sys.argv
    sys.argv = words[:1]
    try:
        yield
    finally:
        sys.argv = words


def _starts_fail() -> HardwareError:
    return HardwareError(
        "the processes that read pictures die as they start",
        got=f"{_STARTS} times one after the other",
        cure="pass fewer --jobs, or end what takes the memory; the same command goes on from what is done",
    )


def died_line(picture: Picture, standard: Standard) -> str:
    """Return the line of a picture whose worker died with it."""
    data = picture.data
    if data is None:
        with contextlib.suppress(OSError):
            data = Path(picture.name).read_bytes()
    return line_of(picture, standard, None, data, DIED)


def _end(pool: ProcessPoolExecutor) -> None:
    """End a pool's processes first: only then is waiting for its own thread short.

    Without that wait the thread and the interpreter's end get into each other's way, and a traceback follows.
    """
    for process in list((pool._processes or {}).values()):  # noqa: SLF001 - public only from Python 3.14 on
        process.terminate()
    pool.shutdown(wait=True, cancel_futures=True)


def _begin_worker(place: str, sha256: str, voice: SharedVoice) -> None:
    leave_ending_to_parent()
    take_voice(voice)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    # The processes share the cores among them already.
    cv2.setNumThreads(1)
    # Where that fails, the first task says so.
    with contextlib.suppress(OSError, BundleError):
        keep_bundle(Path(place).read_bytes(), sha256)


def _end_with(parent: Any) -> None:
    """Leave no orphan behind a parent that was killed."""
    parent.join()
    os._exit(1)
