"""A file is there whole, or as it was before."""

from __future__ import annotations

import resource
import signal
from typing import TYPE_CHECKING

import pytest

from edgeleuk.errors import UsageError
from edgeleuk.io.atomic import replace_file, write_errors_of

if TYPE_CHECKING:
    from pathlib import Path


def test_it_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    for data in (b"one", b"another one"):
        replace_file(file, data)
        assert file.read_bytes() == data
    assert list(tmp_path.iterdir()) == [file]


def test_a_full_disk_leaves_it_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    replace_file(file, b"before")
    limits, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            replace_file(file, bytes(1000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert file.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("folder", ["none", "a file"])
def test_a_folder_that_is_none(folder: str, tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("")
    with pytest.raises(OSError, match=r"No such file|Not a directory"):
        replace_file(tmp_path / folder / "a.json", b"")


def test_why_a_file_cannot_be_written_is_said_in_a_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match=r"^the bundle a cannot be written: got No such file .*; choose b$"),
        write_errors_of("the bundle a", "choose b"),
    ):
        replace_file(tmp_path / "nowhere" / "a", b"")
    assert list(tmp_path.iterdir()) == []
