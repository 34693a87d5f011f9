"""What the fuzzers share: they run by ``make fuzz``, each for ten minutes or ``FUZZ_SECONDS``, with atheris.

atheris is not installed with the project; `make fuzz` brings it. An input that is found to break something is
written beside as ``crash-...``; pass that file as an argument to try it again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import atheris

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def folder_in_memory() -> Iterator[Path]:
    """Make a folder for the files of one fuzzer, where writing costs least."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def is_deliberate(error: BaseException) -> bool:
    """Whether an error is one of the sentences that a user may be told; 1 is the code of a bug."""
    from edgeleuk.errors import EdgeleukError

    return isinstance(error, EdgeleukError) and error.exit_code != 1


def damaged(data: bytes, provider: atheris.FuzzedDataProvider) -> bytes:
    """Damage a file as a fuzzer likes: bytes changed, cut out, put in, and its end cut off."""
    changed = bytearray(data)
    for _ in range(provider.ConsumeIntInRange(1, 8)):
        at = provider.ConsumeIntInRange(0, len(changed))
        how = provider.ConsumeIntInRange(0, 3)
        new = provider.ConsumeBytes(provider.ConsumeIntInRange(1, 16))
        if how == 0:
            changed[at : at + len(new)] = new
        elif how == 1:
            changed[at:at] = new
        elif how == 2:
            del changed[at : at + provider.ConsumeIntInRange(1, 4096)]
        else:
            del changed[at:]
    return bytes(changed)


def fuzz(one_input: Callable[[bytes], None]) -> None:
    """Run until ``-max_total_time`` has passed, or something breaks."""
    # Inputs of a few bytes change nothing worth while.
    atheris.Setup([*sys.argv, "-len_control=0", "-max_len=512"], one_input)
    atheris.Fuzz()


def silenced(call: Callable[[], object]) -> None:
    """Call something that prints, and throw away what it says."""
    with Path(os.devnull).open("w", encoding="utf-8") as nothing, contextlib.redirect_stdout(nothing):
        call()
