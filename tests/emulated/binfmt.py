"""Lets the kernel run arm64 programs by QEMU while a block lasts, as the scripts of an image need it."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from common import MissingToolError

if TYPE_CHECKING:
    from collections.abc import Iterator

_PLACE = Path("/proc/sys/fs/binfmt_misc")
_NAME = "edgeleuk-arm64"
# How a program for 64-bit ARM begins, and which bits of that count.
_MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
_MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"


@contextmanager
def arm64_programs(interpreter: str, flags: str = "") -> Iterator[None]:
    """Let arm64 programs run within the block.

    Parameters
    ----------
    interpreter : str
        QEMU, as its path is within the root of who runs such a program; with the flag ``F`` as it is here.
    flags : str
        See the kernel's documentation of binfmt_misc.

    Raises
    ------
    MissingToolError
        The kernel cannot.
    """
    mounted = False
    if not (_PLACE / "register").exists():
        done = subprocess.run(
            ["mount", "-t", "binfmt_misc", "binfmt_misc", _PLACE], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise MissingToolError(f"the kernel runs no programs of others: {done.stderr.strip()}")
        mounted = True
    entry = _PLACE / _NAME
    if entry.exists():
        entry.write_text("-1")
    (_PLACE / "register").write_text(f":{_NAME}:M::{_MAGIC}:{_MASK}:{interpreter}:{flags}")
    try:
        yield
    finally:
        entry.write_text("-1")
        if mounted:
            subprocess.run(["umount", _PLACE], check=True)
