from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "emulated_pi"


def test_what_is_missing_is_named_with_its_cure(tmp_path: Path) -> None:
    """On a machine without the tools nothing is begun."""
    done = subprocess.run(
        [sys.executable, str(FOLDER / "emulate.py")],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 5, done.stderr
    assert "apt-get install" in done.stderr or "sudo" in done.stderr
    assert "Traceback" not in done.stderr


def test_each_board_shows_its_processor() -> None:
    sys.path.insert(0, str(FOLDER))
    try:
        from boards import BOARDS, CORES
    finally:
        sys.path.remove(str(FOLDER))
    for board in BOARDS:
        assert board.cpuinfo.count(f"CPU part\t: {board.part}\n") == CORES
    # The dot product is what parts them.
    assert [("asimddp" in board.features.split()) for board in BOARDS] == [False, True]
