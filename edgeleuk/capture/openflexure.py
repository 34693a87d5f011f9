"""``openflexure://HOST[:PORT]``: the camera of an OpenFlexure microscope, by its server of version 3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeleuk.capture.http_camera import open_http
from edgeleuk.errors import CameraError
from edgeleuk.io.things import ThingServer, ThingServerError

if TYPE_CHECKING:
    from edgeleuk.capture.mjpeg import MjpegSource
    from edgeleuk.capture.video import VideoSource


def open_openflexure(uri: str) -> MjpegSource | VideoSource:
    """Open the live stream of the microscope's camera; the server's other users see it, too.

    Parameters
    ----------
    uri : str
        ``openflexure://HOST``, with ``:PORT`` where it is not 5000.

    Raises
    ------
    UsageError
        The address has more than a host and a port.
    CameraError
        The server cannot be reached, or has no stream.
    """
    try:
        server = ThingServer(uri)
    except ThingServerError as error:
        raise CameraError(error.what, got=error.got, cure=error.cure) from None
    # The stream is no property and no action, so that no description tells where it is.
    source = open_http(f"{server.base}{server.prefix}/camera/mjpeg_stream")
    source.uri = uri
    return source
