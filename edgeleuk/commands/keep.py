"""``edgeleuk session keep``: hold the sessions of a folder to a size or an age, the oldest pictures first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeleuk.errors import EdgeleukError, UsageError
from edgeleuk.io.console import printable
from edgeleuk.io.storage_bounds import StorageBounds
from edgeleuk.results.structs import Printed
from edgeleuk.session.file_reader import read_file
from edgeleuk.session.files import open_file
from edgeleuk.session.rotation import Rotation, remove_results, size_on_disk
from edgeleuk.session.schema import explained
from edgeleuk.session.series import series_of, sessions_in

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeleuk.session.series import SeriesFile

_MB = 1e6


class KeptSessions(Printed, frozen=True, kw_only=True):
    """What ``edgeleuk session keep --json`` prints.

    Attributes
    ----------
    place : str
        The folder, or the session.
    sessions, files : int
        That were there.
    removed_files : sequence of str
        Files that were removed as a whole, by ``--keep-results``.
    left : sequence of str
        Why something stayed that a rule would have removed.
    bytes_before, bytes_after : int
        Of all files on the disk.
    """

    schema_version: int = 1
    place: str
    sessions: int
    files: int
    removed_files: tuple[str, ...]
    left: tuple[str, ...]
    bytes_before: int
    bytes_after: int


def keep_sessions(place: Path, keep: str | None, keep_results: str | None) -> KeptSessions:
    """Remove what is older, or more, than is to be kept.

    Parameters
    ----------
    place : Path
        A folder of sessions, or a session.
    keep, keep_results : str or None
        As of ``edgeleuk run``.

    Raises
    ------
    UsageError
        No rule is given, or there is no session.
    SessionError
        A file of a series is missing, or the disk fails.
    """
    try:
        bounds = StorageBounds.of(None, keep, keep_results)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if bounds.keep is None and bounds.keep_results is None:
        raise UsageError("no rule is given", cure="pass --keep, --keep-results or both")
    if not place.exists():
        raise UsageError("there is no such folder or session", got=place)
    found = sessions_in(place) if place.is_dir() else [files for files in [series_of(place)] if files]
    if not found:
        raise UsageError("there is no session", got=place)
    files = sorted((file.path for session in found for file in session), key=_begun)
    before = sum(map(size_on_disk, files))
    left: list[str] = []
    if bounds.keep is not None:
        rotation = Rotation(bounds.keep, whole_files=False, every_s=0.0)
        try:
            while rotation.step(files):
                pass
        finally:
            rotation.close()
        left += rotation.left
    if bounds.keep_results is not None:
        try:
            remove_results(_not_recorded(found, files, left), bounds.keep_results, left)
        except EdgeleukError as error:
            left.append(str(error))
    remaining = [file for file in files if file.exists()]
    return KeptSessions(
        place=str(place),
        sessions=len(found),
        files=len(files),
        removed_files=tuple(file.name for file in files if file not in remaining),
        left=tuple(left),
        bytes_before=before,
        bytes_after=sum(map(size_on_disk, remaining)),
    )


def _not_recorded(
    found: Sequence[Sequence[SeriesFile]], files: Sequence[Path], left: list[str]
) -> list[Path]:
    """Return the files of sessions that no run goes on with now: a run looks back into its earlier files."""
    free: set[Path] = set()
    for session in found:
        try:
            open_file(session[-1].path).close()
        except EdgeleukError as error:
            left.append(str(error))
        else:
            free |= {file.path for file in session}
    return [file for file in files if file in free]


def _begun(file: Path) -> tuple[float, str]:
    """Return when a file's first frame was taken, and its name."""
    with read_file(file) as part, explained(file):
        (at,) = part.connection.execute("SELECT MIN(captured_at) FROM frames").fetchone()
    return (0.0 if at is None else float(at)), file.name


def kept_text(found: KeptSessions) -> str:
    """Say what was done."""
    lines = [
        f"place     {found.place}, {found.sessions} sessions in {found.files} files",
        f"size      {found.bytes_before / _MB:.1f} MB before, {found.bytes_after / _MB:.1f} MB now",
    ]
    if found.removed_files:
        lines.append(f"removed   {len(found.removed_files)} files: {', '.join(found.removed_files)}")
    lines += [f"left      {why}" for why in found.left]
    return "\n".join(map(printable, lines))
