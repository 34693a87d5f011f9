"""What a run leaves behind: the session database, and its exports."""

from __future__ import annotations

from edgeleuk.session.export import export_csv
from edgeleuk.session.open import create_session, resume_session
from edgeleuk.session.reader import SessionReader, read_session
from edgeleuk.session.records import JudgedCell
from edgeleuk.session.writer import SessionWriter

__all__ = [
    "JudgedCell",
    "SessionReader",
    "SessionWriter",
    "create_session",
    "export_csv",
    "read_session",
    "resume_session",
]
