"""Troubles of software, cameras and stages, as they are planted in recorded machines."""

from __future__ import annotations

from recorded_machines import CONTAINER, JETSON, LAPTOP, MINI_PC, PI_4, PI_5
from recording import (
    CAMERA_URI,
    USB_CAMERA,
    VERSIONS,
    Fault,
    cameras,
    kernel,
    litert,
    opencv,
    probe,
    refused,
    says,
    sent,
    software,
    stage_info,
    user,
    without,
)

from edgeleuk.io.programs import Said

CLOSED = Said(1, "")
HANGS = Said(None, "")
LIST = "python -m edgeleuk camera list --json"
PICTURE = f"python -m edgeleuk camera probe {CAMERA_URI} --seconds 1 --json"
EMPTY_CAMERAS = cameras()

PART_FAULTS = (
    # The software.
    Fault(
        "a package is missing",
        PI_4,
        ("software", "packages", "failure"),
        "simplejpeg",
        "pip install --upgrade 'simplejpeg>=1.9'",
        programs=software(versions=without("simplejpeg")),
    ),
    Fault(
        "a package is too old",
        JETSON,
        ("software", "packages", "failure"),
        "av 12.3.0",
        "'av>=17'",
        programs=software("3.10.12", glibc="2.35", versions=VERSIONS | {"av": "12.3.0"}),
    ),
    Fault(
        "two of OpenCV",
        LAPTOP,
        ("software", "packages", "warning"),
        "write over each other",
        "pip uninstall -y opencv-python",
        programs=software("3.12.3", "x86_64", "2.39", versions=VERSIONS | {"opencv-python": "4.8.1.78"}),
    ),
    Fault(
        "a stage without pyserial",
        MINI_PC,
        ("software", "extras", "failure"),
        "`stage`",
        "pip install 'edgeleuk[stage]'",
        programs=software("3.11.2", "x86_64", versions=without("pyserial")),
    ),
    Fault(
        "a runtime that is not installed",
        PI_5,
        ("software", "extras", "failure"),
        "`onnx`",
        "edgeleuk[onnx]",
        programs=software("3.13.5", glibc="2.41", versions=without("onnxruntime")),
        changes={"runtime": "onnxruntime"},
    ),
    Fault(
        "OpenCV wants a desktop",
        PI_4,
        ("software", "opencv", "failure"),
        "libGL.so.1",
        "opencv-python-headless",
        programs=probe(
            "opencv", {"error": "ImportError: libGL.so.1: cannot open shared object file", "cure": None}
        ),
    ),
    Fault(
        "OpenCV without PNG",
        JETSON,
        ("software", "opencv", "failure"),
        "no png",
        "pip install opencv-python-headless",
        programs=opencv(formats={"jpg": True, "png": False}),
    ),
    Fault(
        "Debian's OpenCV",
        MINI_PC,
        ("software", "opencv", "warning"),
        "4.6.0",
        "pip install --upgrade",
        programs=opencv(version="4.6.0"),
    ),
    Fault(
        "a wheel for a newer processor",
        PI_4,
        ("software", "litert", "failure"),
        "illegal instruction",
        "pip install 'ai-edge-litert<2'",
        programs={"python -m edgeleuk.doctor.probe runtime litert": Said(-4, "")},
    ),
    Fault(
        "no interpreter",
        CONTAINER,
        ("software", "litert", "failure"),
        "no TFLite interpreter",
        "pip install ai-edge-litert",
        programs=litert(installed=False),
    ),
    Fault(
        "tflite-runtime beside numpy 2",
        PI_4,
        ("software", "litert", "failure"),
        "ImportError: numpy.core",
        "pip install",
        programs=probe(
            "runtime litert", {"error": "ImportError: numpy.core.multiarray failed to import", "cure": None}
        ),
    ),
    Fault(
        "other answers",
        JETSON,
        ("software", "litert", "failure"),
        "differs by up to 3.2",
        "another version",
        programs=litert(moved=["model.int8.tflite on litert: differs by up to 3.2, allowed 0.05"]),
    ),
    Fault(
        "the shipped bundle is damaged",
        LAPTOP,
        ("software", "onnxruntime", "failure"),
        "wrong hash",
        "install edgeleuk again",
        programs=probe(
            "runtime onnxruntime",
            {"error": "default.edgeleuk is damaged: got a wrong hash", "cure": "install edgeleuk again"},
        ),
    ),
    Fault(
        "slow kernels",
        PI_5,
        ("software", "xnnpack", "warning"),
        "without XNNPACK",
        "--upgrade ai-edge-litert",
        programs=litert(error=""),
    ),
    # Cameras.
    Fault(
        "not in the group video",
        PI_4,
        ("camera", "permission", "failure"),
        "/dev/video0",
        "sudo usermod -aG video $USER",
        files={"etc/group": "video:x:44:\ndialout:x:20:ada\n"},
        programs={**user("ada dialout"), "test -r /dev/video0": CLOSED, "test -w /dev/video0": CLOSED},
    ),
    Fault(
        "in the group, but not yet",
        MINI_PC,
        ("camera", "permission", "failure"),
        "/dev/video0",
        "log out and in",
        programs={**user("ada dialout"), "test -w /dev/video0": CLOSED},
    ),
    Fault(
        "no driver",
        LAPTOP,
        ("camera", "camera", "failure"),
        "HD Microscope is on USB",
        "modprobe uvcvideo",
        files={
            "dev/video0": None,
            "sys/class/video4linux": None,
            "sys/bus/usb/devices/1-1.2/1-1.2:1.0/driver": None,
        },
        programs=EMPTY_CAMERAS,
    ),
    Fault(
        "no camera",
        JETSON,
        ("camera", "camera", "warning"),
        "none is plugged in",
        "plug one in",
        files={"dev/video0": None, "sys/bus/usb": None},
        programs=EMPTY_CAMERAS,
    ),
    Fault(
        "a camera hangs",
        PI_4,
        ("camera", "/dev/video0", "failure"),
        "no picture within 25 s",
        "plug it out",
        programs={PICTURE: HANGS},
    ),
    Fault(
        "listing hangs",
        LAPTOP,
        ("camera", "list", "failure"),
        "did not end in time",
        "hangs its driver",
        programs={LIST: HANGS},
    ),
    Fault(
        "in use",
        MINI_PC,
        ("camera", "/dev/video0", "warning"),
        "is in use",
        "fuser -v /dev/video0",
        programs=refused(
            f"camera probe {CAMERA_URI} --seconds 1",
            "the camera /dev/video0 is in use: got Device or resource busy;"
            " close the other program that uses it: `fuser -v /dev/video0` names it",
        ),
    ),
    Fault(
        "no room on the bus for this camera",
        JETSON,
        ("camera", "/dev/video0", "failure"),
        "no room",
        "MJPG",
        programs=refused(
            f"camera probe {CAMERA_URI} --seconds 1",
            "the camera /dev/video0 failed: got No space left on device; plug it out and in again",
        ),
    ),
    Fault(
        "damaged pictures",
        JETSON,
        ("camera", "/dev/video0", "warning"),
        "20 of 28",
        "smaller size",
        programs=sent(rejected=20),
    ),
    Fault(
        "a port for mice",
        PI_4,
        ("camera", "/dev/video0", "warning"),
        "12 Mbit/s",
        "USB 2 or 3",
        files={"sys/bus/usb/devices/1-1.2/speed": "12\n"},
    ),
    Fault(
        "no formats",
        MINI_PC,
        ("camera", "/dev/video0", "failure"),
        "no pixel format",
        "plug it out",
        programs=cameras(USB_CAMERA | {"formats": []}),
    ),
    Fault(
        "the configured camera is away",
        LAPTOP,
        ("camera", "configured", "failure"),
        "cannot be reached",
        "check the network",
        programs=refused(
            "camera probe --seconds 1", "http://10.0.0.5/stream cannot be reached; check the network"
        ),
        changes={"camera": "http://10.0.0.5/stream"},
    ),
    Fault(
        "no room on the bus",
        PI_4,
        ("camera", "usb", "warning"),
        "no room",
        "MJPG",
        programs=kernel("uvcvideo: Failed to submit URB 0 (-28)."),
    ),
    Fault(
        "a bad cable",
        JETSON,
        ("camera", "usb", "warning"),
        "does not answer",
        "another cable",
        programs=kernel("uvcvideo 1-1.2:1.1: Failed to set UVC probe control : -110 (exp. 26)."),
    ),
    Fault(
        "too much current at a port",
        MINI_PC,
        ("camera", "usb", "warning"),
        "too much current",
        "supply of its own",
        programs=kernel("usb usb1-port2: over-current change #1"),
    ),
    Fault(
        "picamera2 and numpy",
        PI_5,
        ("camera", "ribbon", "failure"),
        "does not load",
        'pip install "simplejpeg>=1.9"',
        programs={
            **probe(
                "picamera",
                {
                    "error": "picamera2 is installed but does not load: got ValueError: numpy.dtype size"
                    " changed (numpy 2.2.6)",
                    "cure": 'its libraries were built for another numpy: `pip install "simplejpeg>=1.9"`',
                },
            ),
            **EMPTY_CAMERAS,
        },
        files={"dev/video0": None},
    ),
    Fault(
        "the environment hides picamera2",
        PI_5,
        ("camera", "ribbon", "failure"),
        "does not see",
        "--system-site-packages",
        programs=probe("picamera", {"installed": False}),
    ),
    Fault(
        "no picamera2",
        PI_5,
        ("camera", "ribbon", "failure"),
        "picamera2 is not",
        "apt install python3-picamera2",
        files={"usr/lib/python3/dist-packages/picamera2": None},
        programs=probe("picamera", {"installed": False}),
    ),
    # The stage.
    Fault(
        "not in the group dialout",
        PI_4,
        ("stage", "ports", "failure"),
        "/dev/ttyUSB0",
        "usermod -aG dialout",
        files={"etc/group": "video:x:44:ada\ndialout:x:20:\n"},
        programs={**user("ada video"), "test -w /dev/ttyUSB0": CLOSED},
    ),
    Fault(
        "a braille display",
        LAPTOP,
        ("stage", "ports", "failure"),
        "brltty",
        "apt remove brltty",
        programs=kernel("usb 1-2: usbfs: interface 0 claimed by ch341 while 'brltty' sets config #1"),
    ),
    Fault(
        "a modem",
        JETSON,
        ("stage", "ports", "warning"),
        "ModemManager",
        "disable --now ModemManager",
        programs={"systemctl is-active ModemManager": says("active")},
    ),
    Fault(
        "the board is away",
        MINI_PC,
        ("stage", "board", "failure"),
        "is not there",
        "plug the board in",
        files={"dev/serial": None, "dev/ttyUSB0": None},
    ),
    Fault(
        "the board is silent",
        PI_4,
        ("stage", "board", "failure"),
        "is silent",
        "supply and its cable",
        programs=refused(
            "stage info",
            "the device at serial:///dev/ttyUSB0 is silent, also after a reset was sent;"
            " see to its supply and its cable, or press its reset button",
        ),
    ),
    Fault(
        "the board is locked",
        JETSON,
        ("stage", "board", "warning"),
        "is locked",
        "edgeleuk stage unlock",
        programs=stage_info(
            locked={"code": 1, "meaning": "a limit switch was hit", "cure": "edgeleuk stage unlock"}
        ),
    ),
)
