"""TensorRT's engines: each is for one network, GPU, driver and version, and takes minutes to build."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import re
import shutil
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from edgeleuk.errors import UsageError
from edgeleuk.inference.runtime import RUNTIMES
from edgeleuk.io.cache import cache_folder
from edgeleuk.io.console import say, warn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# The driver of a PC, and the system of a Jetson, which its driver is a part of.
_DRIVERS = ("/proc/driver/nvidia/version", "/etc/nv_tegra_release", "/proc/device-tree/model")
# So long nobody wonders.
_QUIET_S, _EVERY_S = 3.0, 1.0


def engine_folder(model: bytes) -> Path | None:
    """Return the folder for a network's engine on this machine, made if need be; None where none can be made.

    Its name holds the sha256 of the network, and that of the driver, the board and the versions of ONNX
    Runtime and TensorRT: where any of them changes, an engine is built anew. TensorRT adds the kind of GPU.
    """
    version = _tensorrt_version()
    network, machine = (hashlib.sha256(data).hexdigest()[:16] for data in (model, _machine(version).encode()))
    try:
        folder = cache_folder() / "engines" / f"{network}-{machine}"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, UsageError) as error:
        warn(f"TensorRT's engine cannot be kept, and is built at every start: {error}")
        return None
    # Where TensorRT is missing, that is what has to be said.
    if version is not None and not is_built(folder):
        say(f"tensorrt  builds an engine for this network and board: minutes, once; it is kept in {folder}")
    return folder


def is_built(folder: Path) -> bool:
    """Whether an engine is kept there."""
    return any(folder.glob("*.engine"))


def remove_older(folder: Path) -> None:
    """Remove the engines of the same network for what is no longer installed."""
    network = folder.name.split("-", maxsplit=1)[0]
    for other in folder.parent.glob(f"{network}-*"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)


@contextmanager
def build_progress(title: str, show: Callable[[str], object] | None) -> Iterator[None]:
    """Show in one line how long the body takes, from some seconds on.

    Parameters
    ----------
    title : str
    show : callable, optional
        Writes a text to the terminal, whatever the body does with standard error. By default none is shown.
    """
    if show is None:
        yield
        return
    ended, began = threading.Event(), time.monotonic()

    def tell() -> None:
        if ended.wait(_QUIET_S):
            return
        while not ended.wait(_EVERY_S):
            show(f"\r{title}: {time.monotonic() - began:.0f} s\033[K")
        show("\r\033[K")

    teller = threading.Thread(target=tell, name="engine-progress", daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()


def _machine(tensorrt: str | None) -> str:
    """Name the driver, the board and the versions that an engine hangs on."""
    import onnxruntime

    facts = [f"onnxruntime {onnxruntime.__version__}", f"TensorRT {tensorrt}"]
    driver = (Path(path) for path in _DRIVERS)
    facts += [path.read_text(encoding="utf-8", errors="replace") for path in driver if path.is_file()]
    return "\n".join(facts)


def _tensorrt_version() -> str | None:
    """Ask the library that ONNX Runtime's provider is linked to for its version; None where there is none."""
    spec, library = importlib.util.find_spec("onnxruntime"), RUNTIMES["tensorrt"].library
    for place in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(place) / "capi" / str(library)
        name = re.search(rb"libnvinfer\.so\.\d+", path.read_bytes()) if path.is_file() else None
        if name is None:
            continue
        with suppress(OSError):
            return f"{name[0].decode()} {ctypes.CDLL(name[0].decode()).getInferLibVersion()}"
        return None
    return "unknown"
