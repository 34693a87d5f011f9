"""The body of an HTTP answer, read by whoever can make pictures of it; and what is said when it fails."""

from __future__ import annotations

import array
import contextlib
import fcntl
import http.client
import math
import os
import select
import socket
import ssl
import termios
import time
from urllib.error import URLError

from edgeleuk.errors import CameraError
from edgeleuk.io.closing import Closing

# A connection on which nothing comes is looked at so often.
_LOOK_S = 0.01
_CHUNK_END = b"\r\n"
CHECK = "check the address with a browser or a player"


class HttpBody(Closing):
    """An answer whose header is read.

    Parameters
    ----------
    response : http.client.HTTPResponse
    connection : socket.socket or None
        What it comes through, to change its time-out.

    Attributes
    ----------
    error : OSError or None
        What ended the reading, if something did.
    simulated : bool
        The header says that the pictures are drawn.
    caught_up_s : float
        The last moment, on the steady clock, when all that had arrived was read.
    """

    def __init__(self, response: http.client.HTTPResponse, connection: socket.socket | None) -> None:
        # As `edgeleuk virtual-microscope` says of its pictures.
        self.simulated = response.headers.get("X-Edgeleuk-Simulated", "0").strip() not in {"", "0"}
        self._response = response
        self._connection = connection
        self._begin = b""
        self.error: OSError | None = None
        self.caught_up_s = -math.inf
        # The response does not give its socket away, but any handle shuts the connection down.
        self._handle = socket.socket(fileno=os.dup(response.fileno()))
        self._poll = select.poll()
        self._poll.register(self._handle, select.POLLIN)

    def be_endless(self) -> None:
        """Ignore the length: a stream has none, whatever some cameras write there."""
        self._response.length = None

    def wait_at_most(self, seconds: float) -> None:
        """Take so long a silence for the end of the connection."""
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.settimeout(seconds)

    def put_back(self, begin: bytes) -> None:
        """Give what was read of it out once more."""
        self._begin = begin + self._begin

    def read(self, most_bytes: int) -> bytes:
        """Return what has arrived, at least one byte; none at the end.

        Raises
        ------
        OSError
            The connection is lost, or silent for too long.
        """
        if self._begin:
            given, self._begin = self._begin[:most_bytes], self._begin[most_bytes:]
            return given
        try:
            self._await()
            return self._response.read1(most_bytes)
        except http.client.IncompleteRead:
            return b""
        except OSError as error:
            self.error = error
            raise
        except (http.client.HTTPException, ValueError) as error:
            self.error = BrokenHttpError(type(error).__name__)
            raise self.error from None

    def _await(self) -> None:
        """Wait until something has arrived, and take note until when nothing had."""
        begun_s = time.monotonic()
        longest_s = None if self._connection is None else self._connection.gettimeout()
        while True:
            # Before the look: whoever is kept busy behind it would tell a time that is too late.
            now_s = time.monotonic()
            if not self._is_caught_up():
                return
            self.caught_up_s = now_s
            if longest_s is None or self._response.chunked or self._poll.poll(1000 * _LOOK_S):
                return
            if now_s - begun_s > longest_s:
                raise TimeoutError

    def _is_caught_up(self) -> bool:
        """Whether nothing is left to be read, here or in the system; but for the end of a chunk."""
        response, connection = self._response, self._connection
        end = len(_CHUNK_END) if response.chunked else 0
        if self._left_in_system() > end or response.fp is None or connection is None:
            return False
        # What `http.client` has read ahead; asked without waiting, for it would read where it has nothing.
        before_s = connection.gettimeout()
        connection.settimeout(0)
        try:
            ahead = len(response.fp.peek(1))
        except ssl.SSLWantReadError:
            ahead = 0
        finally:
            connection.settimeout(before_s)
        return ahead + self._left_in_system() <= end

    def _left_in_system(self) -> int:
        """Bytes that have arrived and that nobody has read."""
        count = array.array("i", [0])
        fcntl.ioctl(self._handle, termios.FIONREAD, count)
        return count[0]

    def end(self) -> None:
        """End the connection: a read in another thread ends at once."""
        with contextlib.suppress(OSError):
            self._handle.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection; nobody may be reading."""
        self.end()
        self._handle.close()
        self._response.close()


class BrokenHttpError(OSError):
    """What came is no HTTP."""


def connection_error(public: str, what: str, error: Exception, timeout_s: float) -> CameraError:
    """Say why a connection failed, without the library's own words where they may hold the address."""
    reason = error.reason if isinstance(error, URLError) else error
    text, cure = getattr(reason, "strerror", None), "check the cable and the network"
    if isinstance(reason, TimeoutError):
        text = f"no answer within {timeout_s:g} s"
    elif isinstance(reason, ssl.SSLCertVerificationError):
        text, cure = (
            reason.verify_message,
            "put the camera's certificate into a file that SSL_CERT_FILE names",
        )
    elif isinstance(reason, ssl.SSLError):
        text, cure = "no TLS", "try http:// instead of https://"
    elif isinstance(reason, ConnectionRefusedError):
        cure = "switch the camera on, and check its address and port"
    elif isinstance(reason, BrokenHttpError):
        text, cure = f"no HTTP ({reason})", CHECK
    elif not text:
        text, cure = f"no HTTP ({type(reason).__name__})", CHECK
    return CameraError(f"{public} {what}", got=text, cure=cure)
