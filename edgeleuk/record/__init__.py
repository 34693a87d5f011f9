"""What a run leaves behind: the session database, and its exports."""

from __future__ import annotations

from edgeleuk.record.export import export_csv
from edgeleuk.record.opening import create_session, resume_session
from edgeleuk.record.reading import SessionReader, read_session
from edgeleuk.record.session import JudgedCell, SessionWriter

__all__ = [
    "JudgedCell",
    "SessionReader",
    "SessionWriter",
    "create_session",
    "export_csv",
    "read_session",
    "resume_session",
]
