"""Checks of the disk that sessions are written to: room, speed, wear, errors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from edgeleuk.doctor.findings import counted, failure, ok, warning

if TYPE_CHECKING:
    from edgeleuk.doctor.findings import Finding
    from edgeleuk.doctor.machine import Machine

LEAST_FREE_GB, WANTED_FREE_GB = 0.5, 5.0
# A frame with its cells is 80 kB and one commit: ten a second must be written in half of the time.
LEAST_MB_PER_S = 2.0
MOST_COMMIT_MS = 50.0
WRITE_S = 30.0
# An eMMC tells its wear in tenths; JEDEC 84-B50, EXT_CSD 267 to 269.
_WORN, _WORN_OUT = 0x09, 0x0B
_RESERVE_SHORT, _RESERVE_GONE = 2, 3
_FORGETS = {
    "tmpfs": "it lies in memory",
    "overlay": "it lies on an overlay, over a disk that is not written to",
}
# SQLite's write-ahead log needs a shared memory that these do not have, or they lose names and rights.
_UNFIT = ("vfat", "exfat", "msdos", "ntfs", "ntfs3", "fuseblk", "nfs", "nfs4", "cifs", "smb3", "9p")
# What the kernel says of a disk that fails; not of loops, which are files.
_DISK_ERRORS = re.compile(
    r"I/O error, dev ((?:mmcblk|sd|nvme|vd)\w*)|EXT4-fs error \(device ((?:mmcblk|sd|nvme|vd)\w*)"
    r"|(mmc(?:blk)?\d+)\w*: .*(?:error -\d+|[Tt]imeout waiting|timed? ?out)"
)
_NEW_CARD = "a card for dash cameras (A2, high endurance) or an SSD"
_REPLACE = f"copy what is on it, and replace it by {_NEW_CARD}"


class _Disk(NamedTuple):
    """Where a folder lies: `df`'s answer."""

    device: str
    kind: str
    free_gb: float
    place: str


def room(machine: Machine) -> list[Finding]:
    """Look how much fits on the disk."""
    disk = _disk(machine)
    if disk is None:
        return [
            warning("room", f"nothing tells what is free at {machine.folder}", "see that the folder is there")
        ]
    options = _mount_options(machine, disk.place)
    if "ro" in options:
        text = f"{disk.place} ({disk.device}) can only be read: the kernel does that after errors of the disk"
        cure = f"`sudo mount -o remount,rw {disk.place}`; if it comes back, {_REPLACE}"
        return [failure("room", text, cure)]
    inodes = machine.output("df", "-Pi", str(machine.folder))
    if inodes and (full := re.search(r"\s(9[89]|100)%\s", inodes)):
        text = f"{disk.place} has no room for more files: {full[1]} % of its inodes are taken"
        return [
            failure("room", text, "remove what there are many of: `sudo du --inodes -xd2 / | sort -n | tail`")
        ]
    text = f"{disk.free_gb:.1f} GB free at {disk.place} ({disk.kind})"
    cure = "remove old sessions, or let --session name a larger disk"
    if disk.free_gb < LEAST_FREE_GB:
        return [failure("room", f"only {text}", cure)]
    if disk.free_gb < WANTED_FREE_GB:
        return [warning("room", f"{text}: a night with many cells needs more", cure)]
    return [ok("room", text)]


def file_system(machine: Machine) -> list[Finding]:
    """See that what is written stays."""
    disk = _disk(machine)
    if disk is None:
        return []
    cure = f"let --session name a file on a disk with ext4; {disk.place} is {disk.kind}"
    if disk.kind in _FORGETS:
        text = f"what is written at {disk.place} is gone after the next start: {_FORGETS[disk.kind]}"
        return [warning("file system", text, cure)]
    if disk.kind in _UNFIT:
        text = f"{disk.kind} at {disk.place} is not safe for a session when the power fails"
        return [warning("file system", text, cure)]
    return [ok("file system", f"{disk.kind} on {disk.device}")]


def speed(machine: Machine) -> list[Finding]:
    """Write a little, and wait each time until the disk has it."""
    found, error, _ = machine.probe("write", str(machine.folder), timeout_s=WRITE_S)
    reason = error or (found or {}).get("error", "")
    if reason or not found:
        text = f"nothing can be written at {machine.folder}: {reason}"
        return [failure("speed", text, "let --session name a folder that is yours and not full")]
    figures = f"{found['mb_per_s']:g} MB/s, and {found['commit_ms']:g} ms until a commit is on the disk"
    if found["mb_per_s"] < LEAST_MB_PER_S or found["commit_ms"] > MOST_COMMIT_MS:
        text = f"{figures}: too slow for ten frames a second"
        return [warning("speed", text, "use a card of class A2, or an SSD; a worn card becomes slow as well")]
    return [ok("speed", figures)]


def wear(machine: Machine) -> list[Finding]:
    """Ask cards that tell how worn they are."""
    told = machine.texts("sys/block", "mmcblk[0-9]*/device/life_time")
    worst: Finding | None = None
    for path, text in told.items():
        # Two numbers, of the two kinds of memory that it has.
        life = max((int(word, 16) for word in re.findall(r"0x[0-9a-fA-F]+", text)), default=0)
        reserve = int(machine.text(str(path.parent.relative_to(machine.root) / "pre_eol_info")) or "0", 16)
        name = path.parts[-3]
        if not life:
            continue
        share = "more than 100" if life >= _WORN_OUT else f"up to {life * 10}"
        used = f"{name} has used {share} % of its life"
        if life >= _WORN_OUT or reserve >= _RESERVE_GONE:
            return [failure("wear", used, _REPLACE)]
        if life >= _WORN or reserve >= _RESERVE_SHORT:
            short = ", and its spare blocks are short" * (reserve >= _RESERVE_SHORT)
            worst = warning("wear", used + short, _REPLACE)
        worst = worst or ok("wear", f"{used}, as it says itself")
    if worst is not None:
        return [worst]
    cards = [path.name for path in machine.files("sys/block", "mmcblk[0-9]") if path.name]
    if cards:
        return [
            ok("wear", f"{', '.join(cards)} is an SD card, which does not tell: replace it every year or two")
        ]
    return [ok("wear", "no disk here tells; `sudo smartctl -a /dev/DISK` asks an SSD")]


def disk_errors(machine: Machine) -> list[Finding]:
    """Look for what the kernel says of disks that fail."""
    of_systems = {
        path.parent.name: int(text)
        for path, text in machine.texts("sys/fs/ext4", "*/errors_count").items()
        if text.isdecimal() and int(text) and not path.parent.name.startswith("loop")
    }
    lines = machine.kernel_log()
    said = [found for line in lines or () if (found := _DISK_ERRORS.search(line))]
    if said:
        text = f"the kernel reports {counted(len(said), 'error')} of a disk, as: {said[0][0]}"
        device = (_disk(machine) or _Disk("", "", 0.0, "")).device.removeprefix("/dev/")
        named = {next(filter(None, each.groups())).replace("mmcblk", "mmc") for each in said}
        # Others may have been pulled out.
        mine = any(device and device.replace("mmcblk", "mmc").startswith(name) for name in named)
        if mine:
            return [failure("errors", text, f"copy what is on it now, and replace it by {_NEW_CARD}")]
        return [warning("errors", text, f"sessions are on another disk; do not trust this one: {_REPLACE}")]
    if of_systems:
        name, number = next(iter(of_systems.items()))
        text = f"the file system of {name} has {counted(number, 'error')}"
        return [
            warning(
                "errors",
                text,
                "restart once with fsck.mode=force in the kernel's command line (/boot/firmware/cmdline.txt)",
            )
        ]
    if lines is None:
        text = "this user may not read the kernel's messages; `sudo usermod -aG adm $USER` allows it"
        return [ok("errors", text)]
    return [ok("errors", "the kernel reports none since the start")]


def _disk(machine: Machine) -> _Disk | None:
    lines = (machine.output("df", "-PkT", str(machine.folder)) or "").splitlines()
    words = lines[-1].split(maxsplit=6) if len(lines) > 1 else []
    if len(words) < 7 or not words[4].isdecimal():
        return None
    return _Disk(words[0], words[1], int(words[4]) * 1024 / 1e9, words[6])


def _mount_options(machine: Machine, place: str) -> list[str]:
    """Return how a place is mounted; the last entry hides those before."""
    mounts = [line.split() for line in (machine.text("proc/self/mounts") or "").splitlines()]
    found = [words[3].split(",") for words in mounts if len(words) > 3 and words[1] == place]
    return found[-1] if found else []
