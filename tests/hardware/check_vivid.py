"""What holds for a real V4L2 device; run by ``vivid.sh`` in a machine whose only camera is vivid's."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from edgeleuk.capture import SourceEvent, decoded, open_camera, open_source
from edgeleuk.capture.controls import Control, ControlKeeper
from edgeleuk.capture.discovery import find_camera, list_cameras
from edgeleuk.capture.newest import InOrderReader
from edgeleuk.capture.v4l2 import CONTROL, QUERYCTRL, V4l2Device
from edgeleuk.commands.probe import probe
from edgeleuk.errors import CameraError, UsageError
from edgeleuk.stage.synchronous_camera import NewestFrameCamera

if TYPE_CHECKING:
    from edgeleuk.capture.base import SourceItem

NODE = "/dev/video0"
SMALL = f"v4l2://{NODE}?width=640&height=360&fps=30"
DRIVER = Path("/sys/bus/platform/drivers/vivid")


def button(name: bytes) -> int:
    """Find one of vivid's buttons, which break something."""
    with V4l2Device(NODE) as device:
        number = 0
        while True:
            found = device._ask(QUERYCTRL, CONTROL, number | 0x80000000, 0, b"", *[0] * 7)
            if found[2].rstrip(b"\0") == name:
                return int(found[0])
            number = found[0]


def check_list() -> None:
    (camera,) = list_cameras().to_json()["cameras"]
    assert (camera["uri"], camera["driver"]) == (f"v4l2://{NODE}", "vivid")
    assert {"fourcc", "sizes"} <= set(camera["formats"][0])
    assert "Gain" in [each["name"] for each in camera["controls"]]
    assert find_camera(None) == camera["uri"]


def check_probe() -> None:
    result = probe(SMALL, None, 2.0)
    assert (result.width, result.height, result.format) == (640, 360, "rawvideo yuyv422")
    assert result.fps is not None
    assert 20 < result.fps < 40, result.fps
    assert result.controls["gain"].automatic


def check_controls() -> None:
    keeper = ControlKeeper({Control.GAIN: (33.0,)}, settle_s=0.5)
    with keeper.keep(open_source(SMALL)) as source:
        event = next(item for item in source.frames() if isinstance(item, SourceEvent))
        assert (event.kind, event.text) == ("controls", "gain 33")
    with V4l2Device(NODE) as device:
        # The automatic mode is given back.
        assert {each.name: each.value for each in device.controls()}["Gain, Automatic"] == 1
    kinds: list[str] = []
    with ControlKeeper({}, settle_s=0.5).keep(open_source(SMALL)) as source:
        for item in source.frames():
            kinds += [item.kind] if isinstance(item, SourceEvent) else []
            if "locked" in kinds:
                break
    for asked in ({Control.GAIN: (400.0,)}, {Control.EXPOSURE_MS: (3.0,)}):
        try:
            ControlKeeper(asked).keep(open_source(SMALL))
        except UsageError:
            continue
        raise AssertionError(asked)


def check_busy() -> None:
    with open_source(SMALL) as source:
        next(source.frames())
        refused = ""
        try:
            open_source(SMALL)
        except CameraError as error:
            refused = str(error)
        assert "fuser -v" in refused


def taken_s(item: SourceItem) -> float:
    assert not isinstance(item, SourceEvent)
    taken_s = decoded(item).taken_monotonic
    assert taken_s is not None
    return taken_s


def check_pictures_that_waited() -> None:
    """The driver keeps pictures for a reader that is busy, and tells when each was taken."""
    with open_source(SMALL) as source:
        items = source.frames()
        next(items)
        time.sleep(0.5)
        asked_s = time.monotonic()
        waited_s = [asked_s - taken_s(item) for item in itertools.islice(items, 3)]
        print("  waited", waited_s)
        assert all(0.2 < each < 0.7 for each in waited_s), waited_s
        camera = NewestFrameCamera(source, threading.Event(), InOrderReader(source))
        asked_s = time.monotonic()
        assert taken_s(camera()) >= asked_s
        assert camera.taken > 5, camera.taken


def check_unplugged() -> None:
    """It is unplugged while it runs, and plugged in again two seconds later."""
    disconnect = button(b"Disconnect")

    def unplug() -> None:
        with V4l2Device(NODE) as device:
            device.write(disconnect, 1)
        time.sleep(2)
        (DRIVER / "unbind").write_text("vivid.0")
        (DRIVER / "bind").write_text("vivid.0")

    kinds: list[str] = []
    seen, at_back = 0, 0
    with open_camera(SMALL, keeper=ControlKeeper({Control.GAIN: (33.0,)})) as source:
        for item in source.frames():
            if isinstance(item, SourceEvent):
                kinds.append(item.kind)
                print("  ", item.kind, item.text)
                at_back = seen if item.kind == "back" else at_back
                continue
            seen += 1
            if seen == 10:
                threading.Thread(target=unplug).start()
            if at_back and seen == at_back + 10:
                assert decoded(item).pixels.shape == (360, 640, 3)
                break
    assert kinds[:2] == ["controls", "lost"], kinds
    assert kinds.count("controls") == 2, kinds


def main() -> int:
    """Run every check; 1 if one fails."""
    failed = 0
    for check in (
        check_list,
        check_probe,
        check_controls,
        check_busy,
        check_pictures_that_waited,
        check_unplugged,
    ):
        try:
            check()
            print("passed", check.__name__, flush=True)
        except (AssertionError, CameraError, UsageError) as error:
            failed += 1
            print("FAILED", check.__name__, repr(error), flush=True)
    command = [sys.executable, "-m", "edgeleuk", "run", "--camera", "--frames", "2", "--session", "/tmp/s.db"]
    done = subprocess.run([*command, "--no-quality-check", "--gain", "40", "--json"], check=False)
    return int(failed > 0 or done.returncode > 0)


if __name__ == "__main__":
    sys.exit(main())
