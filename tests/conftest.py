"""What all tests share: where the real images are, and what a missing folder means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


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
