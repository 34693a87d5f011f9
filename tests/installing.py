"""Bundles for the tests of a switch: short, so that every byte of every moment can be looked at."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from edgeleuk.updates.place import Content, InstalledVersion, Place, State

if TYPE_CHECKING:
    from pathlib import Path

OLDER, OLD, NEW = ((name * 300).encode() for name in ("older", "old", "new"))
SIGNATURE = b"signature of "


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def version(data: bytes, state: State = "pending") -> InstalledVersion:
    return InstalledVersion(
        sha256=sha256(data),
        bundle="lab",
        series="lab",
        sequence=len(data),
        key_id="A1",
        installed_at="2026-01-01T00:00:00+00:00",
        state=state,
    )


def installed(file: Path, data: bytes, state: State = "pending") -> None:
    place = Place(file)
    with place.alone():
        place.install(version(data, state), Content(data, SIGNATURE + data))


def whole(file: Path) -> bytes:
    """Return the bundle that a name leads to, which is a whole one with its own signature."""
    # As a reader does: bundle and signature of one moment.
    real = file.resolve()
    data = real.read_bytes()
    assert data in {OLDER, OLD, NEW}, f"{len(data)} bytes of a bundle"
    assert real.with_name(f"{real.name}.minisig").read_bytes() == SIGNATURE + data
    return data
