"""Reading a bundle: every member is hashed before anything is believed."""

from __future__ import annotations

import contextlib
import hashlib
import io
import stat
import struct
import zipfile
import zlib
from pathlib import Path

import msgspec

from edgeleuk.bundle.checking import require_plausible
from edgeleuk.bundle.contents import Bundle
from edgeleuk.bundle.manifest import (
    FEATURES,
    FOREST,
    KIND,
    MANIFEST,
    READABLE_VERSIONS,
    REQUIRED_MEMBERS,
    Manifest,
)
from edgeleuk.bundle.numbers import cause_of, decode_json
from edgeleuk.errors import BundleError, UsageError
from edgeleuk.io.user_folders import user_folder

DEFAULT = "default"
SUFFIX = ".edgeleuk"
DEFAULT_PATH = Path(__file__).resolve().parents[1] / "models" / "default.edgeleuk"
# A bundle is read into memory; nothing of ours comes near this.
LARGEST_BYTES = 1 << 30
# Ours have 13, of which none is unknown.
MOST_MEMBERS = 100


def read_bundle(path: Path | str) -> Bundle:
    """Read and check a bundle.

    Parameters
    ----------
    path : Path or str
        A file, ``default`` for the bundle that is shipped, or the name of one that is installed.

    Raises
    ------
    UsageError
        There is no such file.
    BundleError
        It is truncated, altered, incomplete, or of a schema that this version does not know.
    """
    path = bundle_path(path)
    return decode_bundle(bundle_bytes(path), path)


def bundle_path(named: Path | str) -> Path:
    """Return the file that is meant: as named, the shipped one, or what `bundle pull` installed by a name."""
    if str(named) == DEFAULT:
        return DEFAULT_PATH
    path = Path(named)
    if path.name == str(named) and not path.suffix and not path.exists():
        with contextlib.suppress(UsageError):
            installed = installed_path(path.name)
            if installed.exists():
                return installed
    return path


def installed_path(name: str) -> Path:
    """Return where `bundle pull` installs a bundle by a name.

    Raises
    ------
    UsageError
        The user's home is not known.
    """
    folder = user_folder("XDG_DATA_HOME", "bundles", "pass --to FILE.edgeleuk")
    return folder / "bundles" / f"{name}{SUFFIX}"


def bundle_bytes(path: Path) -> bytes:
    """Read a file whole that may be a bundle.

    Raises
    ------
    UsageError
        There is no such file, or it cannot be read.
    BundleError
        It is too large.
    """
    try:
        status = path.stat()
        if status.st_size > LARGEST_BYTES:
            raise BundleError(f"{path.name} is too large for a bundle", allowed=f"{LARGEST_BYTES} bytes")
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            # A device never ends, and a pipe may never begin.
            raise UsageError("a bundle is a file", got=f"{path}, which is a device or a pipe")
        return path.read_bytes()
    except FileNotFoundError:
        raise UsageError(
            "there is no such bundle",
            got=path,
            cure="pass a .edgeleuk file, or `default` for the shipped one",
        ) from None
    except IsADirectoryError:
        raise UsageError("a bundle is a file", got=f"the folder {path}") from None
    except OSError as error:
        raise UsageError(f"the bundle {path} cannot be read", got=error.strerror) from error


def decode_bundle(data: bytes, path: Path) -> Bundle:
    """Check a bundle's bytes; `path` only names them.

    Raises
    ------
    BundleError
        As `read_bundle`.
    """
    members = _members(data, path)
    manifest = decode_manifest(members.pop(MANIFEST), path)
    _check_members(manifest, members, path)
    require_plausible(manifest, members, path.name)
    return Bundle(path, hashlib.sha256(data).hexdigest(), manifest, members)


def decode_manifest(data: bytes, path: Path) -> Manifest:
    """Decode ``manifest.json``; the schema version is looked at first, since all else hangs on it."""
    what = f"the manifest of {path.name}"
    version = decode_json(data, _Version, what).schema_version
    if version not in READABLE_VERSIONS:
        raise BundleError(
            f"{path.name} has another schema version",
            got=version,
            allowed=" or ".join(map(str, READABLE_VERSIONS)),
            cure="update edgeleuk" if version > max(READABLE_VERSIONS) else "convert the network again",
        )
    return decode_json(data, Manifest, what)


class _Version(msgspec.Struct):
    schema_version: int


def _members(data: bytes, path: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            _require_members(infos, len(data), path)
            members = {info.filename: archive.read(info) for info in infos}
    # RuntimeError: an encrypted member. OSError, OverflowError and struct.error: a damaged directory.
    except (
        zipfile.BadZipFile,
        EOFError,
        ValueError,
        RuntimeError,
        OSError,
        OverflowError,
        MemoryError,
        struct.error,
        zlib.error,
    ) as error:
        raise BundleError(
            f"{path.name} is no bundle, or a truncated one",
            got=cause_of(error),
            cure="copy or convert it again",
        ) from error
    if len(members) < len(infos):
        raise BundleError(f"{path.name} is no bundle", got="two members of one name")
    if MANIFEST not in members:
        raise BundleError(f"{path.name} is no bundle", got=f"no {MANIFEST} in it")
    return members


def _require_members(infos: list[zipfile.ZipInfo], size: int, path: Path) -> None:
    """Refuse, before anything is unpacked, an archive that nobody here wrote."""
    got: str | None = None
    if len(infos) > MOST_MEMBERS:
        got = f"{len(infos)} members"
    elif infos and min(info.header_offset for info in infos) > 0:
        # The end of a truncated bundle may be that of an archive within it.
        raise BundleError(
            f"{path.name} is no bundle, or a truncated one",
            got="bytes before its first member",
            cure="copy or convert it again",
        )
    # Our members are stored, not deflated: what is larger than the file, or packed, is another's.
    elif any(info.compress_type for info in infos) or sum(info.file_size for info in infos) > size:
        got = "compressed members"
    if got is not None:
        raise BundleError(f"{path.name} is no bundle", got=got)


def _check_members(manifest: Manifest, members: dict[str, bytes], path: Path) -> None:
    cure = "the file is damaged or was altered: copy or convert it again"
    wanted = set(REQUIRED_MEMBERS) | set(manifest.members)
    if manifest.gate is not None and manifest.gate.features is not None:
        wanted.add(FEATURES)
    if manifest.output.forest_weight:
        wanted.add(FOREST)
    if manifest.kind is not None:
        wanted.add(KIND)
    if missing := sorted(wanted - set(members)):
        raise BundleError(f"{path.name} lacks {', '.join(missing)}", cure=cure)
    if unknown := sorted(set(members) - set(manifest.members)):
        raise BundleError(
            f"{path.name} holds what its manifest does not name", got=", ".join(unknown), cure=cure
        )
    for name, entry in sorted(manifest.members.items()):
        found = hashlib.sha256(members[name]).hexdigest()
        if found != entry.sha256:
            raise BundleError(
                f"{name} in {path.name} has the wrong hash",
                got=found[:16],
                allowed=entry.sha256[:16],
                cure=cure,
            )
