"""What rules removed of a session, as its chain says; see `edgeleuk.session.rotation`."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import msgspec

from edgeleuk.results.structs import Printed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeleuk.session.file_reader import SessionReader

_MB = 1e6


class RemovedByRule(Printed, frozen=True, kw_only=True):
    """What one rule removed of a session.

    Attributes
    ----------
    rule : str
        As it was asked for.
    last_at : str
        When it did so last, ISO 8601, UTC.
    pictures, bytes : int
        How many pictures, and their size. Their SHA-256 stay in the session.
    files, frames, cells : int
        Files that were removed as a whole, and how many frames and cells were recorded there.
    """

    rule: str
    last_at: str
    pictures: int = 0
    bytes: int = 0
    files: int = 0
    frames: int = 0
    cells: int = 0


def removed_by_rule(reader: SessionReader) -> list[RemovedByRule]:
    """Add up what each rule removed, in the order in which they began."""
    found: dict[str, RemovedByRule] = {}
    for row in reader.rows("removals"):
        what: dict[str, Any] = json.loads(str(row["what"]))
        rule = str(row["rule"])
        at = datetime.fromtimestamp(float(str(row["at"])), timezone.utc).isoformat(timespec="milliseconds")
        before = found.get(rule, RemovedByRule(rule=rule, last_at=at))
        is_file = "session" in what
        found[rule] = msgspec.structs.replace(
            before,
            last_at=max(before.last_at, at),
            pictures=before.pictures + int(what.get("pictures", 0)),
            bytes=before.bytes + int(what.get("bytes", 0)),
            files=before.files + (int(what["files"]) if is_file else 0),
            frames=before.frames + (int(what["frames"]) if is_file else 0),
            cells=before.cells + (int(what["cells"]) if is_file else 0),
        )
    return list(found.values())


def removed_text(removed: Sequence[RemovedByRule]) -> list[str]:
    """Say it, a line for each rule."""
    lines = []
    for one in removed:
        parts = []
        if one.pictures:
            parts.append(f"{one.pictures} pictures of {one.bytes / _MB:.1f} MB")
        if one.files:
            parts.append(f"{one.files} files with {one.frames} frames and {one.cells} cells")
        lines.append(f"removed   {' and '.join(parts)}, by the rule {one.rule}; last at {one.last_at}")
    return lines
