"""Ports: serial by name, ``socket://``, and pyserial's other URLs. Every call ends within a bound."""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeleuk.errors import HardwareError, MissingDependencyError, UsageError, extra_cure
from edgeleuk.io.closing import Closing
from edgeleuk_firmware_bridge.stage.errors import LinkLostError

if TYPE_CHECKING:
    from collections.abc import Iterator

BAUD = 115200
BY_ID = Path("/dev/serial/by-id")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the host waits.

    Attributes
    ----------
    answer_s : float
        For an answer.
    boot_s : float
        For the first one: opening a port resets many boards, whose boot loader takes a second or two.
    quiet_s : float
        For late answers, before a board is asked where it stands.
    arrive_s : float
        Longer than a move should take.
    home_s : float
        For homing.
    """

    answer_s: float = 1.0
    boot_s: float = 6.0
    quiet_s: float = 0.03
    arrive_s: float = 5.0
    home_s: float = 120.0


class Link(Closing):
    """An open port. One thread reads; any may write.

    Parameters
    ----------
    port : object
        As pyserial's.
    url : str
        For errors.
    """

    def __init__(self, port: Any, url: str) -> None:
        self.url = url
        self._port = port
        self._writing = threading.Lock()

    def write(self, data: bytes) -> None:
        """Send bytes.

        Raises
        ------
        LinkLostError
            The port is gone, or takes nothing more.
        """
        with self._writing, self._named():
            self._port.write(data)

    def read(self, timeout_s: float) -> bytes:
        """Return what arrives, at least one byte, or nothing when the time is over.

        Raises
        ------
        LinkLostError
            The port is gone.
        """
        with self._named():
            if self._port.timeout != timeout_s:
                self._port.timeout = timeout_s
            data: bytes = self._port.read(1)
            while data and len(data) < 4096 and self._port.in_waiting:
                data += self._port.read(self._port.in_waiting)
            return data

    def close(self) -> None:
        """Let go of the port."""
        with contextlib.suppress(Exception):
            self._port.close()

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        # A port that was closed meanwhile fails in ways of its own: TypeError, AttributeError.
        except (OSError, TypeError, AttributeError, ValueError) as error:
            cure = "see whether it is plugged in, and used by this program alone; then open it anew"
            raise LinkLostError(
                f"the link to the stage at {self.url} was lost", got=error, cure=cure
            ) from error


def open_link(url: str) -> Link:
    """Open a port for this process alone.

    Parameters
    ----------
    url : str
        ``serial:///dev/serial/by-id/...``, a device, ``socket://HOST:PORT``, or another URL of pyserial's.

    Raises
    ------
    UsageError
        It is no URL that pyserial knows.
    MissingDependencyError
        pyserial is not installed.
    HardwareError
        The port does not exist, is in use, or may not be opened.
    """
    try:
        import serial
    except ImportError as error:
        raise MissingDependencyError("pyserial is not installed", cure=extra_cure("stage")) from error
    name = url.removeprefix("serial://") if url.startswith("serial:///") else url
    device = "://" not in name
    if device and not name.startswith("/"):
        allowed = "serial:///dev/serial/by-id/NAME, socket://HOST:PORT, openflexure://HOST"
        raise UsageError("this is no address of a stage", got=repr(url), allowed=allowed)
    try:
        # Only a device can be locked against a second program.
        locked: dict[str, Any] = {"exclusive": True} if device else {}
        # A machine that stalls for a second has not lost its link.
        port = serial.serial_for_url(name, BAUD, timeout=0.1, write_timeout=5.0, **locked)
    except ValueError as error:
        raise UsageError(f"{url} cannot be opened", got=error) from error
    except OSError as error:
        raise _refused(url, name, error, device=device) from error
    return Link(port, url)


def _refused(url: str, name: str, error: OSError, *, device: bool) -> HardwareError:
    number = error.errno
    if not device:
        cure = "see whether the host is up and listens there"
        return HardwareError(f"the stage at {url} cannot be reached", got=error, cure=cure)
    if number == errno.ENOENT:
        return HardwareError(f"there is no port {name}", cure=_ports_found())
    if number in {errno.EACCES, errno.EPERM}:
        group = _group_of(name)
        cure = f"sudo usermod -aG {group} $USER, then log in again"
        return HardwareError(f"this user may not open {name}", cure=cure)
    if number in {errno.EBUSY, errno.EAGAIN} or "exclusively lock" in str(error):
        cure = "close the other program that uses the stage"
        return HardwareError(f"{name} is in use", cure=cure)
    return HardwareError(f"{name} cannot be opened", got=error)


def _ports_found() -> str:
    found = sorted(map(str, BY_ID.iterdir())) if BY_ID.is_dir() else []
    return "found are " + ", ".join(found) if found else f"plug it in; it then shows in {BY_ID}"


def _group_of(name: str) -> str:
    try:
        group = grp.getgrgid(os.stat(name).st_gid).gr_name  # noqa: PTH116
    except (OSError, KeyError):
        group = ""
    # Debian calls it dialout, Arch uucp.
    return group if group in {"dialout", "uucp", "plugdev"} else "dialout (uucp on Arch)"
