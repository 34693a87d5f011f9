"""Pictures of cells by what they are called: the most certain of each kind, and the doubtful."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from edgeleuk.io.console import printable
from edgeleuk.io.page import figure, image
from edgeleuk.reports.facts import UNCERTAIN, by_name
from edgeleuk.session.kept_pictures import pictures_text
from edgeleuk.session.pictures import thumbnail_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeleuk.reports.facts import PageCell
    from edgeleuk.session.reader import SessionReader

# Of each kind, and of all together: a page of some megabytes still opens on a phone.
DEFAULT_PICTURES, MOST_PICTURES, MOST_IN_ALL = 40, 500, 2000


def gallery(reader: SessionReader, cells: Sequence[PageCell], pictures: int) -> str:
    """Return the gallery, with at most so many pictures of each kind; nothing where none are wanted."""
    parts = by_name(cells) if pictures else {}
    if not parts:
        return ""
    each = max(2, min(pictures, MOST_IN_ALL // len(parts)))
    shown = sum(min(each, len(of)) for of in parts.values())
    kept = pictures_text(reader.settings) or "the session keeps the cells as they were judged"
    return "\n".join(
        [
            f"<p>{shown:,} of {len(cells):,} cells are shown, at most {each} of each name."
            f" Every picture is reduced to 96 pixels; {escape(kept)}.</p>",
            *(_part(reader, name, of, each) for name, of in parts.items()),
        ]
    )


def _part(reader: SessionReader, name: str, cells: Sequence[PageCell], most: int) -> str:
    title = f"<h3>Called {escape(name)}: {len(cells):,}</h3>"
    if name == UNCERTAIN:
        what = "the least known first"
        return f"{title}\n{_block(reader, cells[:most], _of(len(cells), most, what))}"
    if len(cells) <= most:
        return f"{title}\n{_block(reader, cells, f'all {len(cells):,}, the most certain first')}"
    half = most // 2
    certain, doubtful = cells[: most - half], cells[: -half - 1 : -1]
    return "\n".join(
        [
            title,
            _block(reader, certain, f"the {len(certain)} most certain of {len(cells):,}"),
            _block(reader, doubtful, f"the {len(doubtful)} most doubtful of {len(cells):,}"),
        ]
    )


def _of(cells: int, most: int, what: str) -> str:
    return f"{min(cells, most):,} of {cells:,}, {what}"


def _block(reader: SessionReader, cells: Sequence[PageCell], caption: str) -> str:
    figures = [_figure(cell, thumbnail_of(reader.cell(cell.track))) for cell in cells]
    return f'<p class="note">{escape(caption)}</p>\n<div class="cells">\n' + "\n".join(figures) + "\n</div>"


def _figure(cell: PageCell, thumbnail: object) -> str:
    picture = "<p>no picture</p>"
    if isinstance(thumbnail, bytes):
        picture = image(thumbnail, f"cell {cell.track}, called {cell.name}", "jpeg")
    reason = f"<br>{escape(printable(cell.reason))}" if cell.reason else ""
    return figure(picture, f"cell {cell.track}, {escape(printable(cell.said))}{reason}")
