"""V4L2 cameras: layouts held to the kernel's, modes chosen, controls set and read back, errors with a cure.

No machine of ours has a camera: the driver answers from memory, and what vivid answered under Linux 6.1 is
among the answers.
"""

from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest
from v4l2_driver import (
    AUTO_WHITE_BALANCE,
    EXPOSURE,
    EXPOSURE_AUTO,
    GAIN,
    RECORDED,
    TEMPERATURE,
    Driver,
)

from edgeleuk.capture import decoded, open_source, v4l2
from edgeleuk.capture.base import JpegFrame
from edgeleuk.capture.controls import Control, ControlRange, Reading
from edgeleuk.capture.discovery import CameraList, FoundCamera, cameras_text, find_camera, list_cameras
from edgeleuk.capture.v4l2 import PictureFormat, PictureSize, V4l2Device, device_error, device_paths
from edgeleuk.capture.v4l2_camera import Mode, V4l2Controls, V4l2Source, choose_mode, parse_v4l2
from edgeleuk.errors import CameraError, UsageError

if TYPE_CHECKING:
    from pathlib import Path


def device(driver: Driver | None = None) -> V4l2Device:
    return V4l2Device("/dev/null", ioctl=(driver or Driver()).ioctl)


# What <linux/videodev2.h> makes of them: size and number in one.
@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("QUERYCAP", 0x80685600),
        ("ENUM_FMT", 0xC0405602),
        ("G_CTRL", 0xC008561B),
        ("S_CTRL", 0xC008561C),
        ("QUERYCTRL", 0xC0445624),
        ("ENUM_FRAMESIZES", 0xC02C564A),
        ("ENUM_FRAMEINTERVALS", 0xC034564B),
    ],
)
def test_an_ioctl_has_the_kernels_number(name: str, number: int) -> None:
    assert getattr(v4l2, name) == number


def test_a_real_drivers_answers_are_understood() -> None:
    answers = {(what, question): answer for what, question, answer in RECORDED}

    def ioctl(_: int, what: int, buffer: bytearray) -> None:
        if (what, bytes(buffer)) not in answers:
            raise OSError(errno.EINVAL, "Invalid argument")
        buffer[:] = answers[what, bytes(buffer)]

    with V4l2Device("/dev/null", ioctl=ioctl) as vivid:
        assert vivid.capability == v4l2.Capability("vivid", "vivid", "platform:vivid-000", is_camera=True)
        assert vivid.formats() == (
            PictureFormat("YUYV", "YUYV 4:2:2", (PictureSize(320, 180, (1.0,)),), stepwise=False),
        )
        assert vivid.read(GAIN) == 19
    (gain,) = (answer for what, question, answer in RECORDED if what == v4l2.QUERYCTRL)
    number, kind, name, least, greatest, step, default = v4l2.CONTROL.unpack(gain)[:7]
    assert (number, kind, name.rstrip(b"\0"), least, greatest, step, default) == (
        GAIN,
        1,
        b"Gain",
        0,
        255,
        1,
        100,
    )


def test_formats_sizes_and_rates_are_listed() -> None:
    with device() as camera:
        formats = camera.formats()
    assert [each.fourcc for each in formats] == ["YUYV", "MJPG", "H264"]
    assert formats[1].sizes[1] == PictureSize(1280, 960, (30.0, 15.0))


def test_a_continuous_range_of_sizes_is_its_two_ends() -> None:
    driver = Driver()
    driver.formats = [(b"Motion-JPEG", b"MJPG")]

    def ioctl(fd: int, what: int, buffer: bytearray) -> int:
        if what == v4l2.ENUM_FRAMESIZES:
            (number,) = struct.unpack("<I", b"MJPG")
            buffer[:] = v4l2.SIZE.pack(0, number, 3, 64, 2592, 2, 48, 1944, 2, 0, 0)
            return 0
        if what == v4l2.ENUM_FRAMEINTERVALS:
            index, number, width, height = v4l2.INTERVAL.unpack(buffer)[:4]
            buffer[:] = v4l2.INTERVAL.pack(index, number, width, height, 2, 1, 60, 1, 5, 1, 1, 0, 0)
            return 0
        return driver.ioctl(fd, what, buffer)

    with V4l2Device("/dev/null", ioctl=ioctl) as camera:
        (found,) = camera.formats()
    assert found.stepwise
    assert found.sizes == (PictureSize(64, 48, (60.0, 5.0)), PictureSize(2592, 1944, (60.0, 5.0)))
    wishes = {"width": "1000", "height": "800"}
    assert choose_mode([found], wishes, "c") == Mode("mjpeg", 1000, 800, 60.0)


def test_controls_are_those_that_work() -> None:
    with device() as camera:
        found = {each.number: each for each in camera.controls()}
    assert set(found) == {EXPOSURE_AUTO, EXPOSURE, GAIN, AUTO_WHITE_BALANCE, TEMPERATURE}
    gain = found[GAIN]
    assert (gain.name, gain.kind, gain.least, gain.greatest, gain.value) == ("Gain", "integer", 0, 100, 20)


@pytest.mark.parametrize(
    ("driver", "flags", "expected"),
    [
        (b"uvcvideo", 0x04200001, True),
        (b"uvcvideo", 0x04A00000, False),  # the metadata node beside it
        (b"bcm2835-codec", 0x04008000, False),
        (b"unicam", 0x04200001, False),  # the ribbon cable: wants libcamera
    ],
)
def test_what_is_a_camera(driver: bytes, flags: int, expected: bool) -> None:
    with device(Driver(driver, flags)) as found:
        assert found.capability.is_camera is expected


def formats() -> tuple[PictureFormat, ...]:
    with device() as camera:
        return camera.formats()


MODES: dict[str, tuple[dict[str, str], Mode]] = {
    "JPEG first, large but not too large": ({}, Mode("mjpeg", 1280, 960, 30.0)),
    "a format": ({"format": "yuyv422"}, Mode("yuyv422", 1280, 960, 7.0)),
    "a size": ({"width": "2592"}, Mode("mjpeg", 2592, 1944, 15.0)),
    "a rate picks what has it": ({"fps": "30", "format": "yuyv422"}, Mode("yuyv422", 640, 480, 30.0)),
    "all": ({"width": "1280", "height": "960", "fps": "15"}, Mode("mjpeg", 1280, 960, 15.0)),
}


@pytest.mark.parametrize("case", MODES)
def test_modes(case: str) -> None:
    wishes, expected = MODES[case]
    assert choose_mode(formats(), wishes, "c") == expected


def test_a_camera_that_lists_no_sizes_is_left_alone() -> None:
    assert choose_mode([PictureFormat("YUYV", "", (), stepwise=False)], {}, "c") == Mode("yuyv422")


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        (
            {"format": "h264"},
            "does not send this format: got h264, allowed mjpeg, yuyv422",
        ),
        ({"width": "1000"}, "got 1000xany, allowed 640x480 at 30, 1280x960 at 30/15"),
        ({"fps": "60"}, "got anyxany at 60"),
    ],
)
def test_what_a_camera_does_not_send_is_refused(wishes: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        choose_mode(formats(), wishes, "c")


def test_a_bare_sensor_is_sent_to_libcamera() -> None:
    raw = PictureFormat("pBAA", "10-bit Bayer", (), stepwise=False)
    with pytest.raises(CameraError, match=r"got pBAA.*picamera://0"):
        choose_mode([raw], {}, "c")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("v4l2://video0", "not the address"),
        ("v4l2:///dev/video0?size=3", "got size, allowed format, width, height, fps"),
        ("v4l2:///dev/video0?width=-3", "bad value for width"),
        ("v4l2:///dev/video0?fps=0", "bad value for fps"),
        ("v4l2:///dev/video0?fps", "key=value"),
    ],
)
def test_a_bad_address_is_refused(uri: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_v4l2(uri)


ERRORS = {
    errno.ENOENT: "there is no camera at /dev/video9; plug it in",
    errno.ENODEV: "there is no camera at",
    errno.EACCES: "join the group `video`: sudo usermod -aG video",
    errno.EBUSY: "in use.*`fuser -v /dev/video9` names it",
    errno.ENOTTY: "is no camera",
    errno.ERANGE: "refused a value",
    errno.EIO: "plug it out and in again",
}


@pytest.mark.parametrize("code", ERRORS)
def test_each_error_has_a_cure(code: int) -> None:
    with pytest.raises(CameraError, match=ERRORS[code]):
        raise device_error("/dev/video9", OSError(code, os.strerror(code)))


@pytest.mark.parametrize(
    ("uri", "message"),
    [("v4l2:///dev/video987", "there is no camera at"), ("v4l2:///dev/null", "/dev/null is no camera")],
)
def test_what_cannot_be_opened(uri: str, message: str) -> None:
    with pytest.raises(CameraError, match=message):
        open_source(uri)


class TestSource:
    """What comes after the driver; its place is taken by a file of JPEGs, which FFmpeg reads the same way."""

    def source(self, monkeypatch: pytest.MonkeyPatch, folder: Path, mode: Mode) -> V4l2Source:
        import av

        file, opened = folder / "camera.mjpeg", av.open
        with opened(str(file), "w") as container:
            stream = container.add_stream("mjpeg", rate=30)
            stream.width, stream.height, stream.pix_fmt = 320, 240, "yuvj420p"
            for level in range(5):
                pixels = np.full((240, 320, 3), 40 * level, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode())
        self.options: dict[str, str] = {}

        def open_file(_: str, *, format: str, options: dict[str, str], timeout: object) -> object:  # noqa: A002
            assert format == "v4l2"
            self.options = options
            return opened(str(file))

        monkeypatch.setattr("av.open", open_file)
        return V4l2Source(device(), "v4l2:///dev/scope", mode)

    def test_jpegs_come_undecoded(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        with self.source(monkeypatch, tmp_path, Mode("mjpeg", 320, 240, 30.0)) as source:
            # A camera does not end: it is lost.
            items: list[JpegFrame] = []
            with pytest.raises(CameraError, match="closed the stream"):
                items.extend(item for item in source.frames() if isinstance(item, JpegFrame))
            assert [item.sequence for item in items] == [0, 1, 2, 3, 4]
            assert np.abs(decoded(items[2]).pixels[120, 160].astype(int) - 80).max() <= 3
        assert {
            "input_format": "mjpeg",
            "video_size": "320x240",
            "framerate": "30",
        }.items() <= self.options.items()
        assert list(source.frames()) == []

    def test_another_size_than_it_offered_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        with pytest.raises(CameraError, match="took another size: got 320x240, allowed 640x480"):
            self.source(monkeypatch, tmp_path, Mode("mjpeg", 640, 480))

    def test_a_camera_that_falls_silent_is_lost(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr("edgeleuk.capture.v4l2_camera.READ_TIMEOUT_S", 0.1)
        with self.source(monkeypatch, tmp_path, Mode("mjpeg")) as source:

            def nothing() -> None:
                raise BlockingIOError

            monkeypatch.setattr(source, "_received", nothing)
            with pytest.raises(CameraError, match=r"died: got no picture within 0.1 s"):
                next(source.frames())


class TestControls:
    def test_ranges_are_in_our_units(self) -> None:
        with device() as camera:
            assert V4l2Controls(camera).ranges() == {
                Control.EXPOSURE_MS: ControlRange(0.1, 500.0, 0.1, "ms", automatic=True),
                Control.GAIN: ControlRange(0, 100, 1, "device units"),
                Control.WHITE_BALANCE: ControlRange(2800, 6500, 10, "K", automatic=True),
            }

    def test_a_value_takes_the_automatic_mode_away_first(self) -> None:
        driver = Driver()
        with device(driver) as camera:
            controls = V4l2Controls(camera)
            controls.set(Control.EXPOSURE_MS, (8.3,))
            assert driver.written == [(EXPOSURE_AUTO, 1), (EXPOSURE, 83)]
            assert controls.read()[Control.EXPOSURE_MS] == Reading((8.3,), automatic=False)
            assert controls.read()[Control.WHITE_BALANCE] == Reading((4600.0,), automatic=True)

    def test_a_lock_keeps_the_value_and_a_release_gives_the_mode_back(self) -> None:
        driver = Driver()
        with device(driver) as camera:
            controls = V4l2Controls(camera)
            driver.values[EXPOSURE] = 211
            controls.lock(Control.EXPOSURE_MS)
            assert driver.values[EXPOSURE_AUTO] == 1
            # Written again: many cameras jump to the last value that they were given.
            assert (EXPOSURE, 211) in driver.written
            controls.release()
            assert driver.values[EXPOSURE_AUTO] == 3

    def test_a_mode_without_a_value_can_be_locked(self) -> None:
        driver = Driver()
        driver.controls = [each for each in driver.controls if each[0] != TEMPERATURE]
        with device(driver) as camera:
            controls = V4l2Controls(camera)
            assert controls.ranges()[Control.WHITE_BALANCE].parts == 0
            controls.lock(Control.WHITE_BALANCE)
            assert controls.read()[Control.WHITE_BALANCE] == Reading((), automatic=False)

    def test_a_camera_that_is_gone_says_so(self) -> None:
        driver = Driver()
        with device(driver) as camera:
            controls = V4l2Controls(camera)
            controls.lock(Control.WHITE_BALANCE)
            driver.gone = True
            controls.release()
            with pytest.raises(CameraError, match="there is no camera"):
                controls.read()
            with pytest.raises(CameraError, match="there is no camera"):
                controls.set(Control.GAIN, (3.0,))


def device_tree(root: Path) -> Path:
    (root / "v4l" / "by-id").mkdir(parents=True)
    (root / "v4l" / "by-path").mkdir()
    for name in ("video10", "video2", "video3", "video-thing"):
        (root / name).touch()
    (root / "v4l" / "by-id" / "usb-Scope-index0").symlink_to("../../video10")
    (root / "v4l" / "by-path" / "pci-1-index0").symlink_to("../../video10")
    (root / "v4l" / "by-path" / "pci-2-index0").symlink_to("../../video3")
    return root


def test_a_steady_name_is_preferred(tmp_path: Path) -> None:
    root = device_tree(tmp_path)
    assert device_paths(root) == [
        (f"{root}/video2", f"{root}/video2"),
        (f"{root}/video3", f"{root}/v4l/by-path/pci-2-index0"),
        (f"{root}/video10", f"{root}/v4l/by-id/usb-Scope-index0"),
    ]


def test_the_list_says_what_cannot_be_asked(tmp_path: Path) -> None:
    found = list_cameras(device_tree(tmp_path))
    assert [each.uri for each in found.cameras][-1].endswith("by-id/usb-Scope-index0")
    assert all("is no camera" in (each.error or "") for each in found.cameras)
    assert "is no camera" in cameras_text(found)


def test_the_list_holds_what_a_camera_offers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "video0").touch()
    driver = Driver()
    monkeypatch.setattr(
        "edgeleuk.capture.discovery.V4l2Device", lambda path: V4l2Device(path, ioctl=driver.ioctl)
    )
    found = list_cameras(tmp_path)
    (camera,) = found.to_json()["cameras"]
    assert (camera["uri"], camera["name"]) == (f"v4l2://{tmp_path}/video0", "USB Microscope")
    assert camera["formats"][1]["sizes"][1] == {"width": 1280, "height": 960, "fps": [30.0, 15.0]}
    text = cameras_text(found)
    assert "MJPG  640x480 at 30, 1280x960 at 30, 2592x1944 at 15" in text
    assert "Exposure Time, Absolute: 156 (1 to 5000, step 1)" in text


class TestFinding:
    def found(self, monkeypatch: pytest.MonkeyPatch, *uris: str) -> None:
        cameras = [FoundCamera(uri=uri, name="one") for uri in uris]
        monkeypatch.setattr("edgeleuk.capture.discovery.list_cameras", lambda: CameraList(cameras=cameras))

    def test_the_only_camera_is_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.found(monkeypatch, "v4l2:///dev/v4l/by-id/a")
        assert find_camera(None) == find_camera("") == "v4l2:///dev/v4l/by-id/a"

    def test_several_are_listed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.found(monkeypatch, "v4l2:///a", "picamera://0")
        with pytest.raises(
            CameraError, match="there are 2 cameras: got none chosen, allowed v4l2:///a, picamera"
        ):
            find_camera(None)

    def test_none_is_an_error_with_a_way_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.found(monkeypatch)
        with pytest.raises(CameraError, match=r"no camera was found; .*virtual://"):
            find_camera(None)

    def test_a_camera_that_may_not_be_opened_is_told_of(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cameras = [
            FoundCamera(uri=f"v4l2:///dev/video{n}", name="one", error="join the group") for n in range(2)
        ]
        monkeypatch.setattr("edgeleuk.capture.discovery.list_cameras", lambda: CameraList(cameras=cameras))
        with pytest.raises(CameraError, match="no camera was found that can be used: got join the group"):
            find_camera(None)

    def test_a_number_works_with_a_warning(self, caplog: pytest.LogCaptureFixture) -> None:
        assert find_camera("0") == "v4l2:///dev/video0"
        assert "may be another camera after the next start" in caplog.text

    def test_an_address_is_left_alone(self) -> None:
        assert find_camera("virtual://?seed=1") == "virtual://?seed=1"
