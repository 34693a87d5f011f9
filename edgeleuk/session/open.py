"""Beginning a session, and going on with one: one writer at a time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeleuk.errors import SessionError, UsageError
from edgeleuk.io.clock import LEAST_JUMP_S, behind_text, go_on_from
from edgeleuk.io.storage_bounds import UNBOUNDED, StorageBounds
from edgeleuk.io.uris import public_uri
from edgeleuk.session.files import OpenFile, begin_file, open_file, remove_file, require_new
from edgeleuk.session.kept_pictures import goes_on_text
from edgeleuk.session.reader import read_session
from edgeleuk.session.rotation import remove_results
from edgeleuk.session.schema import CONTINUED, explained
from edgeleuk.session.series import files_of
from edgeleuk.session.series_writer import SeriesWriter
from edgeleuk.session.writer import DEFAULT_GUARD, DiskGuard, SessionWriter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeleuk.session.reader import SessionReader

# What a cell is called must not depend on which part of a run saw it.
SAME_SETTINGS = ("camera", "simulated", "bundle_sha256", "runtime", "precision", "px_per_um", "abstain")


def create_session(
    path: Path,
    settings: Mapping[str, object],
    *,
    guard: DiskGuard = DEFAULT_GUARD,
    bounds: StorageBounds = UNBOUNDED,
) -> SessionWriter:
    """Begin a session in a new file.

    Parameters
    ----------
    path : Path
        Must not exist: a session is never overwritten.
    settings : mapping
        What the run is started with; the values go into JSON.
    guard : DiskGuard
    bounds : StorageBounds
        When the session goes on in another file, and what is kept of it.

    Raises
    ------
    UsageError
        `path` exists, or lies in a folder that is missing or may not be written.
    SessionError
        The disk is full.
    """
    path = Path(path)
    require_no_folder(path)
    require_new(path, "choose another name with --session, or move the old file away")
    file = begin_file(path, settings)
    # Who of these fails leaves no file behind.
    try:
        with explained(path):
            go_on_from(0.0)
            return _writer(file, settings, guard, bounds, [path])
    except BaseException:
        file.close()
        remove_file(path)
        raise


def begun(path: Path) -> bool:
    """Whether there is a session to go on with: its file, or another of its series."""
    return any(file.exists() for file in files_of(path))


def session_to_write(path: Path, *, resume: bool) -> Path:
    """Return the file that a run is to write; of a folder only where it goes on with the series there.

    Raises
    ------
    UsageError
    """
    found = files_of(path)[0] if resume and path.is_dir() else path
    require_no_folder(found)
    return found


def require_no_folder(path: Path) -> None:
    """Refuse a folder where a session is to be recorded.

    Raises
    ------
    UsageError
    """
    if path.is_dir():
        raise UsageError(
            "a session is a file", got=f"the folder {path}", cure="name a file in it with --session"
        )


def resume_session(
    path: Path,
    settings: Mapping[str, object],
    *,
    guard: DiskGuard = DEFAULT_GUARD,
    bounds: StorageBounds = UNBOUNDED,
) -> SessionWriter:
    """Go on with a session that was ended or cut off; begin it where there is none.

    Parameters
    ----------
    path : Path
    settings : mapping
        What the run is started with. Those in `SAME_SETTINGS` must be the ones that are recorded.
    guard : DiskGuard
    bounds : StorageBounds
        As of `create_session`.

    Raises
    ------
    UsageError
        The settings differ, or as in `create_session`.
    SessionError
        Another run writes it, it is of another schema or no session, or its hash chain is broken.
    """
    path = Path(path)
    if not begun(path):
        return create_session(path, settings, guard=guard, bounds=bounds)
    with read_session(path) as reader:
        files = reader.files
        _require_same(path, reader, settings)
        goes_on = goes_on_text(reader.settings, settings)
        broken = reader.verify().broken
    if broken is not None:
        raise SessionError(
            f"{path} is not as it was recorded and cannot be continued",
            got=broken,
            cure="start a new session",
        )
    stays: list[str] = []
    if bounds.keep_results is not None:
        files = tuple(remove_results(files, bounds.keep_results, stays))
    file = open_file(files[-1], settings)
    try:
        with explained(file.path):
            writer = _writer(file, settings, guard, bounds, files)
    except BaseException:
        file.close()
        raise
    # The wall clock may stand before what is recorded, as a Raspberry Pi's does after its start.
    behind_s = go_on_from(writer.last_at() or 0.0)
    writer.record_event("resumed", goes_on)
    for why in stays:
        writer.record_event("disk", why)
    if behind_s >= LEAST_JUMP_S:
        writer.record_event("clock", behind_text(behind_s))
    return writer


def _writer(
    file: OpenFile,
    settings: Mapping[str, object],
    guard: DiskGuard,
    bounds: StorageBounds,
    files: Sequence[Path],
) -> SessionWriter:
    """Return who writes a session: one that knows of several files where there are, or may come to be."""
    if bounds == UNBOUNDED and len(files) == 1:
        return SessionWriter(*file, settings, guard=guard)
    return SeriesWriter(file, settings, guard, bounds, files)


def _require_same(path: Path, reader: SessionReader, settings: Mapping[str, object]) -> None:
    """Refuse to go on with other settings than those that are recorded."""
    if reader.schema not in CONTINUED:
        raise SessionError(
            f"{path} was recorded by an earlier edgeleuk and cannot be continued",
            got=f"schema {reader.schema}",
            allowed=" or ".join(map(str, CONTINUED)),
            cure="start a new session",
        )
    for key in SAME_SETTINGS:
        before, now = reader.settings.get(key), settings.get(key)
        if key == "camera" and isinstance(before, str):
            # Earlier versions hid less of an address.
            before = public_uri(before)
        # Sessions of earlier versions do not say whether they are simulated.
        if before != now and (key != "simulated" or before is not None):
            raise UsageError(
                f"{path} was recorded with another {key}",
                got=now,
                allowed=before,
                cure="pass the same, or start a new session",
            )
