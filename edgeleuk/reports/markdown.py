"""The little Markdown that model cards are written in, as HTML: headings, tables, lists, code, paragraphs."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING

from edgeleuk.io.console import printable
from edgeleuk.io.page import row, table

if TYPE_CHECKING:
    from collections.abc import Iterator

# A card's title and its parts stand below a page's own headings.
_DEEPER = 2
_RULE = re.compile(r"^\|[\s:|-]+\|$")
_CODE = re.compile(r"`([^`]+)`")


def markdown_html(text: str) -> str:
    """Write Markdown as HTML; what is no Markdown of ours stays text.

    Examples
    --------
    >>> print(markdown_html("## Data"))
    <h4>Data</h4>
    >>> print(markdown_html("of `a<b>`"))
    <p>of <code>a&lt;b&gt;</code></p>
    """
    return "\n".join(_html(block) for block in _blocks(text))


def _blocks(text: str) -> Iterator[list[str]]:
    """Yield lines that belong together: of one form, without an empty line between."""
    block: list[str] = []
    for line in [*(printable(one) for one in text.splitlines()), ""]:
        if block and (not line.strip() or _form(line) != _form(block[0])):
            if _form(block[0]) == "list" and line.startswith("  "):
                block[-1] += " " + line.strip()
                continue
            yield block
            block = []
        if line.strip():
            block.append(line)
            if _form(line) == "heading":
                yield block
                block = []


def _form(line: str) -> str:
    if line.startswith("#"):
        return "heading"
    if line.startswith("|"):
        return "table"
    if line.startswith("- "):
        return "list"
    return "code" if line.startswith("    ") else "text"


def _html(block: list[str]) -> str:
    form = _form(block[0])
    if form == "heading":
        marks, _, title = block[0].partition(" ")
        level = min(6, len(marks) + _DEEPER)
        return f"<h{level}>{_inline(title)}</h{level}>"
    if form == "table":
        head, *rows = [_cells(line) for line in block if not _RULE.match(line)]
        return table(head, [row(cells) for cells in rows])
    if form == "list":
        return "<ul>" + "".join(f"<li>{_inline(line[2:])}</li>" for line in block) + "</ul>"
    if form == "code":
        return "<pre>" + escape("\n".join(line[4:] for line in block)) + "</pre>"
    return f"<p>{_inline(' '.join(block))}</p>"


def _cells(line: str) -> list[str]:
    return [_inline(cell.strip()) for cell in line.strip().strip("|").split("|")]


def _inline(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(text, quote=False))
