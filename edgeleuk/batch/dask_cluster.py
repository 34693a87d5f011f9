"""A Dask cluster that judges an archive's pictures: bytes go out, lines come back.

No file system is shared: the pictures travel with their tasks, the bundle once to every worker, also to those
that come later. A worker that is lost costs nothing, its tasks go to another.
"""

from __future__ import annotations

import importlib
import os
import re
import time
from concurrent.futures import CancelledError
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeleuk.batch.process_pool import died_line
from edgeleuk.batch.worker import Picture, judge, keep_bundle
from edgeleuk.errors import HardwareError, IntegrityError, MissingDependencyError, UsageError, extra_cure
from edgeleuk.io.closing import Closing
from edgeleuk.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeleuk.batch.worker import Standard

# How long a scheduler, or the first worker, may take to answer, and how long all workers may be gone.
ANSWER_S = 10.0
ALONE_S = 60.0
# How many workers may be lost over one task before it is taken for the cause.
RETRIES = 3
_ALONE_TRIES = 2
_ADDRESS = re.compile(r"(tcp|tls)://.+:\d{1,5}")


class ClusterWorkers(Closing):
    """The workers of a Dask cluster; see `edgeleuk.batch.process_pool.Workers`.

    Parameters
    ----------
    address : str
        ``tcp://HOST:PORT`` of the scheduler.
    bundle : bytes
    standard : Standard
    threads : int
        Of each network.

    Raises
    ------
    MissingDependencyError
        distributed is not installed.
    UsageError
        The address is none.
    HardwareError
        The scheduler does not answer, or has no workers.
    IntegrityError
        A worker has no edgeleuk, or another version.
    """

    def __init__(self, address: str, bundle: bytes, standard: Standard, threads: int = 1) -> None:
        distributed = _distributed()
        if not _ADDRESS.fullmatch(address):
            raise UsageError("that is no address of a scheduler", got=address, allowed="tcp://HOST:PORT")
        self._standard = standard
        self._threads = threads
        # Two different classes before Python 3.11.
        self._late = (TimeoutError, distributed.TimeoutError)
        self._address = address
        self._killed = distributed.KilledWorker
        try:
            self._client = distributed.Client(address, timeout=ANSWER_S, set_as_default=False)
        except OSError as error:
            raise HardwareError(
                f"the scheduler {address} does not answer",
                got=f"nothing within {ANSWER_S:.0f} s",
                cure="start it with `dask scheduler`, or check the address and the firewall",
            ) from error
        try:
            self._require_workers()
            self._plugin = f"edgeleuk-{standard.bundle_sha256[:16]}"
            self._client.register_plugin(_bundle_plugin(bundle, standard.bundle_sha256), name=self._plugin)
            self.slots = max(1, sum(self._client.nthreads().values()))
        except BaseException:
            self._client.close()
            raise

    def begin(self, pictures: Sequence[Picture]) -> Any:
        """Send a batch; see `Workers`."""
        return self._submit([_loaded(picture) for picture in pictures])

    def finish(self, pictures: Sequence[Picture], begun: Any) -> list[str]:
        """Wait for a batch; see `Workers`.

        Raises
        ------
        HardwareError
            The scheduler is gone, or all workers are and none comes back.
        """
        try:
            return self._waited(begun)
        except self._killed:
            # One of them may be what kills the workers: find out which.
            return [line for picture in pictures for line in self._alone(picture)]

    def _alone(self, picture: Picture) -> list[str]:
        """Judge one picture by itself; a worker that dies over it may have died of something else, too."""
        for _ in range(_ALONE_TRIES):
            try:
                return self._waited(self.begin([picture]))
            except self._killed:
                continue
        return [died_line(picture, self._standard)]

    def close(self) -> None:
        """Cancel what is under way and leave the cluster."""
        if self._client.status == "running":
            self._client.unregister_worker_plugin(self._plugin)
        self._client.close()

    def _submit(self, pictures: list[Picture]) -> Any:
        # Named by nothing but itself: equal pictures are still two tasks.
        return self._client.submit(
            judge, pictures, self._standard, self._threads, retries=RETRIES, pure=False
        )

    def _waited(self, future: Any) -> list[str]:
        last_seen = time.monotonic()
        while True:
            try:
                lines: list[str] = future.result(timeout=1)
            except self._late:
                if self._client.status != "running":
                    raise self._gone("the scheduler is gone") from None
                if self._has_workers():
                    last_seen = time.monotonic()
                elif time.monotonic() - last_seen > ALONE_S:
                    raise self._gone(f"no worker is left, for {ALONE_S:.0f} s") from None
            except (CancelledError, OSError) as error:
                raise self._gone("the scheduler is gone") from error
            else:
                return lines

    def _has_workers(self) -> bool:
        try:
            return bool(self._client.nthreads())
        except OSError:
            # The scheduler went in between; the next look says so.
            return False

    def _gone(self, what: str) -> HardwareError:
        cure = "start it again and run the same command: what stands in --out is kept"
        return HardwareError(f"the cluster {self._address} is lost", got=what, cure=cure)

    def _require_workers(self) -> None:
        """Wait for the first worker; refuse those that would judge by other code."""
        try:
            self._client.wait_for_workers(1, timeout=ANSWER_S)
        except self._late as error:
            raise HardwareError(
                f"the scheduler {self._address} has no workers",
                cure=f"start some with `dask worker {self._address}`",
            ) from error

        def version() -> str | None:
            # Within a function, so that it goes to the worker as it is: there may be no edgeleuk.
            try:
                return str(importlib.import_module("edgeleuk").__version__)
            except ImportError:
                return None

        for worker, found in self._client.run(version).items():
            if found != __version__:
                raise IntegrityError(
                    f"the worker {worker} "
                    + ("has no edgeleuk" if found is None else "runs another version of edgeleuk"),
                    got=found,
                    allowed=__version__,
                    cure="install the same version on every worker",
                )


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise MissingDependencyError(
            "--scheduler needs distributed, which is not installed",
            cure=f"install it with `{extra_cure('cluster')}`",
        ) from error
    return distributed


def _bundle_plugin(bundle: bytes, sha256: str) -> Any:
    from distributed import WorkerPlugin

    class BundlePlugin(WorkerPlugin):
        """Hands the bundle to a worker when it starts, or at once."""

        def setup(self, worker: object) -> None:  # noqa: ARG002 - the plugin's interface
            keep_bundle(bundle, sha256)

    return BundlePlugin()


def _loaded(picture: Picture) -> Picture:
    """Read a picture's bytes here: workers share no file system with us."""
    if picture.error is not None or picture.data is not None:
        return picture
    try:
        return picture._replace(data=Path(picture.name).read_bytes())
    except OSError as error:
        return picture._replace(error=error.strerror or os.strerror(error.errno or 0))
