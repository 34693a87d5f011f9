"""The body of an HTTP answer, read by whoever can make pictures of it; and what is said when it fails."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import ssl
from urllib.error import URLError

from edgeleuk.errors import CameraError
from edgeleuk.io.closing import Closing

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
    """

    def __init__(self, response: http.client.HTTPResponse, connection: socket.socket | None) -> None:
        # As `edgeleuk virtual-microscope` says of its pictures.
        self.simulated = response.headers.get("X-Edgeleuk-Simulated", "0").strip() not in {"", "0"}
        self._response = response
        self._connection = connection
        self._begin = b""
        self.error: OSError | None = None
        # The response does not give its socket away, but any handle shuts the connection down.
        self._handle = socket.socket(fileno=os.dup(response.fileno()))

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
            return self._response.read1(most_bytes)
        except http.client.IncompleteRead:
            return b""
        except OSError as error:
            self.error = error
            raise
        except (http.client.HTTPException, ValueError) as error:
            self.error = BrokenHttpError(type(error).__name__)
            raise self.error from None

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
