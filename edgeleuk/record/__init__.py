"""What a run leaves behind: the session database, and its exports."""

from __future__ import annotations

from edgeleuk.record.export import export_csv
from edgeleuk.record.session import JudgedCell, SessionReader, SessionWriter, create_session, read_session

__all__ = ["JudgedCell", "SessionReader", "SessionWriter", "create_session", "export_csv", "read_session"]
