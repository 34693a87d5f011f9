"""Writing a bundle: the same inputs give the same bytes."""

from __future__ import annotations

import hashlib
import io
import zipfile
from typing import TYPE_CHECKING

import msgspec

from edgeleuk.bundle.manifest import MANIFEST, Manifest, Member
from edgeleuk.io.atomic import replace_file, require_replaceable, write_errors_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# The earliest time that a zip can hold: a bundle does not say when it was made.
EPOCH = (1980, 1, 1, 0, 0, 0)


def describe_members(members: Mapping[str, bytes]) -> dict[str, Member]:
    """Hash and measure members for the manifest, sorted by name."""
    return {
        name: Member(sha256=hashlib.sha256(members[name]).hexdigest(), size_bytes=len(members[name]))
        for name in sorted(members)
    }


def bundle_bytes(manifest: Manifest, members: Mapping[str, bytes]) -> bytes:
    """Return the file: stored members, fixed times, sorted names."""
    everything = dict(members)
    everything[MANIFEST] = msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=1)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(everything):
            info = zipfile.ZipInfo(name, EPOCH)
            info.external_attr = 0o644 << 16
            archive.writestr(info, everything[name])
    return buffer.getvalue()


def write_bundle(path: Path, manifest: Manifest, members: Mapping[str, bytes]) -> None:
    """Write the bundle beside `path`, then rename it: there is never half a bundle.

    Raises
    ------
    UsageError
        It cannot be written, or what is there is no bundle; that is left as it was.
    """
    require_bundle_place(path)
    with write_errors_of(f"the bundle {path}"):
        replace_file(path, bundle_bytes(manifest, members))


def require_bundle_place(path: Path) -> None:
    """Refuse to write over what is no bundle; see `edgeleuk.io.atomic.require_replaceable`.

    Raises
    ------
    UsageError
    """
    require_replaceable(path, _is_bundle)


def _is_bundle(path: Path) -> bool:
    """Whether a file is a bundle, be it of another version."""
    try:
        with zipfile.ZipFile(path) as archive:
            return MANIFEST in archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return False
