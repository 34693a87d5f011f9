from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from edgeleuk.io.plugins import CAMERAS, PluginError, find_plugin, installed_plugins, load_plugin

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose schemes are odd; none of its modules is there."""
    info = tmp_path / "odd-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n")
    points = "[edgeleuk.cameras]\nUpper = odd:f\nfine+1 = odd:f\nhttp = odd:f\n"
    (info / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_odd_schemes_are_named_and_the_rest_is_used(package: Path) -> None:
    found = {
        each.scheme: each for each in installed_plugins(CAMERAS, ("http",)) if each.packages == ("odd 1.0",)
    }
    assert found["fine+1"].error is None
    assert "odd 1.0 adds a scheme that no address can have: got 'Upper'" in str(found["Upper"].error)
    assert "http:// is built in" in str(found["http"].error)
    with pytest.raises(PluginError, match="is built in"):
        load_plugin(found["http"])
    with pytest.raises(PluginError, match="ModuleNotFoundError: No module named 'odd'"):
        load_plugin(found["fine+1"])


def test_a_scheme_that_nobody_adds(package: Path) -> None:
    assert find_plugin(CAMERAS, "none", ()) is None


def test_entry_points_are_not_read_for_what_is_built_in() -> None:
    code = (
        "import sys\n"
        "from edgeleuk.capture import open_source\n"
        "next(iter(open_source('virtual://?seed=1&frames=1').frames()))\n"
        "print('importlib.metadata' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
