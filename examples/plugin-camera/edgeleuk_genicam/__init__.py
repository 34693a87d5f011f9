"""``genicam://SERIAL?cti=FILE``: cameras that speak GenICam, through harvesters, as a plug-in of edgeleuk."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np

from edgeleuk.plugins import (
    CameraError,
    Closing,
    Frame,
    FrameRejectedError,
    MissingDependencyError,
    UsageError,
    moment,
    public_uri,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

# GenICam's names (PFNC) of what a buffer holds -> OpenCV's way from there to RGB. A Bayer pattern is called
# by its first row there, by its second row and column here.
CONVERSIONS: dict[str, int | None] = {
    "RGB8": None,
    "BGR8": cv2.COLOR_BGR2RGB,
    "RGBa8": cv2.COLOR_RGBA2RGB,
    "BGRa8": cv2.COLOR_BGRA2RGB,
    "Mono8": cv2.COLOR_GRAY2RGB,
    "BayerRG8": cv2.COLOR_BayerBG2RGB,
    "BayerBG8": cv2.COLOR_BayerRG2RGB,
    "BayerGR8": cv2.COLOR_BayerGB2RGB,
    "BayerGB8": cv2.COLOR_BayerGR2RGB,
}
SILENCE_S = 5.0
# How long a reader cannot be told that it is to end.
_FETCH_S = 0.2


def open_camera(uri: str) -> GenICamSource:
    """Open a camera.

    Parameters
    ----------
    uri : str
        ``genicam://``, or ``genicam://SERIAL``; ``?cti=FILE`` names the GenTL producer.

    Raises
    ------
    UsageError
        The address has a key that is none.
    MissingDependencyError
        There is no producer.
    CameraError
        There is no such camera, or it cannot be opened.
    """
    parts = urlsplit(uri)
    query = parse_qs(parts.query)
    if unknown := set(query) - {"cti"}:
        raise UsageError("no key of a GenICam address", got=", ".join(sorted(unknown)), allowed="cti")
    return GenICamSource(uri, parts.netloc, query.get("cti") or _producers())


class GenICamSource(Closing):
    """A camera that is open; see `edgeleuk.plugins.FrameSource`.

    Parameters
    ----------
    uri : str
    wanted : str
        Its identity or serial number; empty for the only one.
    producers : list of str
        GenTL producers, as files.
    """

    live = True

    def __init__(self, uri: str, wanted: str, producers: list[str]) -> None:
        from harvesters.core import Harvester  # takes a while, and only who opens a camera needs it

        self.uri = public_uri(uri)
        self._closed = threading.Event()
        # Held while a buffer is fetched: the camera must not be closed under the reader's hands.
        self._busy = threading.Lock()
        self._harvester = Harvester()
        self._camera: Any = None
        try:
            for producer in producers:
                self._harvester.add_file(producer, check_existence=True)
            self._harvester.update()
            index = self._index(wanted)
            # The camera of the genicam wheel draws its pictures.
            self.simulated = self._harvester.device_info_list[index].model == "Viky"
            self._camera = self._harvester.create(index)
            self._camera.start()
        except FileNotFoundError:
            self.close()
            raise CameraError(
                "there is no such GenTL producer",
                got=", ".join(producers),
                cure="give the .cti file of the camera's maker as ?cti=FILE",
            ) from None
        except CameraError:
            self.close()
            raise
        except Exception as error:
            self.close()
            raise CameraError(
                f"{self.uri} cannot be opened", got=error, cure="see that no other program has it"
            ) from error

    def frames(self) -> Iterator[Frame]:
        """Yield what arrives; see `edgeleuk.plugins.FrameSource.frames`."""
        sequence, silent_s = 0, 0.0
        while not self._closed.is_set():
            frame = self._next(sequence)
            if frame is None:
                silent_s += _FETCH_S
                if silent_s >= SILENCE_S:
                    raise CameraError(f"{self.uri} died", got=f"no picture within {SILENCE_S:g} s")
                continue
            silent_s = 0.0
            sequence += 1
            yield frame

    def close(self) -> None:
        """Let go of the camera."""
        self._closed.set()
        with self._busy:
            if self._camera is not None:
                self._camera.destroy()
                self._camera = None
            self._harvester.reset()

    def _next(self, sequence: int) -> Frame | None:
        from genicam.gentl import TimeoutException

        with self._busy:
            if self._closed.is_set():
                return None
            try:
                with self._camera.fetch(timeout=_FETCH_S) as buffer:
                    now = moment()
                    part = buffer.payload.components[0]
                    # Made here: the buffer is the camera's again behind this block.
                    pixels = _to_rgb(part.data, part.height, part.width, part.data_format)
            except TimeoutException:
                return None
            except FrameRejectedError:
                raise
            except Exception as error:
                raise CameraError(f"{self.uri} died", got=error) from error
        return Frame(pixels, sequence, *now, self.uri)

    def _index(self, wanted: str) -> int:
        cameras = self._harvester.device_info_list
        names = [(each.id_, each.serial_number) for each in cameras]
        allowed = ", ".join(f"genicam://{identity}" for identity, _ in names)
        found = [number for number, each in enumerate(names) if wanted in each]
        if not wanted and len(names) == 1:
            return 0
        if not found:
            what = "there are several cameras" if names and not wanted else "there is no such GenICam camera"
            raise CameraError(what, got=wanted or "none chosen", allowed=allowed or "none found")
        return found[0]


def _to_rgb(data: npt.NDArray[np.uint8], height: int, width: int, kind: str) -> npt.NDArray[np.uint8]:
    """Turn a buffer into (H, W, 3) uint8, RGB, with memory of its own."""
    if kind not in CONVERSIONS:
        raise CameraError(
            "the camera sends pixels of another format",
            got=kind,
            allowed=", ".join(CONVERSIONS),
            cure="set its PixelFormat by its maker's program",
        )
    way = CONVERSIONS[kind]
    channels = data.size // (height * width)
    picture = data.reshape((height, width, channels) if channels > 1 else (height, width))
    return picture.copy() if way is None else np.asarray(cv2.cvtColor(picture, way), np.uint8)


def _producers() -> list[str]:
    """Return the producers that the standard's own variable names."""
    folders = [Path(each) for each in os.environ.get("GENICAM_GENTL64_PATH", "").split(os.pathsep) if each]
    found = [str(file) for folder in folders for file in sorted(folder.glob("*.cti"))]
    if not found:
        raise MissingDependencyError(
            "no GenTL producer is installed: GENICAM_GENTL64_PATH names none",
            cure="install the camera maker's software, or give its .cti file as genicam://?cti=FILE",
        )
    return found
