"""``micromanager:///FILE.cfg?adapters=FOLDER``: Micro-Manager's devices, as a plug-in of edgeleuk."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

import cv2
import numpy as np

from edgeleuk.plugins import (
    CameraError,
    Capabilities,
    Closing,
    Frame,
    HardwareError,
    LinkLostError,
    Steps,
    UsageError,
    moment,
    public_uri,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

# Positions are told in micrometres there; edgeleuk counts in steps.
UM_PER_STEP = 0.1
SILENCE_S = 5.0
_POLL_S = 0.002


class _Opened:
    """A configuration that is open, for as many devices as use it."""

    def __init__(self, core: Any) -> None:
        self.core = core
        self.users = 0


# The hardware of a configuration can be opened once: camera and stage share it.
_OPENED: dict[tuple[str, str], _Opened] = {}
_OPENING = threading.Lock()


class Core(Closing):
    """A share in an open configuration.

    Parameters
    ----------
    uri : str
        ``micromanager:///FILE.cfg?adapters=FOLDER``.

    Raises
    ------
    UsageError
        The address is none.
    HardwareError
        Micro-Manager cannot open the configuration.
    """

    def __init__(self, uri: str) -> None:
        import pymmcore  # takes a while, and only who opens a device needs it

        parts = urlsplit(uri)
        query = parse_qs(parts.query)
        file = Path(unquote(parts.path))
        if parts.netloc or set(query) != {"adapters"} or not file.is_file():
            raise UsageError(
                "no address of a Micro-Manager configuration",
                got=repr(uri),
                allowed="micromanager:///FILE.cfg?adapters=FOLDER, of a file that is there",
            )
        self._key = (str(file), query["adapters"][0])
        self._open = True
        with _OPENING:
            if self._key not in _OPENED:
                core = pymmcore.CMMCore()
                core.setDeviceAdapterSearchPaths([self._key[1]])
                try:
                    core.loadSystemConfiguration(self._key[0])
                except RuntimeError as error:
                    core.reset()
                    raise HardwareError(
                        f"Micro-Manager cannot open {file}", got=str(error).splitlines()[0]
                    ) from error
                _OPENED[self._key] = _Opened(core)
            opened = _OPENED[self._key]
            opened.users += 1
            self.mm: Any = opened.core

    def close(self) -> None:
        """Give the share back; the last one closes the hardware."""
        with _OPENING:
            if not self._open:
                return
            self._open = False
            opened = _OPENED[self._key]
            opened.users -= 1
            if opened.users == 0:
                del _OPENED[self._key]
                opened.core.reset()


class MicroManagerCamera(Closing):
    """The camera of a configuration; see `edgeleuk.plugins.FrameSource`."""

    live = True

    def __init__(self, uri: str) -> None:
        self.uri = public_uri(uri)
        self._closed = threading.Event()
        # Held while a picture is fetched: the hardware must not be closed under the reader's hands.
        self._busy = threading.Lock()
        self._core = Core(uri)
        mm = self._core.mm
        try:
            # Without a camera it is MMCore that says so.
            self.simulated = mm.getDeviceLibrary(mm.getCameraDevice()) == "DemoCamera"
            mm.startContinuousSequenceAcquisition(0)
        except RuntimeError as error:
            self._core.close()
            raise CameraError(f"the camera of {uri} does not start", got=error) from error

    def frames(self) -> Iterator[Frame]:
        """Yield what arrives; see `edgeleuk.plugins.FrameSource.frames`."""
        sequence, since_s = 0, time.monotonic()
        while not self._closed.is_set():
            frame = self._next(sequence)
            if frame is not None:
                sequence, since_s = sequence + 1, time.monotonic()
                yield frame
            elif time.monotonic() - since_s > SILENCE_S:
                raise CameraError(f"{self.uri} died", got=f"no picture within {SILENCE_S:g} s")
            else:
                time.sleep(_POLL_S)

    def close(self) -> None:
        """Stop the camera."""
        with self._busy:
            if not self._closed.is_set():
                self._closed.set()
                with contextlib.suppress(RuntimeError):
                    self._core.mm.stopSequenceAcquisition()
            self._core.close()

    def _next(self, sequence: int) -> Frame | None:
        with self._busy:
            if self._closed.is_set():
                return None
            mm = self._core.mm
            try:
                if not mm.getRemainingImageCount():
                    return None
                now, data = moment(), mm.popNextImage()
                depth, parts = mm.getImageBitDepth(), mm.getNumberOfComponents()
                um = mm.getPixelSizeUm()
            except RuntimeError as error:
                raise CameraError(f"{self.uri} died", got=error) from error
        return Frame(
            to_rgb(data, depth, parts), sequence, *now, self.uri, px_per_um=1 / um if um > 0 else None
        )


class MicroManagerStage(Closing):
    """XY stage and focus drive of a configuration; see `edgeleuk.plugins.StageDevice`."""

    um_per_step = (UM_PER_STEP, UM_PER_STEP, UM_PER_STEP)

    def __init__(self, url: str) -> None:
        self._core = Core(url)
        mm = self._mm = self._core.mm
        self._xy, self._z = mm.getXYStageDevice(), mm.getFocusDevice()
        if not (self._xy and self._z):
            self._core.close()
            raise HardwareError(
                f"{url} has no XY stage, or no focus drive",
                got=f"{self._xy!r} and {self._z!r}",
                cure="set the Core's XYStage and Focus in the configuration",
            )
        self.capabilities = Capabilities(
            protocol="micromanager",
            firmware=mm.getVersionInfo(),
            board=f"{mm.getDeviceName(self._xy)}, {mm.getDeviceName(self._z)}",
        )

    def steps(self) -> Steps:
        """Ask where it is."""
        with _lost():
            mm = self._mm
            um = (mm.getXPosition(self._xy), mm.getYPosition(self._xy), mm.getPosition(self._z))
            return Steps(*(round(each / UM_PER_STEP) for each in um))

    def moving(self) -> bool:
        """Ask both."""
        with _lost():
            return bool(self._mm.deviceBusy(self._xy) or self._mm.deviceBusy(self._z))

    def go_to(self, target: Steps) -> None:
        """Begin a move of the drives that are not there."""
        here = self.steps()
        with _lost():
            if here[:2] != target[:2]:
                self._mm.setXYPosition(self._xy, target.x * UM_PER_STEP, target.y * UM_PER_STEP)
            if here.z != target.z:
                self._mm.setPosition(self._z, target.z * UM_PER_STEP)

    def stop(self) -> None:
        """Stop both; a drive that cannot be stopped says so by an error, and ends its move."""
        with _lost():
            self._mm.stop(self._xy)
        with contextlib.suppress(RuntimeError):
            self._mm.stop(self._z)

    def close(self) -> None:
        """Give the hardware back."""
        self._core.close()


open_camera = MicroManagerCamera
open_stage = MicroManagerStage


def to_rgb(data: npt.NDArray[Any], depth: int, parts: int) -> npt.NDArray[np.uint8]:
    """Turn a picture of MMCore into (H, W, 3) uint8, RGB, with memory of its own.

    Parameters
    ----------
    data : (H, W) uint8, uint16, uint32 or uint64
        A colour picture has its four parts, blue first, in one number.
    depth : int
        Bits of a part.
    parts : int
        1 or 4.
    """
    if parts == 4:
        kind = np.uint8 if data.dtype == np.uint32 else np.uint16
        data = np.ascontiguousarray(data).view(kind).reshape(*data.shape, 4)
    if data.dtype != np.uint8:
        data = (data >> max(depth - 8, 0)).astype(np.uint8)
    way = cv2.COLOR_BGRA2RGB if parts == 4 else cv2.COLOR_GRAY2RGB
    return np.asarray(cv2.cvtColor(data, way), np.uint8)


@contextlib.contextmanager
def _lost() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise LinkLostError("Micro-Manager lost the stage", got=str(error).splitlines()[0]) from error
