"""The emulations: what they say where they cannot begin, and how they tell machines apart."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).resolve().parents[1] / "emulated"


@pytest.fixture
def _importable() -> Iterator[None]:
    sys.path.insert(0, str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))


@pytest.mark.parametrize("script", ["pi.py", "pc.py"])
def test_what_is_missing_is_named_with_its_cure(tmp_path: Path, script: str) -> None:
    """On a machine without the tools nothing is begun."""
    done = subprocess.run(
        [sys.executable, str(FOLDER / script)],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 5, done.stderr
    assert any(cure in done.stderr for cure in ("apt-get install", "sudo", "run it on x86-64"))
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'qemu-x86_64 version 7.0.0 (Debian)'", "QEMU 7.0 emulates no AVX2"),
        ("echo 'qemu-x86_64 version 7.2.22 (Debian)'", None),
        ("echo 'qemu-x86_64 version 10.0.2'", None),
    ],
)
@pytest.mark.usefixtures("_importable")
def test_an_old_emulator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str | None
) -> None:
    import pc
    from common import MissingToolError

    emulator = tmp_path / pc.QEMU
    emulator.write_text(f"#!/bin/sh\n{script}\n")
    emulator.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    if said is None:
        pc.check_tools()
        return
    with pytest.raises(MissingToolError, match=said):
        pc.check_tools()


@pytest.mark.usefixtures("_importable")
def test_each_board_shows_its_processor() -> None:
    from boards import BOARDS, CORES

    for board in BOARDS:
        assert board.cpuinfo.count(f"CPU part\t: {board.part}\n") == CORES
    # The dot product is what parts them.
    assert [("asimddp" in board.features.split()) for board in BOARDS] == [False, True]


def answers(**changed: float) -> dict[str, Any]:
    """What a machine says of cells: a float network, and one in int8 beside it."""
    column = np.linspace(-2, 2, 6, dtype=np.float32)[:, None]
    found = {key: column.copy() for key in ("stored", "int8", "inexact")}
    found["float32"] = column + 0.1 * column**2
    for key, more in changed.items():
        found[key][0] += more
    return found


@pytest.mark.parametrize(
    ("saturates", "changed", "missed"),
    [
        (True, {"inexact": 1.0}, set()),
        (True, {"inexact": 1.0, "int8": 0.01}, {"against the stored answers"}),
        (True, {"inexact": 1.0, "int8": 1.0}, {"against the stored answers", "correlation of int8"}),
        (True, {}, {"it differs where sums"}),
        (False, {"inexact": 0.01, "int8": 0.01}, set()),
        (False, {"inexact": 0.02, "int8": 0.01}, {"asked to be exact or not"}),
    ],
)
@pytest.mark.usefixtures("_importable")
def test_bars_of_an_emulated_pc(saturates: bool, changed: dict[str, float], missed: set[str]) -> None:
    import pc

    result = {
        "saturates": saturates,
        "self_test": [{"model": "m", "status": "ok"}],
        "onnx": pc.compare_exact(answers(), answers(**changed)),
        "crops": {"crops": 6, "input_steps": 0, "litert_int8": {"decisions_that_differ": 0}},
        "run": {"cells": [3, 3], "decisions_that_differ": 0},
    }
    bars = pc.bars_of({"x": result})
    assert len(bars) == (6 if saturates else 5)
    found = {name for name, bar in bars.items() if not bar["met"]}
    assert len(found) == len(missed)
    assert all(any(part in name for name in found) for part in missed)
