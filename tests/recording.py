"""How a machine is recorded for `edgeleuk doctor`: files below a root, and what programs say there."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from edgeleuk.doctor.machine import Machine
from edgeleuk.io.programs import Said

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PYTHON = "python"
NOW_S = 1_780_000_000
# What makes a link instead of a file.
LINK = "-> "

Content = str | bytes


@dataclass(frozen=True)
class Recorded:
    """One machine.

    Attributes
    ----------
    files : mapping of path to content
        A text that begins with ``->`` is a link; bytes are written as they are.
    programs : mapping of command line to what it says
        What is not here is not installed, but for ``test``, which finds everything open.
    """

    files: Mapping[str, Content]
    programs: Mapping[str, Said]
    environ: Mapping[str, str] = field(default_factory=dict)
    camera: str | None = None
    stage: str | None = None
    runtime: str = "auto"
    folder: str = "/home/ada/runs"

    def lay_out(self, root: Path) -> Machine:
        """Write the tree, and return the machine."""
        for name, content in self.files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
            elif content.startswith(LINK):
                path.symlink_to(content.removeprefix(LINK))
            else:
                path.write_text(content, encoding="utf-8")

        def run(words: Sequence[str], timeout_s: float) -> Said | None:
            assert timeout_s > 0
            return self.programs.get(" ".join(words), Said(0, "") if words[0] == "test" else None)

        return Machine(
            run,
            root=root,
            environ=self.environ,
            camera=self.camera,
            stage=self.stage,
            runtime=self.runtime,
            folder=Path(self.folder),
            python=PYTHON,
        )

    def but(
        self,
        files: Mapping[str, Content | None] | None = None,
        programs: Mapping[str, Said | None] | None = None,
        **changes: Any,
    ) -> Recorded:
        """Return the machine with something changed; None takes a file, a folder or a program away."""
        kept = dict(self.files)
        for name, content in (files or {}).items():
            if content is None:
                kept = {
                    path: one
                    for path, one in kept.items()
                    if path != name and not path.startswith(f"{name.rstrip('/')}/")
                }
            else:
                kept[name] = content
        ran = {**self.programs, **(programs or {})}
        return replace(self, files=kept, programs={key: said for key, said in ran.items() if said}, **changes)


def probe(name: str, found: Mapping[str, Any], *, error: str = "") -> dict[str, Said]:
    """Return what `edgeleuk.doctor.probe` says."""
    return {f"{PYTHON} -m edgeleuk.doctor.probe {name}": Said(0, json.dumps(found) + "\n", error)}


def own(words: str, found: Mapping[str, Any]) -> dict[str, Said]:
    """Return what a command of edgeleuk prints as JSON."""
    return {f"{PYTHON} -m edgeleuk {words} --json": Said(0, json.dumps(found, indent=1) + "\n")}


def refused(words: str, sentence: str, code: int = 6) -> dict[str, Said]:
    """Return how a command of edgeleuk fails."""
    return {f"{PYTHON} -m edgeleuk {words} --json": Said(code, "", f"error: {sentence}\n")}


def says(*lines: str) -> Said:
    """Return what a program that went well says."""
    return Said(0, "".join(f"{line}\n" for line in lines))


VERSIONS = {
    "ai-edge-litert": "1.4.0",
    "av": "17.0.0",
    "msgspec": "0.19.0",
    "numpy": "2.2.6",
    "onnxruntime": "1.22.1",
    "opencv-python-headless": "4.12.0.88",
    "pyserial": "3.5",
    "rich": "14.0.0",
    "simplejpeg": "1.9.0",
    "typer": "0.16.0",
}
REQUIRES = {
    "": [
        "ai-edge-litert>=1.4",
        "av>=17",
        "msgspec>=0.19",
        "numpy>=1.26",
        "opencv-python-headless>=4.11",
        "simplejpeg>=1.9",
    ],
    "onnx": ["onnxruntime>=1.20"],
    "stage": ["pyserial>=3.5"],
    "cluster": ["distributed>=2025.1"],
}
CAMERA_URI = "v4l2:///dev/v4l/by-id/usb-Sonix_HD_Microscope_SN0001-video-index0"
STAGE_URL = "serial:///dev/serial/by-id/usb-1a86_USB_Serial-if00-port0"


def software(
    python: str = "3.11.2", architecture: str = "aarch64", glibc: str | None = "2.36", **changes: Any
) -> dict[str, Said]:
    """Return what the interpreter says of itself."""
    found = {
        "python": python,
        "bits": 64,
        "architecture": architecture,
        "glibc": glibc,
        "virtual_environment": True,
        "encoding": "utf-8",
        "versions": VERSIONS,
        "requires": REQUIRES,
    }
    return probe("software", found | changes)


def opencv(baseline: str = "NEON FP16", **changes: Any) -> dict[str, Said]:
    found = {
        "version": "4.12.0",
        "formats": {"jpg": True, "png": True},
        "threads": 4,
        "optimized": True,
        "baseline": baseline,
    }
    return probe("opencv", found | changes)


XNNPACK = "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"


def litert(*, error: str = XNNPACK, **changes: Any) -> dict[str, Said]:
    found = {
        "installed": True,
        "tested": ["model.int8.tflite"],
        "moved": [],
        "ms": {"int8": 21.5, "float32": 30.25},
    }
    return probe("runtime litert", found | changes, error=error)


def onnxruntime(**changes: Any) -> dict[str, Said]:
    found = {"installed": True, "tested": ["model.int8.onnx"], "moved": [], "ms": {"int8": 24.0}}
    return probe("runtime onnxruntime", found | changes)


def cameras(*found: Mapping[str, Any]) -> dict[str, Said]:
    """Return what ``camera list`` prints."""
    return own("camera list", {"schema_version": 1, "cameras": list(found)})


USB_CAMERA = {
    "uri": CAMERA_URI,
    "node": "/dev/video0",
    "name": "HD Microscope",
    "driver": "uvcvideo",
    "bus": "usb-0000:01:00.0-1.2",
    "formats": [{"fourcc": "MJPG", "description": "Motion-JPEG", "stepwise": False, "sizes": []}],
    "controls": [],
    "error": None,
}


def sent(uri: str | None = CAMERA_URI, **changes: Any) -> dict[str, Said]:
    """Return what ``camera probe`` prints."""
    found = {
        "camera": uri or "http://10.0.0.5/stream",
        "live": True,
        "format": "MJPG",
        "width": 1280,
        "height": 960,
        "frames": 28,
    }
    found |= {"rejected": 0, "fps": 29.9, "first_picture_ms": 412.0}
    return own(f"camera probe{f' {uri}' if uri else ''} --seconds 1", found | changes)


def stage_info(**changes: Any) -> dict[str, Said]:
    found = {
        "protocol": "sangaboard",
        "firmware": "Sangaboard Firmware v1.0.3",
        "board": "Sangaboard v0.5",
        "locked": None,
    }
    return own("stage info", found | changes)


def written(mb_per_s: float = 38.4, commit_ms: float = 6.1) -> dict[str, Said]:
    return probe("write /home/ada/runs", {"mb_per_s": mb_per_s, "commit_ms": commit_ms})


def disk(
    device: str, kind: str = "ext4", available_kib: int = 44_040_192, place: str = "/", used: int = 26
) -> dict[str, Said]:
    """Return what ``df`` says."""
    return {
        "df -PkT /home/ada/runs": says(
            "Filesystem     Type 1024-blocks     Used Available Capacity Mounted on",
            f"{device:<14} {kind} {available_kib * 2} {available_kib} {available_kib:>9} {used:>7}% {place}",
        ),
        "df -Pi /home/ada/runs": says(
            "Filesystem      Inodes  IUsed   IFree IUse% Mounted on",
            f"{device:<14} 3808256 190812 3617444    6% {place}",
        ),
    }


def time_of(synchronised: str = "yes", zone: str = "Europe/Berlin", local: str = "no") -> dict[str, Said]:
    return {
        "timedatectl show": says(
            f"Timezone={zone}",
            f"LocalRTC={local}",
            "CanNTP=yes",
            "NTP=yes",
            f"NTPSynchronized={synchronised}",
            "TimeUSec=Thu 2026-05-28 22:26:40 CEST",
        ),
        "date +%s": says(str(NOW_S)),
    }


def service(
    state: str = "active", step: str = "running", result: str = "success", *, enabled: str = "enabled",
    restarts: int = 0, load: str = "loaded",
) -> dict[str, Said]:  # fmt: skip
    """Return what systemd says of the service."""
    asked = "LoadState,ActiveState,SubState,Result,UnitFileState,StatusText,ActiveEnterTimestamp,NRestarts"
    return {
        f"systemctl show edgeleuk.service -p {asked}": says(
            f"LoadState={load}",
            f"ActiveState={state}",
            f"SubState={step}",
            f"Result={result}",
            f"UnitFileState={enabled}",
            "StatusText=12 fields, 3 rejected, 7 cells counted",
            "ActiveEnterTimestamp=Thu 2026-05-28 20:11:02 CEST",
            f"NRestarts={restarts}",
        )
    }


def user(groups: str = "ada adm dialout sudo video render") -> dict[str, Said]:
    return {
        "id -un": says("ada"),
        "id -nG": says(groups),
        "stat -c %G /dev/video0": says("video"),
        "stat -c %G /dev/ttyUSB0": says("dialout"),
        "stat -c %G /dev/ttyACM0": says("dialout"),
    }


def kernel(*lines: str) -> dict[str, Said]:
    """Return the kernel's messages, as the journal shows them."""
    usual = (
        "Booting Linux on physical CPU 0x0000000000 [0x410fd083]",
        "usb 1-1.2: New USB device found, idVendor=0c45",
    )
    return {
        "journalctl -k -b -q --no-pager": says(
            *(f"May 28 22:00:01 stand kernel: {line}" for line in (*usual, *lines))
        )
    }


def cores(number: int, features: str, part: str, tail: str = "") -> str:
    """Return ``/proc/cpuinfo`` of an ARM processor."""
    one = (
        "processor\t: {}\nBogoMIPS\t: 108.00\nFeatures\t: {}\nCPU implementer\t: 0x41\n"
        "CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: {}\nCPU revision\t: 3\n\n"
    )
    return "".join(one.format(core, features, part) for core in range(number)) + tail


def x86_cores(number: int, model: str, flags: str) -> str:
    one = "processor\t: {}\nvendor_id\t: GenuineIntel\nmodel name\t: {}\nflags\t\t: {}\n\n"
    return "".join(one.format(core, model, flags) for core in range(number))


def memory(total: int, available: int, swap: int = 524_284, swap_free: int = 524_284) -> str:
    """Return ``/proc/meminfo``, in KiB."""
    return (
        f"MemTotal:       {total:>8} kB\nMemFree:          341204 kB\nMemAvailable:   {available:>8} kB\n"
        f"Buffers:           62000 kB\nSwapTotal:      {swap:>8} kB\nSwapFree:       {swap_free:>8} kB\n"
    )


def release(name: str) -> str:
    return f'PRETTY_NAME="{name}"\nNAME="{name.split(maxsplit=1)[0]}"\n'


class Fault(NamedTuple):
    """A trouble: where it is planted, and what has to be said of it."""

    name: str
    machine: Recorded
    line: tuple[str, str, str]
    text: str
    cure: str
    files: Mapping[str, Content | None] = {}
    programs: Mapping[str, Said | None] = {}
    changes: Mapping[str, Any] = {}


def without(*names: str) -> dict[str, str]:
    return {name: version for name, version in VERSIONS.items() if name not in names}
