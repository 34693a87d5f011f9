"""Opening what holds labels: a file of them, or a session whose cells people labelled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeleuk.labels.file import open_labels
from edgeleuk.labels.sessions import session_labels
from edgeleuk.session.verify import is_database

if TYPE_CHECKING:
    from pathlib import Path

    from edgeleuk.labels.file import LabelFile
    from edgeleuk.labels.sessions import SessionLabels

    Labels = LabelFile | SessionLabels


def open_any_labels(path: Path) -> Labels:
    """Open a file of labels, or read them from a session.

    Raises
    ------
    UsageError, LabelsError
        See `open_labels`.
    EdgeleukError
        See `session_labels`.
    """
    return session_labels(path) if is_database(path) else open_labels(path)
