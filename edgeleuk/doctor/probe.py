"""What is found out by doing it, in a process of its own: libraries crash, drivers hang.

::

    python -m edgeleuk.doctor.probe software
    python -m edgeleuk.doctor.probe opencv
    python -m edgeleuk.doctor.probe picamera
    python -m edgeleuk.doctor.probe runtime NAME
    python -m edgeleuk.doctor.probe write FOLDER

Each prints one JSON object; what goes wrong stands in it as ``error``, with its ``cure``.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import statistics
import struct
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeleuk.errors import EdgeleukError

if TYPE_CHECKING:
    from collections.abc import Callable

# Extras that the project itself is built with: no user wants them.
_NOT_OFFERED = ("dev", "docs", "peers")
# What is written to a disk: large pieces for its speed, then a page at a time, as a session is committed.
_LARGE_BYTES, _LARGE_TIMES = 1 << 20, 8
_SMALL_BYTES, _SMALL_TIMES = 4096, 20
# A card that is so slow needs no exact figure.
_WRITE_S = 5.0
_PREDICTIONS = 5


def software() -> dict[str, Any]:
    """Say which Python this is, and what is installed."""
    return {
        "python": platform.python_version(),
        "bits": 8 * struct.calcsize("P"),
        "architecture": platform.machine(),
        # Nothing where the C library is another than glibc, as musl.
        "glibc": platform.libc_ver()[1] if platform.libc_ver()[0] == "glibc" else None,
        "virtual_environment": sys.prefix != sys.base_prefix,
        "encoding": sys.getfilesystemencoding(),
        "versions": {
            re.sub(r"[-_.]+", "-", name).lower(): each.version
            for each in metadata.distributions()
            if (name := each.metadata["Name"])
        },
        "requires": _requirements(),
    }


def opencv() -> dict[str, Any]:
    """Import OpenCV, and let it write and read a picture."""
    import cv2
    import numpy as np

    pixels = np.zeros((16, 16, 3), np.uint8)
    formats = {}
    for name in ("jpg", "png"):
        done, data = cv2.imencode(f".{name}", pixels)
        formats[name] = bool(done and cv2.imdecode(data, cv2.IMREAD_COLOR) is not None)
    built = cv2.getBuildInformation()
    fast = re.search(r"Baseline:\s*(.+)", built)
    return {
        "version": cv2.__version__,
        "formats": formats,
        "threads": cv2.getNumThreads(),
        "optimized": cv2.useOptimized(),
        "baseline": fast[1].strip() if fast else "",
    }


def picamera() -> dict[str, Any]:
    """Load picamera2 and ask libcamera for its cameras."""
    from edgeleuk.capture.pi import pi_cameras

    if importlib.util.find_spec("picamera2") is None:
        return {"installed": False}
    return {"installed": True, "cameras": [name for _, name in pi_cameras()]}


def runtime(name: str) -> dict[str, Any]:
    """Let one runtime judge the golden cells of the shipped bundle."""
    from edgeleuk.bundle.manifest import MODEL_FILES
    from edgeleuk.bundle.reading import DEFAULT_PATH, read_bundle
    from edgeleuk.classifier.classifier import open_classifier
    from edgeleuk.classifier.self_test import MOVED, result_text, self_test
    from edgeleuk.inference import RUNTIMES, obstacle
    from edgeleuk.io.console import set_voice

    if (missing := obstacle(name)) is not None:
        return {"installed": False, "missing": RUNTIMES[name].library or "its package", "cure": missing.cure}
    # The C++ code says by which kernels it runs, to whom lets it.
    set_voice(verbose=True)
    bundle = read_bundle(DEFAULT_PATH)
    moved: list[str] = []
    tested: list[str] = []
    milliseconds: dict[str, float] = {}
    for member in bundle.manifest.model_names:
        model = MODEL_FILES[member]
        if name not in model.runtimes:
            continue
        with open_classifier(bundle, runtime=name, precision=model.precision) as classifier:
            results = self_test(bundle, member, classifier)
            milliseconds[model.precision] = _median_ms(
                classifier.runtime.predict, bundle.manifest.input.shape
            )
        tested.append(member)
        moved += [result_text(each) for each in results if each.status == MOVED]
    return {"installed": True, "tested": tested, "moved": list(dict.fromkeys(moved)), "ms": milliseconds}


def write(folder: str) -> dict[str, Any]:
    """Write into a folder and wait each time until the disk has it; what was written is removed."""
    with tempfile.TemporaryFile(dir=folder, prefix=".edgeleuk-doctor-") as file:
        large_s = _written(file.fileno(), _LARGE_BYTES, _LARGE_TIMES)
        small_s = _written(file.fileno(), _SMALL_BYTES, _SMALL_TIMES)
    return {
        "mb_per_s": round(len(large_s) * _LARGE_BYTES / 1e6 / max(sum(large_s), 1e-6), 1),
        "commit_ms": round(statistics.median(small_s) * 1000, 2),
    }


def _written(descriptor: int, size: int, times: int) -> list[float]:
    """Return the seconds that each piece took; fewer than asked for of a slow disk, but one."""
    data = os.urandom(size)
    until_s = time.perf_counter() + _WRITE_S / 2
    taken_s: list[float] = []
    while len(taken_s) < times and (not taken_s or time.perf_counter() < until_s):
        began_s = time.perf_counter()
        os.write(descriptor, data)
        os.fsync(descriptor)
        taken_s.append(time.perf_counter() - began_s)
    return taken_s


def _median_ms(predict: Callable[[Any], object], shape: tuple[int, ...]) -> float:
    import numpy as np

    tensor = np.full((1, *shape), 128, np.uint8)
    taken_s = []
    for _ in range(_PREDICTIONS):
        began_s = time.perf_counter()
        predict(tensor)
        taken_s.append(time.perf_counter() - began_s)
    return round(statistics.median(taken_s) * 1000, 2)


def _requirements() -> dict[str, list[str]]:
    """Return what each extra needs, and under no name what all need; not what only some systems need."""
    try:
        texts = metadata.requires("edgeleuk") or []
    except metadata.PackageNotFoundError:
        return {}
    found: dict[str, list[str]] = {}
    for text in texts:
        requirement, _, marker = text.partition(";")
        extra = re.fullmatch(r"\s*extra == ['\"]([\w-]+)['\"]\s*", marker)
        if marker and extra is None:
            continue
        name = extra[1] if extra else ""
        if name not in _NOT_OFFERED:
            found.setdefault(name, []).append(requirement.strip())
    return found


# What is called by name, and takes the words behind it.
_PROBES: dict[str, Callable[..., dict[str, Any]]] = {
    "software": software,
    "opencv": opencv,
    "picamera": picamera,
    "runtime": runtime,
    "write": write,
}


def main(words: list[str]) -> None:
    """Print what one probe finds."""
    try:
        found = _PROBES[words[0]](*words[1:])
    except EdgeleukError as error:
        found = {"error": str(error), "cure": error.cure}
    except Exception as error:  # noqa: BLE001 - a library that does not load raises what it likes
        lines = str(error).strip().splitlines()
        found = {"error": f"{type(error).__name__}: {lines[0] if lines else ''}", "cure": None}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    # The folder that this file lies in is no place to import from.
    sys.path[:] = [place for place in sys.path if place != str(Path(__file__).parent)]
    main(sys.argv[1:])
