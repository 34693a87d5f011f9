"""What a package needs that brings a camera or a stage: what to return, and what to raise.

A package names, in the entry points of its ``pyproject.toml``, what opens a device by its address::

    [project.entry-points."edgeleuk.cameras"]
    genicam = "my_package:open_camera"

    [project.entry-points."edgeleuk.stages"]
    mystage = "my_package:open_stage"

``open_camera(uri)`` returns a `FrameSource`, ``open_stage(url)`` a `StageDevice`. Both raise `UsageError` for
an address that is none, `CameraError` or `HardwareError` where the device cannot be opened, and
`MissingDependencyError` where a library is not installed. `public_uri` hides what may be a secret.
`edgeleuk.testing` has the tests that they must pass.
"""

from __future__ import annotations

from edgeleuk.capture.base import EncodedFrame, FrameRejectedError, FrameSource, JpegFrame, SourceEvent
from edgeleuk.capture.controls import CameraControls, Control, ControlRange, Reading
from edgeleuk.errors import CameraError, HardwareError, MissingDependencyError, UsageError
from edgeleuk.frames import Frame
from edgeleuk.io.clock import moment
from edgeleuk.io.closing import Closing
from edgeleuk.io.plugins import PluginError
from edgeleuk.io.uris import public_uri
from edgeleuk_firmware_bridge.stage.device import Focusing, Homing, Lit, StageDevice
from edgeleuk_firmware_bridge.stage.errors import LinkLostError, RefusedError
from edgeleuk_firmware_bridge.stage.protocols import Capabilities, Steps

__all__ = [
    "CameraControls",
    "CameraError",
    "Capabilities",
    "Closing",
    "Control",
    "ControlRange",
    "EncodedFrame",
    "Focusing",
    "Frame",
    "FrameRejectedError",
    "FrameSource",
    "HardwareError",
    "Homing",
    "JpegFrame",
    "LinkLostError",
    "Lit",
    "MissingDependencyError",
    "PluginError",
    "Reading",
    "RefusedError",
    "SourceEvent",
    "StageDevice",
    "Steps",
    "UsageError",
    "moment",
    "public_uri",
]
