"""What all tests share: where the real images are, and what a missing folder means."""

from __future__ import annotations

import os
import signal
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from longest import put_longest_first

if TYPE_CHECKING:
    from collections.abc import Iterator

# No test looks at a clock.
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")

# A shell may start background jobs deaf to these; the programs that the tests start are not to inherit that.
with suppress(ValueError):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# The programs that the tests start, hundreds of them, compile a module once and not each time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

ROOT = Path(__file__).resolve().parents[1]
SUBJECTS = 9  # of each class
CELLS = 12  # of each subject


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Alone, fast tests come first; where processes share them, the longest files do."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        put_longest_first(items)


@pytest.fixture(scope="session", autouse=True)
def _cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what commands measure out of the user's cache, in one folder for all processes of the tests."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared / "cache"))
        yield


@pytest.fixture(scope="session")
def edgeleuk_data() -> Path:
    """Folder of real images (``EDGELEUK_DATA``, by default ``../shared/data``).

    Absent, its tests are skipped with the reason, except in CI, where they fail.
    """
    folder = Path(os.environ.get("EDGELEUK_DATA", ROOT.parent / "shared" / "data"))
    if folder.is_dir():
        return folder.resolve()
    message = f"no real images at {folder}: set EDGELEUK_DATA to the folder that holds cnmc/ and fields_bccd/"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def few_cells(edgeleuk_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of links to some cells of some subjects, in C-NMC's layout."""
    folder = tmp_path_factory.mktemp("cnmc")
    taken: Counter[tuple[str, str]] = Counter()
    for label in ("all", "hem"):
        for file in sorted((edgeleuk_data / "cnmc").glob(f"fold_*/{label}/*.webp")):
            subject = (label, file.name.split("_")[1])
            full = sum(key[0] == label for key in taken) >= SUBJECTS
            if taken[subject] >= CELLS or (full and subject not in taken):
                continue
            taken[subject] += 1
            link = folder / file.relative_to(edgeleuk_data / "cnmc")
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file)
    return folder
