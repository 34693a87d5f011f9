"""One start of the machine of ``power_cut.sh``: check what the last cut left, then let the power fail again.

Its argument says before which step of the switch the power fails: ``0``, ``1``, ... Where there is no such
step any more, the program ends, and so do the starts.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from installing import NEW, OLD, SIGNATURE, version, whole

from edgeleuk.updates.place import Content, Place

DISK = Path("/tmp/disk")
# What changes a disk; pathlib and shutil call them by these names.
STEPS = ("fsync", "mkdir", "rename", "replace", "symlink", "unlink", "rmdir")


def power_fails() -> None:
    """Start the machine anew, at once: nothing is synced, nothing is unmounted."""
    Path("/proc/sysrq-trigger").write_text("b")


class Cut:
    """Lets the power fail before a step; the steps before it are done."""

    def __init__(self, before: int) -> None:
        self.left = before
        for name in STEPS:
            setattr(os, name, self.step(getattr(os, name)))

    def step(self, call: Any) -> Any:
        def counted(*words: Any, **named: Any) -> Any:
            if self.left == 0:
                power_fails()
            self.left -= 1
            return call(*words, **named)

        return counted


def switched(file: Path) -> None:
    """Take in the plain bundle that is there, then install another one."""
    place = Place(file)
    with place.alone():
        place.adopt(version(OLD, "good"), Content(OLD, SIGNATURE + OLD))
        place.install(version(NEW), Content(NEW, SIGNATURE + NEW))


def prepared(folder: Path) -> Path:
    """Make a folder with a plain bundle, and have it on the disk."""
    folder.mkdir()
    file = folder / "lab.edgeleuk"
    file.write_bytes(OLD)
    (folder / "lab.edgeleuk.minisig").write_bytes(SIGNATURE + OLD)
    os.sync()
    return file


def checked(file: Path) -> bytes:
    """What the cut left is one whole bundle, and the next switch comes to its end."""
    found = whole(file)
    place = Place(file)
    if not place.is_installed:
        with place.alone():
            place.adopt(version(OLD, "good"), Content(OLD, SIGNATURE + OLD))
    with place.alone():
        place.install(version(NEW), Content(NEW, SIGNATURE + NEW))
    assert whole(file) == NEW
    with place.alone():
        assert place.go_back() is not None
    assert whole(file) == OLD
    return found


def main(word: str) -> None:
    DISK.mkdir()
    subprocess.run(["mount", "-t", "ext4", "/dev/vda", str(DISK)], check=True)
    if word == "careless":
        file = prepared(DISK / "careless")
        os.fsync = lambda _: None  # type: ignore[assignment]
        switched(file)
        assert whole(file) == NEW
        power_fails()
    number = int(word)
    left = (DISK / "careless" / "lab.edgeleuk").read_bytes()
    assert left == OLD, "what was never synced outlasted a power cut"
    for folder in DISK.glob("[0-9]*"):
        found = checked(folder / "lab.edgeleuk")
        sys.stdout.write(f"cut before step {folder.name}: {found[:3].decode()}\n")
        shutil.rmtree(folder)
    file = prepared(DISK / word)
    cut = Cut(number)
    switched(file)
    assert cut.left >= 0
    sys.stdout.write(f"{number - cut.left} steps\n")


if __name__ == "__main__":
    main(sys.argv[1])
