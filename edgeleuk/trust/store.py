"""The keys that a person has pinned: one small file each, as minisign writes public keys.

They lie in the user's folder of settings; what lies in `SYSTEM` holds for every user of the machine. Where
there is one key, only bundles that it signed run. A file that cannot be read ends that: an attacker who
damages it must not switch the check off.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import NamedTuple

from edgeleuk.errors import EdgeleukError, SignatureError, UsageError
from edgeleuk.io.atomic import write_errors_of
from edgeleuk.io.durable import replace_durably, sync_folder
from edgeleuk.io.user_folders import user_folder
from edgeleuk.trust.minisign import MOST_BYTES, PublicKey, read_public_key

SYSTEM = Path("/etc/edgeleuk/trusted-keys")
_FOLDER, _SUFFIX = "trusted-keys", ".pub"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# More are no keys of people.
_MOST_KEYS = 1000


class PinnedKey(NamedTuple):
    """A key in the store.

    Attributes
    ----------
    name : str
    path : Path
        Its file.
    key : PublicKey
    """

    name: str
    path: Path
    key: PublicKey


class BrokenKey(NamedTuple):
    """A file in the store that holds no key."""

    name: str
    path: Path
    error: EdgeleukError


def trust_folder() -> Path:
    """Return the user's folder of pinned keys, which need not be there.

    Raises
    ------
    UsageError
        The user's home is not known.
    """
    return user_folder("XDG_CONFIG_HOME", "trusted keys", "set XDG_CONFIG_HOME") / _FOLDER


def pinned_keys() -> tuple[PinnedKey, ...]:
    """Return every pinned key, by name; none where nobody has pinned one.

    Raises
    ------
    SignatureError
        A file of the store is broken, or cannot be read.
    """
    keys: list[PinnedKey] = []
    for found in look_at_keys():
        if isinstance(found, BrokenKey):
            raise SignatureError(
                f"the pinned key {found.path} is broken, so that no bundle can be trusted",
                got=found.error.got or found.error.what,
                cure=f"pin it again, or remove it with `edgeleuk bundle trust --remove {found.name}`",
            ) from found.error
        keys.append(found)
    return tuple(keys)


def look_at_keys() -> list[PinnedKey | BrokenKey]:
    """Return what lies in the store, by name, be it a key or not.

    Raises
    ------
    SignatureError
        A folder of it cannot be read.
    """
    found: list[PinnedKey | BrokenKey] = []
    for folder in (trust_folder(), SYSTEM):
        try:
            paths = sorted(path for path in folder.iterdir() if path.suffix == _SUFFIX)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise SignatureError(
                f"the trusted keys in {folder} cannot be read, so that no bundle can be trusted",
                got=error.strerror,
            ) from error
        if len(paths) > _MOST_KEYS:
            raise SignatureError(
                f"{folder} is no store of keys", got=f"{len(paths)} files", allowed=_MOST_KEYS
            )
        found += [_looked_at(path) for path in paths]
    return found


def pin(key: PublicKey, name: str) -> PinnedKey:
    """Put a key into the user's store; the same key under the same name changes nothing.

    Raises
    ------
    UsageError
        The name is taken or no name, or the store cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            "a key's name is a short word",
            got=repr(name[:80]),
            allowed="up to 64 letters, digits, points, hyphens and underscores",
            cure="pass --name",
        )
    for found in look_at_keys():
        if isinstance(found, PinnedKey) and found.key == key:
            return found
        if found.name == name and not isinstance(found, BrokenKey):
            raise UsageError(
                f"another key is pinned as {name}", got=found.key.id_text, cure="pass another --name"
            )
    folder = trust_folder()
    path = folder / f"{name}{_SUFFIX}"
    with write_errors_of(path):
        folder.mkdir(parents=True, exist_ok=True)
        # A key that a power cut takes away would let every bundle run again.
        replace_durably(path, key.file_text.encode())
        sync_folder(folder.parent)
    return PinnedKey(name, path, key)


def unpin(name: str) -> Path:
    """Take a key, or a broken one, out of the store by its name or its identifier.

    Returns
    -------
    Path
        The file that was removed.

    Raises
    ------
    UsageError
        There is none of that name, or it cannot be removed.
    """
    found = look_at_keys()
    for one in found:
        if name in (one.name, None if isinstance(one, BrokenKey) else one.key.id_text):
            with write_errors_of(one.path, "ask whoever looks after the machine"):
                one.path.unlink()
                sync_folder(one.path.parent)
            return one.path
    names = ", ".join(one.name for one in found)
    raise UsageError("there is no such pinned key", got=name, allowed=names or "none is there")


def small_text(path: Path, what: str) -> str:
    """Read a file of a key or of a signature.

    Raises
    ------
    UsageError
        It is not there, or cannot be read.
    SignatureError
        It is too long, or no text.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            # A pipe may never begin.
            raise UsageError(f"the {what} {path} cannot be read", got="no plain file")
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"the {what} {path} cannot be read", got=error.strerror) from error
    return text_of(data, str(path))


def text_of(data: bytes, name: str) -> str:
    """Decode what a file of a key or of a signature holds.

    Raises
    ------
    SignatureError
        It is too long, or no text.
    """
    try:
        if len(data) <= MOST_BYTES:
            return data.decode()
        raise SignatureError(f"{name} is too long for a key or a signature")
    except UnicodeDecodeError as error:
        raise SignatureError(f"{name} is damaged", got="bytes that are no text") from error


def _looked_at(path: Path) -> PinnedKey | BrokenKey:
    try:
        return PinnedKey(path.stem, path, read_public_key(small_text(path, "pinned key"), str(path)))
    except (UsageError, SignatureError) as error:
        return BrokenKey(path.stem, path, error)
