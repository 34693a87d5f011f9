"""``gstreamer:PIPELINE``: a Jetson's ribbon cable, or whatever GStreamer reads, where OpenCV has it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.capture.base import READ_TIMEOUT_S
from edgeleuk.errors import CameraError, MissingDependencyError, UsageError
from edgeleuk.frames import Frame
from edgeleuk.io.clock import moment
from edgeleuk.io.closing import Closing
from edgeleuk.io.uris import public_pipeline

if TYPE_CHECKING:
    from collections.abc import Iterator

    import cv2

_EXAMPLE = (
    "write it like gstreamer:nvarguscamerasrc ! nvvidconv ! video/x-raw,format=BGRx ! videoconvert"
    " ! video/x-raw,format=BGR ! appsink"
)


def open_gstreamer(uri: str) -> GstreamerSource:
    """Open ``gstreamer:PIPELINE``; the pipeline ends in ``appsink``, and gives BGR there.

    Raises
    ------
    UsageError
        There is no pipeline, or it does not end in an appsink.
    MissingDependencyError
        OpenCV was built without GStreamer, as pip's is.
    CameraError
        The pipeline does not start.
    """
    pipeline = uri.split("://", 1)[1].strip()
    public = public_pipeline(pipeline)
    if "appsink" not in pipeline.rpartition("!")[2]:
        raise UsageError(
            "a pipeline ends in appsink, which hands the pictures over", got=repr(public), cure=_EXAMPLE
        )
    import cv2

    if not _has_gstreamer(cv2.getBuildInformation()):
        raise MissingDependencyError(
            "this OpenCV was built without GStreamer, as all from PyPI are",
            got=f"OpenCV {cv2.__version__} from {cv2.__file__}",
            cure="use the system's: sudo apt install python3-opencv, make the environment with"
            " `python3 -m venv --system-site-packages .venv`, then `pip uninstall opencv-python-headless`",
        )
    timeout_ms = int(READ_TIMEOUT_S * 1000)
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, timeout_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, timeout_ms]
    capture = cv2.VideoCapture(pipeline, cv2.CAP_GSTREAMER, limits)
    if not capture.isOpened():
        # Old versions (Debian 12's is one) know no limits of time here, and refuse to be given any.
        capture = cv2.VideoCapture(pipeline, cv2.CAP_GSTREAMER)
    if not capture.isOpened():
        raise CameraError(
            "the GStreamer pipeline does not start",
            got=public,
            cure="try it with `gst-launch-1.0`, and autovideosink in the place of appsink, which says why",
        )
    return GstreamerSource(capture, f"gstreamer:{public}")


class GstreamerSource(Closing):
    """A pipeline that runs; opened by `open_gstreamer`.

    Parameters
    ----------
    capture : cv2.VideoCapture
        Open.
    uri : str
    """

    def __init__(self, capture: cv2.VideoCapture, uri: str) -> None:
        self.uri = uri
        self.live = True
        self._capture = capture
        # Held while a frame is read: it must not be released under the reader's hands.
        self._busy = threading.Lock()
        self._closed = False

    def frames(self) -> Iterator[Frame]:
        """Yield each frame; see `FrameSource.frames`."""
        import cv2

        sequence = 0
        while True:
            with self._busy:
                if self._closed:
                    return
                there, bgr = self._capture.read()
            if not there:
                raise CameraError(f"{self.uri} ended", cure="check the camera, then run again")
            now = moment()
            if bgr.ndim != 3 or bgr.shape[2] != 3:
                raise CameraError(
                    f"{self.uri} gives no BGR",
                    got=f"pictures of shape {bgr.shape}",
                    cure="put `videoconvert ! video/x-raw,format=BGR` before appsink",
                )
            pixels = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
            yield Frame(pixels, sequence, *now, self.uri)
            sequence += 1

    def close(self) -> None:
        """Stop the pipeline; waits for a read that is under way, at most as long as its time-out."""
        self._closed = True
        if self._busy.acquire(timeout=READ_TIMEOUT_S + 1):
            self._capture.release()
            self._busy.release()


def _has_gstreamer(build: str) -> bool:
    r"""Whether OpenCV's account of its build says so.

    Examples
    --------
    >>> _has_gstreamer("  Video I/O:\n    GStreamer:                   YES (1.20.3)\n")
    True
    """
    lines = (line.split(":", 1) for line in build.splitlines() if "GStreamer:" in line)
    return any(answer.strip().startswith("YES") for _, answer in lines)
