"""The command line, run within the test's own process, so that a test can put faults into it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from outcome import Outcome

from edgeleuk.cli.app import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def edgeleuk(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Outcome]:
    """Run the command line in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*words: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["edgeleuk", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code or 0)
        return Outcome(code, *capfd.readouterr())

    return call
