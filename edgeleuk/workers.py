"""Processes of this machine that judge an archive's pictures."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import cv2

from edgeleuk.closing import Closing
from edgeleuk.judging import judge, keep_bundle, line_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

    from edgeleuk.judging import Picture, Standard

DIED = "the process that read it died"


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
        self._bundle = bundle
        self._standard = standard
        self._threads = threads
        self._pool = self._new_pool(jobs)

    def begin(self, pictures: Sequence[Picture]) -> Future[list[str]]:
        """Hand over a batch; see `Workers`."""
        try:
            return self._pool.submit(judge, pictures, self._standard, self._threads)
        except BrokenProcessPool:
            _end(self._pool)
            self._pool = self._new_pool(self.slots)
            return self._pool.submit(judge, pictures, self._standard, self._threads)

    def finish(self, pictures: Sequence[Picture], begun: Future[list[str]]) -> list[str]:
        """Wait for a batch; see `Workers`."""
        try:
            return begun.result()
        except BrokenProcessPool:
            return self._one_by_one(pictures)

    def close(self) -> None:
        """End the processes, also in the middle of a picture."""
        _end(self._pool)

    def _one_by_one(self, pictures: Sequence[Picture]) -> list[str]:
        """Find out which picture it is that no process survives."""
        lines = []
        pool = self._new_pool(1)
        try:
            for picture in pictures:
                try:
                    lines += pool.submit(judge, [picture], self._standard, self._threads).result()
                except BrokenProcessPool:
                    lines.append(died_line(picture, self._standard))
                    _end(pool)
                    pool = self._new_pool(1)
        finally:
            _end(pool)
        return lines

    def _new_pool(self, jobs: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            jobs,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin_worker,
            initargs=(self._bundle, self._standard.bundle_sha256),
        )


def died_line(picture: Picture, standard: Standard) -> str:
    """Return the line of a picture whose worker died with it."""
    data = picture.data
    if data is None:
        with contextlib.suppress(OSError):
            data = Path(picture.name).read_bytes()
    return line_of(picture, standard, {}, data, DIED)


def _end(pool: ProcessPoolExecutor) -> None:
    """End a pool's processes first: only then is waiting for its own thread short.

    Without that wait the thread and the interpreter's end get into each other's way, and a traceback follows.
    """
    for process in list((pool._processes or {}).values()):  # noqa: SLF001 - public only from Python 3.14 on
        process.terminate()
    pool.shutdown(wait=True, cancel_futures=True)


def _begin_worker(bundle: bytes, sha256: str) -> None:
    # Ctrl-C reaches the whole group: the parent decides what becomes of us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    # The processes share the cores among them already.
    cv2.setNumThreads(1)
    keep_bundle(bundle, sha256)


def _end_with(parent: Any) -> None:
    """Leave no orphan behind a parent that was killed."""
    parent.join()
    os._exit(1)
