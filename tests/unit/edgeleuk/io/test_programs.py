"""Programs that say something, fail, hang, crash, or are not there."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edgeleuk.io.programs import Said, run_program

if TYPE_CHECKING:
    from collections.abc import Sequence

LONG_S = 60.0


def python(*words: str) -> Sequence[str]:
    return (sys.executable, "-c", *words)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("print('yes')", Said(0, "yes\n")),
        ("import sys; print('half'); sys.exit('no')", Said(1, "half\n", "no\n")),
        ("import os; os.abort()", Said(-6, "")),
        ("import sys; print(repr(sys.stdin.read()))", Said(0, "''\n")),
        ("import sys; sys.stdout.buffer.write(bytes([255]))", Said(0, "\ufffd")),
    ],
)
def test_what_a_program_says_is_told(program: str, said: Said) -> None:
    assert run_program(python(program), LONG_S) == said


def test_a_program_that_is_not_there_is_none() -> None:
    assert run_program(["no-such-program-of-edgeleuk"], LONG_S) is None


def test_a_file_that_cannot_be_run_is_none(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF of another processor")
    program.chmod(0o755)
    assert run_program([str(program)], LONG_S) is None


def is_over(status: Path) -> bool:
    try:
        return status.read_text().rpartition(")")[2].split()[0] in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_one_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    ids = tmp_path / "ids"
    hangs = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(ids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "print('begun', flush=True)\n"
        "time.sleep(600)\n"
    )
    said = run_program(python(hangs), 3.0)
    assert said == Said(None, "begun\n")
    for process in ids.read_text().split():
        status = Path(f"/proc/{process}/stat")
        # A kill takes a moment; then it is gone, or dead and not yet buried by who adopted it.
        for _ in range(200):
            if is_over(status):
                break
            time.sleep(0.05)
        assert is_over(status)


def test_the_environment_may_be_another() -> None:
    environ = {**os.environ, "EDGELEUK_OF_TEST": "yes"}
    said = run_program(python("import os; print(os.environ['EDGELEUK_OF_TEST'])"), LONG_S, environ=environ)
    assert said == Said(0, "yes\n")
