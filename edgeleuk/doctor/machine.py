"""The seam between checks and the machine: files below a root, programs, and the settings that hold."""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeleuk.io.config import config_file
from edgeleuk.io.kernel import first_text, kernel_text, sorted_folders
from edgeleuk.io.programs import run_program

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edgeleuk.io.programs import Said

    # Runs a program for so many seconds at most; None where there is none of that name.
    Run = Callable[[Sequence[str], float], Said | None]

# For a program that only looks something up.
SHORT_S = 5.0


@dataclass(frozen=True)
class Machine:
    """A machine as checks see it: all that they know comes through here.

    Attributes
    ----------
    run : callable
        Runs a program.
    root : Path
        Below which ``proc``, ``sys``, ``etc`` and ``dev`` lie.
    environ : mapping of str to str
        The variables of the environment.
    camera, stage : str or None
        As the settings name them.
    runtime : str
        As well.
    folder : Path
        Where sessions are written.
    python : str
        The interpreter, which runs `edgeleuk.doctor.probe` and commands of edgeleuk.
    """

    run: Run
    root: Path = Path("/")
    environ: Mapping[str, str] = field(default_factory=dict)
    camera: str | None = None
    stage: str | None = None
    runtime: str = "auto"
    folder: Path = Path()
    python: str = sys.executable
    _known: dict[tuple[str, ...], Said | None] = field(default_factory=dict, repr=False)
    _locks: dict[tuple[str, ...], threading.Lock] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def said(self, *words: str, timeout_s: float = SHORT_S) -> Said | None:
        """Run a program, once for all who ask for the same words; see `Run`."""
        with self._lock:
            lock = self._locks.setdefault(words, threading.Lock())
        with lock:
            if words not in self._known:
                self._known[words] = self.run(words, timeout_s)
            return self._known[words]

    def output(self, *words: str, timeout_s: float = SHORT_S) -> str | None:
        """Return what a program says; None where there is none, or it fails."""
        said = self.said(*words, timeout_s=timeout_s)
        return said.out.strip() if said is not None and said.code == 0 else None

    def own(self, *words: str, timeout_s: float) -> tuple[Any, str, Said | None]:
        """Run a command of edgeleuk with ``--json``.

        Returns
        -------
        found : object
            What it printed; None where that is no JSON.
        error : str
            The sentence it failed with, or nothing.
        said : Said or None
        """
        said = self.said(self.python, "-m", "edgeleuk", *words, "--json", timeout_s=timeout_s)
        return (*_parsed(said), said)

    def probe(self, *words: str, timeout_s: float) -> tuple[Any, str, Said | None]:
        """Ask `edgeleuk.doctor.probe`, in a process of its own, which may hang or crash; see `own`."""
        said = self.said(self.python, "-m", "edgeleuk.doctor.probe", *words, timeout_s=timeout_s)
        return (*_parsed(said), said)

    def text(self, *names: str) -> str | None:
        """Read the first of some files that is there; None where none is, or none holds anything."""
        return first_text(self.root, *names)

    def data(self, name: str) -> bytes:
        """Read a file that is no text; nothing where it cannot be read."""
        try:
            return (self.root / name).read_bytes()
        except OSError:
            return b""

    def files(self, folder: str, pattern: str) -> list[Path]:
        """Return what is there, in order."""
        return sorted_folders(self.root / folder, pattern)

    def texts(self, folder: str, pattern: str) -> dict[Path, str]:
        """Read files; those that hold nothing are left out."""
        read = {path: kernel_text(path) for path in self.files(folder, pattern)}
        return {path: text for path, text in read.items() if text is not None}

    def shown(self, path: Path) -> str:
        """Return a path below the root as the machine itself names it."""
        return "/" + path.relative_to(self.root).as_posix()

    def kernel_log(self) -> list[str] | None:
        """Return the kernel's messages since the start; None where this user may not read them."""
        for words in (("journalctl", "-k", "-b", "-q", "--no-pager"), ("dmesg",)):
            text = self.output(*words)
            if text:
                return text.splitlines()
        return None

    def is_container(self) -> bool:
        """Whether another system's kernel runs this one."""
        marks = (".dockerenv", "run/.containerenv", "run/systemd/container")
        return any((self.root / mark).exists() for mark in marks)

    def is_pi(self) -> bool:
        """Whether it is a Raspberry Pi."""
        return "Raspberry Pi" in (self.text("proc/device-tree/model") or "")


def this_machine(*, camera: str | None, stage: str | None, runtime: str, session: str | None) -> Machine:
    """Return the machine that this runs on.

    Parameters
    ----------
    camera, stage, runtime, session
        As the settings have them.
    """
    environ = dict(os.environ)
    # Commands of edgeleuk see the same settings, and no list of processes shows an address's password.
    file = config_file()
    if file is not None:
        environ["EDGELEUK_CONFIG"] = str(file)
    if stage is not None:
        environ["EDGELEUK_STAGE"] = stage

    def run(words: Sequence[str], timeout_s: float) -> Said | None:
        return run_program(words, timeout_s, environ=environ)

    return Machine(
        run,
        environ=environ,
        camera=camera,
        stage=stage,
        runtime=runtime,
        folder=Path(session).parent if session else Path(),
    )


def _parsed(said: Said | None) -> tuple[Any, str]:
    if said is None:
        return None, "the program is not there"
    if said.code is None:
        return None, "it did not end in time"
    if said.code < 0:
        return None, f"it was ended by signal {-said.code}"
    try:
        found = json.loads(said.out) if said.out.strip() else None
    except ValueError:
        found = None
    found = found if isinstance(found, dict) else None
    errors = [line for line in said.error.splitlines() if line.startswith("error: ")]
    lines = errors or said.error.strip().splitlines()
    return found, "" if said.code == 0 else (lines[-1].removeprefix("error: ") if lines else "no reason told")
