"""``run --save-video``: every judged field, annotated, as an MP4 that a power cut leaves playable."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import cv2

from edgeleuk.errors import UsageError
from edgeleuk.io.atomic import bears, require_replaceable
from edgeleuk.io.closing import Closing
from edgeleuk.io.console import printable, say, warn
from edgeleuk.vision.annotate import annotate

if TYPE_CHECKING:
    from pathlib import Path

    from edgeleuk.frames import RgbImage
    from edgeleuk.results import FrameResult

_MARK = "annotated by edgeleuk"
# Of the times in the file, 1/1000 s: a camera has no steady rate.
_TICK = Fraction(1, 1000)
# Fields of a folder have no times of their own; a pause of a night is not to be watched.
LEAST_STEP_MS, MOST_STEP_MS = 40, 1000
_FLAG = "--save-video"


class AnnotatedVideo(Closing):
    """A film of annotated fields.

    Fields follow each other as they were captured, at least 40 ms and at most 1 s apart. Each is a fragment
    of its own (fragmented MP4), so that what is written can be played though the process is killed.

    Parameters
    ----------
    path : Path
        Ends in ``.mp4``.
    simulated : bool
        Stamps SIMULATED on every field.

    Raises
    ------
    UsageError
        The name ends otherwise, edgeleuk did not make what is there, or it cannot be written.
    """

    def __init__(self, path: Path, *, simulated: bool) -> None:
        require_video(path)
        self._path = path
        self._simulated = simulated
        self._container: Any = None
        self._stream: Any = None
        self._at_ms = 0
        self._captured_at: float | None = None

    def seen(self, result: FrameResult, pixels: RgbImage) -> None:
        """Add a field, (H, W, 3) uint8 RGB.

        Raises
        ------
        UsageError
            It cannot be written.
        """
        import av

        picture = annotate(pixels, result, simulated=self._simulated)
        try:
            if self._container is None:
                self._open(picture)
            size = (self._stream.width, self._stream.height)
            # A camera that came back may send another size.
            if (picture.shape[1], picture.shape[0]) != size:
                picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
            if self._captured_at is not None:
                step_ms = round((result.captured_at - self._captured_at) * 1000)
                self._at_ms += min(max(step_ms, LEAST_STEP_MS), MOST_STEP_MS)
            self._captured_at = result.captured_at
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = self._at_ms, _TICK
            self._container.mux(self._stream.encode(frame))
        except (OSError, av.FFmpegError) as error:
            raise UsageError(f"the video {self._path} cannot be written", got=_reason(error)) from error

    def close(self) -> None:
        """Write the end of the film; without it the film plays, too, so that a failure only warns."""
        container, self._container = self._container, None
        if container is None:
            return
        import av

        try:
            container.mux(self._stream.encode(None))
            container.close()
        except (OSError, av.FFmpegError) as error:
            warn(f"the end of the video {printable(str(self._path))} cannot be written: {_reason(error)}")
            return
        say(f"video     {printable(str(self._path))}")

    def _open(self, picture: RgbImage) -> None:
        import av

        options = {"movflags": "empty_moov+default_base_moof+frag_every_frame", "flush_packets": "1"}
        container = av.open(str(self._path), "w", format="mp4", options=options)
        container.metadata["comment"] = _MARK
        # What a system's own FFmpeg may lack.
        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        stream: Any = container.add_stream(codec, rate=25)
        # Both codecs want even sides; no frame waits in the encoder.
        stream.width, stream.height = picture.shape[1] // 2 * 2, picture.shape[0] // 2 * 2
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = _TICK
        stream.codec_context.options = (
            {"preset": "veryfast", "tune": "zerolatency", "crf": "23"} if codec == "libx264" else {}
        )
        self._container, self._stream = container, stream


def require_video(path: Path, *, resume: bool = False) -> None:
    """Refuse a video that could not be written, before a run begins.

    Raises
    ------
    UsageError
        See `AnnotatedVideo`; or the run goes on, and the film of its first part would be lost.
    """
    if resume and path.exists():
        raise UsageError(f"{path} is there already, and a film cannot go on", cure=f"choose another {_FLAG}")
    if path.suffix.lower() != ".mp4":
        raise UsageError(f"wrong ending of {_FLAG}", got=path.name, allowed="NAME.mp4")
    require_replaceable(path, bears(_MARK.encode()), _FLAG)
    if not path.absolute().parent.is_dir():
        raise UsageError("the folder of the video does not exist", got=path.parent, cure="make it first")


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
