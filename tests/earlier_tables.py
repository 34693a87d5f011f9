"""The tables of sessions of earlier schemas: those of today without what later ones added."""

from __future__ import annotations

from edgeleuk.session.schema import INDEXES, REMOVALS, REVIEWS, SCHEMA

_KINDS = ",\n    kind TEXT,\n    kind_probability REAL\n)"
_KINDS_OF_VIEWS = (
    "    kind TEXT,\n    kind_probability REAL,\n    agreed_kind TEXT,\n    agreed_kind_probability REAL,\n"
)
_WITHOUT_INDEXES = SCHEMA.replace(INDEXES, "").replace(REMOVALS, "")
# Since a session may go on in another file, a view may be of a cell that stands in an earlier one.
_WITHOUT_SERIES = _WITHOUT_INDEXES.replace(
    "CREATE TABLE views (\n    track INTEGER NOT NULL,",
    "CREATE TABLE views (\n    track INTEGER NOT NULL REFERENCES cells (track),",
)
_SIXTH = _WITHOUT_SERIES.replace(
    "    truth TEXT,\n    crop BLOB", "    truth TEXT,\n    thumbnail BLOB,\n    crop BLOB"
).replace(" picture BLOB NOT NULL", " jpeg BLOB NOT NULL")
_FIFTH = _SIXTH.replace(f"{REVIEWS};", "").replace(",\n    contours BLOB\n)", "\n)")
# The fourth has the tables of the third.
_FOURTH = _FIFTH.replace(_KINDS, "\n)").replace(_KINDS_OF_VIEWS, "").replace("'other', ", "")
TABLES_OF = {6: _SIXTH, 5: _FIFTH, 4: _FOURTH, 3: _FOURTH}
