"""``picamera://0``: a camera on a Raspberry Pi's ribbon cable, through Pi OS's picamera2."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import numpy as np

from edgeleuk.capture.base import READ_TIMEOUT_S, FrameRejectedError
from edgeleuk.capture.controls import Control, ControlRange, Reading, Value, differs
from edgeleuk.errors import CameraError, MissingDependencyError, UsageError
from edgeleuk.frames import Frame
from edgeleuk.io.clock import moment
from edgeleuk.io.closing import Closing
from edgeleuk.io.uris import public_uri

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

# libcamera names the bytes of a pixel from the last to the first: "BGR888" lies in memory as red, green,
# blue, and "RGB888" as blue, green, red, which OpenCV wants and we do not.
PIXEL_FORMAT = "BGR888"
DEFAULT_SIZE = (1280, 960)
DEFAULT_FPS = 30.0
# A sensor takes a value over some frames after it was told.
_FRAMES_TO_OBEY = 12
_MOST_SAID = 200
_OPTIONS = {"width": 16, "height": 16, "fps": 1}
_EXAMPLE = "write it like picamera://0?width=1280&height=960&fps=30"
_CURE = "check the ribbon cable; `rpicam-hello --list-cameras` shows what the system sees"


class NotInstalledError(MissingDependencyError):
    """There is no picamera2, as on all but Raspberry Pis."""


@dataclass(frozen=True, slots=True)
class _RawFrame:
    """Pixels as they came, not yet checked."""

    pixels: npt.NDArray[np.uint8]
    sequence: int
    captured_at: float
    captured_monotonic: float
    source: str

    def decode(self) -> Frame:
        if self.pixels.ndim != 3 or self.pixels.shape[2] != 3:
            raise FrameRejectedError("damaged video frame", f"{self.source} frame {self.sequence}")
        pixels = np.ascontiguousarray(self.pixels)
        return Frame(pixels, self.sequence, self.captured_at, self.captured_monotonic, self.source)


def open_pi(uri: str) -> PiSource:
    """Open ``picamera://N?width=1280&height=960&fps=30``, every key optional.

    Raises
    ------
    UsageError
        No number of a camera, or a bad option.
    MissingDependencyError
        picamera2 is not installed, or does not load.
    CameraError
        There is no such camera, or it is in use.
    """
    number, query = (*uri.split("://", 1)[1].split("?", 1), "")[:2]
    number = number.strip("/") or "0"
    if not number.isdecimal():
        raise UsageError("not the number of a Pi camera", got=public_uri(number), cure=_EXAMPLE)
    try:
        options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError:
        raise UsageError("a camera's options are key=value", got=query, cure=_EXAMPLE) from None
    for key, text in options.items():
        if key not in _OPTIONS:
            raise UsageError("unknown option of a Pi camera", got=key, allowed=", ".join(_OPTIONS))
        if not text.isdecimal() or int(text) < _OPTIONS[key]:
            raise UsageError(f"bad value for {key} of a Pi camera", got=repr(text), cure=_EXAMPLE)
    size = int(options.get("width", DEFAULT_SIZE[0])), int(options.get("height", DEFAULT_SIZE[1]))
    return PiSource(int(number), uri, size, float(options.get("fps", DEFAULT_FPS)))


def pi_cameras() -> list[tuple[int, str]]:
    """Return (number, name) of the cameras that libcamera sees on ribbon cables; none without picamera2.

    Raises
    ------
    MissingDependencyError
        picamera2 is there, and does not load.
    CameraError
        libcamera does not tell its cameras.
    """
    try:
        camera = _library()
    except NotInstalledError:
        return []
    # Those on USB are V4L2's: listed twice, one would be taken for two.
    return [
        (number, str(each.get("Model", "camera")))
        for number, each in enumerate(_known(camera))
        if "usb" not in str(each.get("Id", "")).lower()
    ]


class PiSource(Closing):
    """A camera of libcamera; opened by `open_pi`, which documents the errors.

    Parameters
    ----------
    number : int
    uri : str
    size : (int, int)
        Width and height in pixels.
    fps : float
    """

    def __init__(self, number: int, uri: str, size: tuple[int, int], fps: float) -> None:
        camera = _library()
        known = _known(camera)
        if number >= len(known):
            have = f"{len(known)} camera{'s' * (len(known) != 1)}"
            raise CameraError(f"there is no Pi camera {number}", got=have, cure=_CURE)
        self.uri = uri
        self.live = True
        self.format = PIXEL_FORMAT
        self._closed = False
        self._camera: Any = None
        try:
            self._camera = camera(number)
            configuration = self._camera.create_video_configuration(
                main={"size": size, "format": PIXEL_FORMAT}, buffer_count=4, controls={"FrameRate": fps}
            )
            self._camera.configure(configuration)
            self._camera.start()
        except (RuntimeError, OSError, ValueError, IndexError) as error:
            self.close()
            cure = f"close the other program that uses it, or {_CURE}"
            raise CameraError(f"{uri} cannot be opened", got=error, cure=cure) from None
        main = self._camera.camera_configuration()["main"]
        if (main["format"], tuple(main["size"])) != (PIXEL_FORMAT, size):
            got = f"{main['size'][0]}x{main['size'][1]} {main['format']}"
            self.close()
            raise CameraError(
                f"{uri} took another size or format",
                got=got,
                allowed=f"{size[0]}x{size[1]} {PIXEL_FORMAT}",
                cure="ask for a width that is a multiple of 32, and a size that the sensor has",
            )
        self.controls = PiControls(self._camera)

    def frames(self) -> Iterator[_RawFrame]:
        """Yield each frame; see `FrameSource.frames`."""
        sequence = 0
        while (camera := self._camera) is not None:
            try:
                # The number is the longest wait, in seconds; old versions take it for "as long as it needs".
                request = camera.capture_request(wait=READ_TIMEOUT_S)
                now = moment()
                try:
                    # A copy: the buffer goes back to the camera.
                    pixels = np.array(request.make_array("main"), np.uint8)
                finally:
                    request.release()
            except TimeoutError:
                raise CameraError(
                    f"{self.uri} died", got=f"no picture within {READ_TIMEOUT_S:g} s", cure=_CURE
                ) from None
            except (RuntimeError, OSError) as error:
                if self._closed:
                    return
                raise CameraError(f"{self.uri} died", got=error, cure=_CURE) from None
            yield _RawFrame(pixels, sequence, *now, self.uri)
            sequence += 1

    def close(self) -> None:
        """Stop the camera and let go of it."""
        self._closed = True
        camera, self._camera = self._camera, None
        if camera is not None:
            with suppress(RuntimeError, OSError):
                camera.stop()
            with suppress(RuntimeError, OSError):
                camera.close()


class PiControls:
    """Exposure, gain and white balance through libcamera; see `CameraControls`.

    Exposure and gain share one automatic mode (AeEnable): a camera cannot keep one and adjust the other, on
    all versions of libcamera, so that taking one away fixes both.

    Parameters
    ----------
    camera : Picamera2
        Started.
    """

    def __init__(self, camera: Any) -> None:
        self._camera = camera
        self._automatic = {"AeEnable": True, "AwbEnable": True}

    def ranges(self) -> dict[Control, ControlRange]:
        """See `CameraControls.ranges`."""
        offered = self._camera.camera_controls
        found = {}
        for control, (name, switch, unit, per_unit, parts, step) in _CONTROLS.items():
            if name in offered:
                least, greatest = (_first(end) / per_unit for end in offered[name][:2])
                found[control] = ControlRange(least, greatest, step, unit, parts, automatic=switch in offered)
        return found

    def read(self) -> dict[Control, Reading]:
        """See `CameraControls.read`: what the metadata of the next frame says."""
        said = self._metadata()
        found = {}
        for control in self.ranges():
            name, switch, _, per_unit, _, _ = _CONTROLS[control]
            value = said.get(name, ())
            parts = tuple(value) if isinstance(value, (tuple, list)) else (value,)
            found[control] = Reading(
                tuple(float(part) / per_unit for part in parts), automatic=self._automatic[switch]
            )
        return found

    def set(self, control: Control, value: Value) -> None:
        """See `CameraControls.set`; returns once the sensor has taken it over, or after 12 frames."""
        name, switch, _, per_unit, parts, step = _CONTROLS[control]
        wanted: dict[str, object] = {name: tuple(value) if parts > 1 else value[0] * per_unit}
        if name == "ExposureTime":
            exposure_us = round(value[0] * per_unit)
            wanted[name] = exposure_us
            # A frame lasts at least as long as its exposure, which the frame rate would cut short.
            if exposure_us > self._metadata().get("FrameDuration", exposure_us):
                wanted["FrameDurationLimits"] = (exposure_us, exposure_us)
        if switch == "AeEnable" and self._automatic[switch]:
            said = self._metadata()
            wanted = {each: said[each] for each in ("ExposureTime", "AnalogueGain") if each in said} | wanted
        self._automatic[switch] = False
        self._tell({switch: False, **wanted})
        for _ in range(_FRAMES_TO_OBEY):
            if not differs(value, self.read()[control].value, step):
                return

    def lock(self, control: Control) -> None:
        """See `CameraControls.lock`."""
        self.set(control, self.read()[control].value)

    def release(self) -> None:
        """See `CameraControls.release`: libcamera forgets by itself when the camera is closed."""

    def _metadata(self) -> dict[str, Any]:
        try:
            said: dict[str, Any] = self._camera.capture_metadata(wait=READ_TIMEOUT_S)
        except (RuntimeError, OSError, TimeoutError) as error:
            raise CameraError("the Pi camera does not tell its controls", got=error, cure=_CURE) from None
        return said

    def _tell(self, wanted: dict[str, object]) -> None:
        try:
            self._camera.set_controls(wanted)
        except (RuntimeError, OSError) as error:
            raise CameraError("the Pi camera refused its controls", got=error, cure=_CURE) from None


# Control -> (libcamera's name, its automatic mode, unit, libcamera's units in one of ours, parts, rounding).
_CONTROLS = {
    Control.EXPOSURE_MS: ("ExposureTime", "AeEnable", "ms", 1000.0, 1, 0.05),
    Control.GAIN: ("AnalogueGain", "AeEnable", "times", 1.0, 1, 0.1),
    Control.WHITE_BALANCE: ("ColourGains", "AwbEnable", "red,blue gain", 1.0, 2, 0.02),
}


def _first(end: Any) -> float:
    """Return one end of a range; a control of two parts may have two ends of each."""
    return float(end[0] if isinstance(end, (tuple, list)) else end)


def _known(camera: Any) -> list[dict[str, Any]]:
    """Ask libcamera for its cameras."""
    try:
        known: list[dict[str, Any]] = camera.global_camera_info()
    except Exception as error:  # noqa: BLE001 - a binding of C++ raises what it likes
        raise CameraError("libcamera does not tell its cameras", got=_said(error), cure=_CURE) from None
    return known


def _library() -> Any:
    """Import picamera2, which raises what it likes: it brings libraries that were built for others.

    What they print meanwhile (numpy writes two pages where it is newer than they are) is kept back.
    """
    try:
        with redirect_stderr(io.StringIO()):
            from picamera2 import Picamera2
    except ModuleNotFoundError as error:
        if error.name == "picamera2":
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            raise NotInstalledError(
                "picamera:// needs picamera2, which comes with Raspberry Pi OS and not from PyPI",
                got=f"{error} (Python {version})",
                cure="sudo apt install python3-picamera2, and make the environment with"
                " `python3 -m venv --system-site-packages .venv`",
            ) from None
        raise _unloadable(error) from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - as said
        raise _unloadable(error) from None
    return Picamera2


def _unloadable(error: BaseException) -> MissingDependencyError:
    """Say why picamera2 is of no use although it is installed, and what helps."""
    said = _said(error)
    cure = next(cure for words, cure in _IMPORT_CURES if any(word in said for word in words))
    return MissingDependencyError(
        "picamera2 is installed but does not load", got=f"{said} (numpy {np.__version__})", cure=cure
    )


def _said(error: BaseException) -> str:
    """Return an error's class and its first line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = lines[0] if lines else ""
    return f"{type(error).__name__}: {first[:_MOST_SAID]}" if first else type(error).__name__


# Words of the error -> what helps; the last fits all.
_IMPORT_CURES: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("numpy", "NumPy", "binary incompatib", "_ARRAY_API", "simplejpeg"),
        'its libraries were built for another numpy: `pip install "simplejpeg>=1.9"`, or'
        ' `pip install "numpy<2" "opencv-python-headless<4.12"`',
    ),
    (
        ("libcamera", "pykms", "prctl"),
        "sudo apt install --reinstall python3-picamera2 python3-libcamera python3-kms++, and use the system's"
        " own Python: `/usr/bin/python3 -m venv --system-site-packages .venv`",
    ),
    (
        ("",),
        "try `python3 -c 'import picamera2'`, and sudo apt install --reinstall python3-picamera2",
    ),
)
