"""A place where bundles are installed: versions side by side, and one link that says which of them is used.

::

    lab.edgeleuk          -> .lab.edgeleuk.versions/current/bundle.edgeleuk
    lab.edgeleuk.minisig  -> .lab.edgeleuk.versions/current/bundle.edgeleuk.minisig
    .lab.edgeleuk.versions/
        current           -> SHA256
        SHA256/           bundle.edgeleuk, bundle.edgeleuk.minisig
        note.json         what is known of each version

Bundle and signature change by one rename, that of ``current``. Whatever ends the program or the power, the
bundle's name leads to one whole version with its own signature.
"""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from edgeleuk.errors import IntegrityError, UsageError
from edgeleuk.io.alone import alone_in
from edgeleuk.io.atomic import write_errors_of
from edgeleuk.io.durable import replace_durably, sync_folder
from edgeleuk.results.structs import Printed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

SCHEMA_VERSION = 1
_BUNDLE, _SIGNATURE = "bundle.edgeleuk", "bundle.edgeleuk.minisig"
_CURRENT, _NOTE = "current", "note.json"
# What is being made, or taken away, until it bears its name.
_UNNAMED = ".edgeleuk-"
_ANOTHER = "choose another --to"
_MOST_NOTED = 1000

State = Literal["pending", "good", "returned"]


class InstalledVersion(Printed, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One bundle that was installed at a place.

    Attributes
    ----------
    sha256 : str
    bundle : str
        The name of its manifest.
    series : str or None
        What it is a version of; None of one that was there before.
    sequence : int or None
        Of its signature; None of one that was there before, without a signature.
    key_id : str or None
        Of the key that signed it.
    installed_at : str
        ISO 8601, UTC, by this machine's clock; nothing is decided by it.
    state : str
        ``pending`` until a run has gone well, then ``good``; ``returned`` where it was left for the one
        before it.
    starts : int
        Of runs with a pending one that ended without a word.
    """

    sha256: str
    bundle: str
    series: str | None
    sequence: int | None
    key_id: str | None
    installed_at: str
    state: State = "pending"
    starts: int = 0


class Note(Printed, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known of a place.

    Attributes
    ----------
    highest : int or None
        The highest sequence that was ever installed here: nothing below it is taken again.
    versions : tuple of InstalledVersion
        The newest last; those whose files are gone stay noted.
    """

    format: Literal["edgeleuk installed bundle"] = "edgeleuk installed bundle"
    schema_version: int = SCHEMA_VERSION
    highest: int | None = None
    versions: tuple[InstalledVersion, ...] = ()

    def of(self, sha256: str | None) -> InstalledVersion | None:
        """Return what is known of a version; None where nothing is."""
        return next((one for one in self.versions if one.sha256 == sha256), None)

    def with_version(self, version: InstalledVersion, *, last: bool = False) -> Note:
        """Return the note with a version in place of what was known of it, or behind all others."""
        if last or self.of(version.sha256) is None:
            others = tuple(one for one in self.versions if one.sha256 != version.sha256)
            versions = (*others[-_MOST_NOTED:], version)
        else:
            versions = tuple(version if one.sha256 == version.sha256 else one for one in self.versions)
        known = [number for number in (self.highest, version.sequence) if number is not None]
        return msgspec.structs.replace(self, versions=versions, highest=max(known, default=None))


class Content(NamedTuple):
    """A bundle's bytes, and its signature's; None of one that has none."""

    data: bytes
    signature: bytes | None


class Place:
    """A bundle's file that is, or becomes, a link to one of several versions.

    Methods that change it are called within `alone`.

    Parameters
    ----------
    file : Path
        As people name it.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.folder = file.with_name(f".{file.name}.versions")

    @property
    def current(self) -> str | None:
        """The sha256 of the version in use, as its link says; None where nothing is installed."""
        try:
            return str((self.folder / _CURRENT).readlink())
        except OSError:
            return None

    @property
    def is_installed(self) -> bool:
        """Whether the file leads to a version that was installed here."""
        return self._leads_here(self.file, _BUNDLE) and self.current is not None

    def alone(self) -> AbstractContextManager[None]:
        """Let no other program change the place meanwhile; its folder is made where it is not there yet.

        Raises
        ------
        UsageError
            It cannot be written, or another program holds it.
        """
        with write_errors_of(self.file, _ANOTHER):
            if not self.folder.is_dir():
                self.file.parent.mkdir(parents=True, exist_ok=True)
                self.folder.mkdir(exist_ok=True)
                sync_folder(self.file.parent)
        return alone_in(self.folder, self.file, _ANOTHER)

    def note(self) -> Note:
        """Read what is known of the place.

        Raises
        ------
        IntegrityError
            It is damaged, or of a newer edgeleuk.
        """
        path = self.folder / _NOTE
        try:
            return msgspec.json.decode(path.read_bytes(), type=Note)
        except FileNotFoundError:
            return Note()
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise IntegrityError(
                f"{path} is damaged, or was written by a newer edgeleuk",
                got=error,
                cure=f"remove the folder {self.folder} and the link {self.file}, and pull the bundle again",
            ) from error

    def way_back(self, note: Note) -> InstalledVersion | None:
        """Return the version that would take the place of the one in use; None where there is none.

        It is the newest that a run has confirmed, else the newest that was not left.
        """
        current = self.current
        there = [
            one
            for one in reversed(note.versions)
            if one.state != "returned" and one.sha256 != current and self._path(one.sha256).is_file()
        ]
        return next((one for one in there if one.state == "good"), there[0] if there else None)

    def keep(self, note: Note) -> None:
        """Write what is known.

        Raises
        ------
        UsageError
            It cannot be written.
        """
        with write_errors_of(self.file, _ANOTHER):
            replace_durably(self.folder / _NOTE, msgspec.json.format(msgspec.json.encode(note), indent=1))

    def adopt(self, version: InstalledVersion, content: Content) -> None:
        """Make a version of the plain file that was there before, which is used until another is.

        Raises
        ------
        UsageError
            It cannot be written.
        """
        with write_errors_of(self.file, _ANOTHER):
            self._put(version.sha256, content)
            self.keep(self.note().with_version(version))
            self._lead(self.folder / _CURRENT, version.sha256)
            self._lead_here()

    def install(self, version: InstalledVersion, content: Content) -> None:
        """Put a version beside the others, then use it; the one before it is kept.

        Raises
        ------
        UsageError
            It cannot be written; what was used before still is.
        IntegrityError
            See `note`.
        """
        with write_errors_of(self.file, _ANOTHER):
            self._clear()
            self._put(version.sha256, content)
            # Noted first: what is used is always known, and a lower sequence is refused from here on.
            self.keep(self.note().with_version(version, last=True))
            self._lead(self.folder / _CURRENT, version.sha256)
            self._lead_here()
            self._forget()

    def go_back(self) -> InstalledVersion | None:
        """Use the version before again, and remember that the one in use was left.

        Returns
        -------
        InstalledVersion or None
            What is used now; None where there is nothing to go back to, and nothing was changed.

        Raises
        ------
        UsageError
            It cannot be written.
        IntegrityError
            See `note`.
        """
        note = self.note()
        left, back = note.of(self.current), self.way_back(note)
        if left is None or back is None:
            return None
        # Noted first: a start in between sees that it has to go back, and does.
        self.keep(note.with_version(msgspec.structs.replace(left, state="returned")))
        with write_errors_of(self.file, _ANOTHER):
            self._lead(self.folder / _CURRENT, back.sha256)
        return back

    def _path(self, sha256: str) -> Path:
        return self.folder / sha256 / _BUNDLE

    def _put(self, sha256: str, content: Content) -> None:
        """Write a version's folder whole, under its name at the end."""
        target = self.folder / sha256
        if sha256 == self.current:
            return
        part = self._unnamed()
        part.mkdir()
        for name, data in ((_BUNDLE, content.data), (_SIGNATURE, content.signature)):
            if data is not None:
                with (part / name).open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
        sync_folder(part)
        if target.exists():
            # Of a pull that was cut off, or that was returned from.
            self._remove(target)
        part.rename(target)
        sync_folder(self.folder)

    def _lead(self, link: Path, to: str) -> None:
        """Let a link lead elsewhere, in one step, and return when the disk has it."""
        part = self._unnamed()
        part.symlink_to(to)
        try:
            part.replace(link)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
        sync_folder(link.parent)

    def _lead_here(self) -> None:
        """Let the names that people use lead to the current version: the signature's first."""
        for name, path in self._names():
            if not self._leads_here(path, name):
                self._lead(path, f"{self.folder.name}/{_CURRENT}/{name}")

    def _names(self) -> Iterator[tuple[str, Path]]:
        yield _SIGNATURE, self.file.with_name(f"{self.file.name}.minisig")
        yield _BUNDLE, self.file

    def _leads_here(self, path: Path, name: str) -> bool:
        try:
            return str(path.readlink()) == f"{self.folder.name}/{_CURRENT}/{name}"
        except OSError:
            return False

    def _forget(self) -> None:
        """Remove the files of versions that are neither used nor the way back."""
        back, current = self.way_back(self.note()), self.current
        kept = {current} if back is None else {current, back.sha256}
        for path in self.folder.iterdir():
            if path.is_dir() and not path.is_symlink() and path.name not in kept:
                self._remove(path)

    def _clear(self) -> None:
        """Remove what a program that was cut off has left."""
        for path in self.folder.glob(f"{_UNNAMED}*.part"):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def _remove(self, path: Path) -> None:
        """Take a folder away: its name first, so that nothing half removed bears it."""
        gone = self._unnamed()
        path.rename(gone)
        shutil.rmtree(gone)

    def _unnamed(self) -> Path:
        return self.folder / f"{_UNNAMED}{secrets.token_hex(8)}.part"


def place_of(file: Path) -> Place | None:
    """Return the place that a bundle's file belongs to; None of a file that nobody installed."""
    place = Place(file)
    return place if place.is_installed else None


def require_installed(file: Path) -> Place:
    """Return the place that a bundle's file belongs to.

    Raises
    ------
    UsageError
        Nothing was installed there.
    """
    place = place_of(file)
    if place is None:
        raise UsageError(
            f"{file} was not installed by `edgeleuk bundle pull`", cure="name what was given to --to"
        )
    return place
