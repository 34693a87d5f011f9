"""Controls of cameras: set, read back, locked when they have settled, the same after a reconnection."""

from __future__ import annotations

import re
import sys
import threading
import time
from typing import TYPE_CHECKING

import cv2
import numpy as np
import picamera2_stand_in
import pytest
from picamera2_stand_in import SCENE, Picamera2
from v4l2_driver import EXPOSURE, EXPOSURE_AUTO, GAIN, TEMPERATURE, Driver

from edgeleuk.capture import ReconnectPolicy, SourceEvent, decoded, open_camera, open_source
from edgeleuk.capture.base import JpegFrame
from edgeleuk.capture.controls import Control, ControlKeeper
from edgeleuk.capture.discovery import cameras_text, control_settings, list_cameras
from edgeleuk.capture.gstreamer import open_gstreamer
from edgeleuk.capture.v4l2 import V4l2Device
from edgeleuk.capture.v4l2_camera import V4l2Controls
from edgeleuk.commands.probe import probe, probe_text
from edgeleuk.errors import CameraError, MissingDependencyError, UsageError
from edgeleuk.io.closing import Closing
from edgeleuk.io.settings import RunSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgeleuk.capture import FrameSource
    from edgeleuk.capture.base import SourceItem

JPEG = cv2.imencode(".jpg", np.full((48, 64, 3), 200, np.uint8))[1].tobytes()


class Scope(Closing):
    """The driver's camera as a source: JPEGs without end, or until it is unplugged."""

    def __init__(self, driver: Driver) -> None:
        self.uri = "v4l2:///dev/scope"
        self.live = True
        self.controls = V4l2Controls(V4l2Device("/dev/null", ioctl=driver.ioctl))
        self._closed = threading.Event()
        self.dies_after = 10**9

    def frames(self) -> Iterator[SourceItem]:
        sequence = 0
        while not self._closed.wait(0.001):
            if sequence == self.dies_after:
                msg = "unplugged"
                raise CameraError(msg)
            yield JpegFrame(JPEG, sequence, time.time(), time.monotonic(), self.uri)
            sequence += 1

    def close(self) -> None:
        self._closed.set()


class Clock:
    """Half a second between two looks."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.5
        return self.now


def said(source: FrameSource, frames: int) -> list[tuple[str, str]]:
    events: list[tuple[str, str]] = []
    seen = 0
    for item in source.frames():
        if isinstance(item, SourceEvent):
            events.append((item.kind, item.text))
        else:
            seen += 1
        if seen == frames:
            return events
    return events


def test_what_is_asked_is_set_and_the_rest_is_locked_once_it_has_settled() -> None:
    driver = Driver()
    keeper = ControlKeeper({Control.GAIN: (33.0,)}, clock=Clock())
    with keeper.keep(Scope(driver)) as source:
        events = said(source, 12)
        assert (driver.values[EXPOSURE_AUTO], driver.values[GAIN]) == (1, 33)
    assert events == [
        ("controls", "exposure_ms 15.6 (automatic), gain 33, white_balance 4600 (automatic)"),
        ("locked", "exposure_ms 15.6, gain 33, white_balance 4600"),
    ]
    # As it was found.
    assert driver.values[EXPOSURE_AUTO] == 3


def test_without_lock_the_camera_goes_on_adjusting_itself() -> None:
    driver = Driver()
    with ControlKeeper({}, lock=False, clock=Clock()).keep(Scope(driver)) as source:
        assert [kind for kind, _ in said(source, 12)] == ["controls"]
        assert driver.values[EXPOSURE_AUTO] == 3


def test_a_value_that_was_not_taken_is_an_event() -> None:
    driver = Driver()
    driver.stubborn.add(TEMPERATURE)
    keeper = ControlKeeper({Control.WHITE_BALANCE: (5600.0,)}, clock=Clock())
    with keeper.keep(Scope(driver)) as source:
        events = said(source, 2)
    assert events[1] == ("differs", "white_balance was set to 5600, and reads back as 4600")


def test_a_camera_that_comes_back_gets_what_was_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    drivers = [Driver(), Driver()]
    drivers[0].values[EXPOSURE] = 211
    scopes = [Scope(driver) for driver in drivers]
    scopes[0].dies_after = 12
    opened = iter(scopes)
    monkeypatch.setattr("edgeleuk.capture.reconnecting.open_source", lambda _: next(opened))
    keeper = ControlKeeper({Control.GAIN: (40.0,)}, clock=Clock())
    with open_camera("v4l2:///dev/scope", ReconnectPolicy(first_wait_s=0.01), keeper) as source:
        events = said(source, 20)
        assert drivers[1].values[EXPOSURE] == 211
        assert drivers[1].values[GAIN] == 40
    assert ("controls", "exposure_ms 21.1, gain 40, white_balance 4600") in events
    assert [kind for kind, _ in events].count("locked") == 1


REFUSED: dict[str, tuple[dict[Control, tuple[float, ...]], str]] = {
    "out of range": ({Control.EXPOSURE_MS: (900.0,)}, "out of range: got 900, allowed 0.1 to 500 ms"),
    "another form": (
        {Control.WHITE_BALANCE: (1.9, 1.5)},
        r"another form: got 1.9,1.5, allowed one number \(K\)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_camera_cannot_be_set_to_is_refused(case: str) -> None:
    asked, message = REFUSED[case]
    with pytest.raises(UsageError, match=message):
        ControlKeeper(asked).keep(Scope(Driver()))


def test_a_control_that_the_camera_lacks_is_refused() -> None:
    driver = Driver()
    driver.controls = [each for each in driver.controls if each[0] != GAIN]
    with pytest.raises(
        UsageError, match="cannot be told its gain: got 3, allowed exposure_ms, white_balance"
    ):
        ControlKeeper({Control.GAIN: (3.0,)}).keep(Scope(driver))


def test_a_source_without_controls_is_not_asked_in_vain(tmp_path: Path) -> None:
    keeper = control_settings(RunSettings(exposure_ms=3.0, white_balance="1.9,1.5"))
    with pytest.raises(UsageError, match="has no controls, so exposure_ms, white_balance cannot be set"):
        open_camera("virtual://?fps=5", keeper=keeper)
    with open_camera("virtual://", keeper=control_settings(RunSettings())) as source:
        assert not source.live


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> type[Picamera2]:
    """A Raspberry Pi with one camera."""
    monkeypatch.setitem(__import__("sys").modules, "picamera2", picamera2_stand_in)
    monkeypatch.setattr(
        Picamera2, "cameras", [{"Model": "imx477", "Id": "/base/soc/i2c0mux/imx477@1a", "Num": 0}]
    )
    monkeypatch.setattr(Picamera2, "opened", [])
    return Picamera2


class TestPi:
    def test_pixels_are_red_green_blue(self, library: type[Picamera2]) -> None:
        with open_source("picamera://0?width=320&height=240") as source:
            frames = source.frames()
            items = [next(frames) for _ in range(3)]
            assert not any(isinstance(item, SourceEvent) for item in items)
            frame = decoded(items[-1])  # type: ignore[arg-type]
        assert frame.pixels.shape == (240, 320, 3)
        assert tuple(frame.pixels[0, 0]) == SCENE
        assert frame.sequence == 2
        camera = library.opened[0]
        # Buffers are few: each went back, and the camera is free for the next one.
        assert (camera.lent, camera.started, camera.closed) == (0, False, True)

    def test_controls_are_set_waited_for_and_locked(self, library: type[Picamera2]) -> None:
        asked = {Control.EXPOSURE_MS: (20.0,), Control.WHITE_BALANCE: (2.2, 1.4)}
        with ControlKeeper(asked, clock=Clock()).keep(open_source("picamera://0")) as source:
            events = said(source, 12)
        told = {name: value for each in library.opened[0].told for name, value in each.items()}
        assert (told["AeEnable"], told["AwbEnable"]) == (False, False)
        # Exposure and gain share one automatic mode: the gain stays what it was.
        assert (told["ExposureTime"], told["AnalogueGain"], told["ColourGains"]) == (20000, 2.0, (2.2, 1.4))
        assert events == [("controls", "exposure_ms 19.99, gain 2, white_balance 2.2,1.4")]

    def test_a_long_exposure_slows_the_frames_down(self, library: type[Picamera2]) -> None:
        keeper = ControlKeeper({Control.EXPOSURE_MS: (100.0,)}, clock=Clock())
        with keeper.keep(open_source("picamera://0")) as source:
            events = said(source, 2)
        assert library.opened[0].told[0]["FrameDurationLimits"] == (100000, 100000)
        assert [kind for kind, _ in events] == ["controls"]
        assert events[0][1].startswith("exposure_ms 99.99,") or events[0][1].startswith("exposure_ms 100,")

    def test_what_adjusts_itself_is_locked(self, library: type[Picamera2]) -> None:
        with ControlKeeper({}, clock=Clock()).keep(open_source("picamera://0")) as source:
            events = said(source, 12)
        assert events[0] == (
            "controls",
            "exposure_ms 9.996 (automatic), gain 2 (automatic), white_balance 1.9,1.6 (automatic)",
        )
        assert events[1] == ("locked", "exposure_ms 9.996, gain 2, white_balance 1.9,1.6")

    def test_a_sensor_that_does_not_obey_is_an_event(
        self, library: type[Picamera2], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(library, "deaf", True)
        with ControlKeeper({Control.GAIN: (8.0,)}, clock=Clock()).keep(open_source("picamera://0")) as source:
            events = said(source, 2)
        assert events[1] == ("differs", "gain was set to 8, and reads back as 2")

    def test_it_dies_when_no_picture_comes(self, library: type[Picamera2]) -> None:
        with open_source("picamera://0") as source:
            library.opened[0].dead = True
            with pytest.raises(CameraError, match="died: got no picture within 5 s"):
                next(source.frames())

    @pytest.mark.parametrize(
        ("uri", "kind", "message"),
        [
            ("picamera://1", CameraError, "no Pi camera 1: got 1 camera; .*rpicam-hello"),
            ("picamera://front", UsageError, "not the number of a Pi camera"),
            ("picamera://0?size=3", UsageError, "got size, allowed width, height, fps"),
            ("picamera://0?width=wide", UsageError, "bad value for width"),
            ("picamera://0?width", UsageError, "key=value"),
            ("picamera://0?width=321", CameraError, "took another size .*got 320x960 BGR888"),
        ],
    )
    def test_what_cannot_be_opened(
        self, library: type[Picamera2], uri: str, kind: type[Exception], message: str
    ) -> None:
        with pytest.raises(kind, match=message):
            open_source(uri)

    def test_it_may_be_in_use(self, library: type[Picamera2], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(library, "in_use", True)
        with pytest.raises(CameraError, match=r"cannot be opened.*close the other program"):
            open_source("picamera://0")

    def test_it_is_listed(self, library: type[Picamera2], tmp_path: Path) -> None:
        usb = {"Model": "Webcam", "Id": "/base/scb/pcie/usb-1"}
        library.cameras = [usb, *library.cameras]
        (found,) = list_cameras(tmp_path).to_json()["cameras"]
        assert (found["uri"], found["name"]) == ("picamera://1", "imx477")

    def test_without_picamera2_it_says_how_to_get_it(self) -> None:
        with pytest.raises(
            MissingDependencyError, match=r"apt install python3-picamera2.*--system-site-packages"
        ):
            open_source("picamera://0")


# How the libraries that picamera2 brings fail to load, as they say it themselves.
BROKEN = {
    "numpy 2, simplejpeg of Bookworm": (
        'raise ValueError("numpy.dtype size changed, may indicate binary incompatibility.'
        ' Expected 96 from C header, got 88 from PyObject")',
        r"got ValueError: numpy\.dtype size changed.*; .*`pip install \"simplejpeg>=1\.9\"`",
    ),
    "numpy 2, other": (
        'import sys; sys.stderr.write("A module that was compiled using NumPy 1.x cannot be run\\n" * 30);'
        'raise ImportError("numpy.core.multiarray failed to import")',
        r"got ImportError: numpy\.core\.multiarray failed.*; .*numpy<2",
    ),
    "no libcamera": (
        "import libcamera",
        r"got ModuleNotFoundError: No module named 'libcamera'.*--reinstall",
    ),
    "another Python's": (
        'raise ImportError("libcamera/_libcamera.so: undefined symbol: PyX\\nsecond line")',
        r"undefined symbol: PyX \(numpy .*/usr/bin/python3 -m venv",
    ),
    "no wayland": (
        "raise RuntimeError()",
        r"got RuntimeError \(numpy .*; try `python3 -c 'import picamera2'`",
    ),
    "damaged": ("this is no Python", "got SyntaxError"),
    "leaves": ("raise SystemExit(3)", "got SystemExit: 3"),
}


class TestBrokenLibrary:
    @pytest.fixture(params=BROKEN)
    def message(self, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        """What is said of a picamera2 that is installed so."""
        code, message = BROKEN[request.param]
        (tmp_path / "lib/picamera2").mkdir(parents=True)
        (tmp_path / "lib/picamera2/__init__.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path / "lib")
        monkeypatch.delitem(sys.modules, "picamera2", raising=False)
        return message

    def test_it_says_why_and_what_helps(self, message: str, capfd: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(MissingDependencyError, match=message) as caught:
            open_source("picamera://0")
        assert "\n" not in str(caught.value)
        assert capfd.readouterr() == ("", "")

    def test_the_list_of_cameras_says_so_too(self, message: str, tmp_path: Path) -> None:
        found = list_cameras(tmp_path)
        (camera,) = found.to_json()["cameras"]
        assert camera["uri"] == "picamera://"
        assert re.search(message, camera["error"])
        assert camera["error"] in cameras_text(found)


def test_a_libcamera_that_does_not_answer_is_listed_with_its_error(
    library: type[Picamera2], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken() -> None:
        raise RuntimeError("Cannot acquire the camera manager")

    monkeypatch.setattr(library, "global_camera_info", broken)
    (camera,) = list_cameras(tmp_path).to_json()["cameras"]
    assert "libcamera does not tell its cameras: got RuntimeError: Cannot acquire" in camera["error"]
    with pytest.raises(CameraError, match="does not tell its cameras"):
        open_source("picamera://0")


class TestGstreamer:
    def test_an_opencv_without_it_says_how_to_get_another(self) -> None:
        with pytest.raises(
            MissingDependencyError, match=r"apt install python3-opencv.*--system-site-packages"
        ):
            open_source("gstreamer:rtspsrc location=rtsp://host/live ! decodebin ! appsink")

    def test_a_pipeline_needs_its_sink(self) -> None:
        with pytest.raises(UsageError, match="ends in appsink"):
            open_source("gstreamer:videotestsrc ! fakesink")

    def test_a_pipeline_that_does_not_start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cv2, "getBuildInformation", lambda: "    GStreamer:      YES (1.22.0)\n")
        with pytest.raises(
            CameraError, match=r"does not start: got rtspsrc location=rtsp://u:\*\*\*@h/ ! appsink"
        ):
            open_gstreamer("gstreamer://rtspsrc location=rtsp://u:secret@h/ ! appsink")


class TestProbe:
    def test_a_live_source(self, tmp_path: Path) -> None:
        out = tmp_path / "p.png"
        result = probe("virtual://?fps=20&width=320&height=240", out, 0.6)
        assert (result.width, result.height, result.live, result.simulated) == (
            320,
            240,
            True,
            True,
        )
        assert result.fps is not None
        assert 0 < result.fps < 25
        assert result.latency_ms.p95 >= 0
        assert cv2.imread(str(out)).shape == (240, 320, 3)
        text = probe_text(result)
        assert "SIMULATED" in text
        assert "a second, jitter" in text

    def test_a_folder_has_no_rate(self, tmp_path: Path) -> None:
        cv2.imwrite(str(tmp_path / "a.png"), np.full((60, 80, 3), (10, 90, 200), np.uint8))
        result = probe(str(tmp_path), None, 0.2)
        assert (result.fps, result.frames, result.controls) == (None, 1, {})
        assert "control   none" in probe_text(result)

    def test_a_camera_with_controls(self, library: type[Picamera2]) -> None:
        result = probe("picamera://0?width=320&height=240", None, 0.2)
        assert result.controls["exposure_ms"].value == (9.996,)
        assert "control   white_balance 1.9,1.6, automatic (settable: 0 to 32 red,blue gain)" in probe_text(
            result
        )

    @pytest.mark.parametrize(
        ("out", "seconds", "kind", "message"),
        [
            ("p.png", 0.0, UsageError, "number of seconds"),
            ("p.jpg", 1.0, UsageError, "stored as PNG"),
            ("none/p.png", 0.1, UsageError, "cannot be written"),
        ],
    )
    def test_what_is_refused(
        self, tmp_path: Path, out: str, seconds: float, kind: type[Exception], message: str
    ) -> None:
        with pytest.raises(kind, match=message):
            probe("virtual://?width=320&height=240&frames=1", tmp_path / out, seconds)

    def test_damaged_pictures_alone_are_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "a.jpg").write_bytes(JPEG[: len(JPEG) // 2])
        with pytest.raises(CameraError, match="no picture that can be decoded"):
            probe(str(tmp_path), None, 0.2)
