"""The boards: a processor for QEMU, and the files by which programs recognise it.

Libraries choose their kernels by ``/proc/cpuinfo`` and ``/sys/devices/system/cpu`` beside what the processor
says of itself. Without them XNNPACK is silently off; with another board's they meet an illegal instruction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

CORES = 4


class Board(NamedTuple):
    """A board to emulate.

    Attributes
    ----------
    name : str
        Short, for tables.
    cpu : str
        QEMU's name of the processor.
    part, variant, revision : str
        Of the processor, as the kernel shows them.
    features : str
        The kernel's names of what it can do.
    model : str
    """

    name: str
    cpu: str
    part: str
    variant: str
    revision: str
    features: str
    model: str

    @property
    def cpuinfo(self) -> str:
        """What ``/proc/cpuinfo`` says."""
        core = (
            f"BogoMIPS\t: 108.00\nFeatures\t: {self.features}\nCPU implementer\t: 0x41\nCPU architecture: 8\n"
            f"CPU variant\t: {self.variant}\nCPU part\t: {self.part}\nCPU revision\t: {self.revision}\n"
        )
        cores = "\n".join(f"processor\t: {number}\n{core}" for number in range(CORES))
        return f"{cores}\nModel\t\t: {self.model}\n"


PI_4 = Board(
    "A72", "cortex-a72", "0xd08", "0x0", "3", "fp asimd evtstrm crc32 cpuid", "Raspberry Pi 4 Model B Rev 1.4"
)
# The one that multiplies and adds four bytes at a time: asimddp.
PI_5 = Board(
    "A76",
    "cortex-a76",
    "0xd0b",
    "0x4",
    "1",
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
    "Raspberry Pi 5 Model B Rev 1.0",
)
BOARDS = (PI_4, PI_5)


def disguise(root: Path, board: Board) -> None:
    """Write a board's files into a root."""
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/cpuinfo").write_text(board.cpuinfo)
    cpus = root / "sys/devices/system/cpu"
    every = f"0-{CORES - 1}"
    files = {"possible": every, "present": every, "online": every, "kernel_max": "255"}
    for number in range(CORES):
        topology = f"cpu{number}/topology"
        files |= {
            f"{topology}/core_id": str(number),
            f"{topology}/physical_package_id": "0",
            f"{topology}/core_siblings_list": every,
            f"{topology}/core_siblings": f"{(1 << CORES) - 1:x}",
            f"{topology}/thread_siblings_list": str(number),
            f"{topology}/thread_siblings": f"{1 << number:x}",
        }
    for name, text in files.items():
        (cpus / name).parent.mkdir(parents=True, exist_ok=True)
        (cpus / name).write_text(text + "\n")
