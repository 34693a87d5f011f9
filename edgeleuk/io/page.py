"""The parts that a report's page is put together from: no script, no link, readable on a phone.

What is called HTML below is taken as it is; what is called text is escaped here.
"""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# Rules that the pages have in common; each page adds what is its own.
BODY_RULE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:1rem;color:#1a1a1a}"
)
RESEARCH_RULE = ".research{border-left:.3rem solid #888;padding-left:.7rem}"
FIGURE_RULE = "figure{margin:0;width:8rem;font-size:.75rem;overflow-wrap:anywhere}"
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>edgeleuk: {title}</title>
<style>
{style}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def whole_page(title: str, style: str, parts: Iterable[str]) -> str:
    """Return the page; `title` is text, `style` CSS, `parts` are HTML, the empty ones left out.

    Examples
    --------
    >>> whole_page("a < b", BODY_RULE, ["<p>1</p>", "", "<p>2</p>"]).splitlines()[-5:-2]
    ['<body>', '<p>1</p>', '<p>2</p>']
    >>> "<title>edgeleuk: a &lt; b</title>" in whole_page("a < b", BODY_RULE, [])
    True
    """
    return _PAGE.format(title=escape(title), style=style, body="\n".join(part for part in parts if part))


def heading(title: str, notice: str) -> str:
    """Return the page's title, which is HTML, and the notice below it, which is text."""
    return f"<h1>{title}</h1>\n{research(notice)}"


def research(notice: str) -> str:
    """Return a notice on what the page may be used for; `notice` is text."""
    return f'<p class="research">{escape(notice)}</p>'


def stamped(stamp: str | None) -> str:
    """Return a warning across the page, or nothing; `stamp` is text."""
    return f'<p class="stamp">{escape(stamp)}</p>' if stamp else ""


def figure(picture: str, caption: str) -> str:
    """Return a picture with its caption; both are HTML."""
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def section(title: str, *parts: str) -> str:
    """Return a heading and what stands below it; `title` is text, `parts` are HTML."""
    return "\n".join([f"<h2>{escape(title)}</h2>", *(part for part in parts if part)])


def table(head: Iterable[str], rows: Iterable[str]) -> str:
    """Return a table that scrolls by itself; `head` and `rows` are HTML."""
    cells = "".join(f"<th>{name}</th>" for name in head)
    return f'<div class="wide"><table><tr>{cells}</tr>\n' + "\n".join(rows) + "\n</table></div>"


def row(cells: Iterable[str], *, css: str = "") -> str:
    """Return a row of a table; `cells` are HTML."""
    return f"<tr{css and f' class={css!r}'}>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def image(content: bytes, alternative: str, kind: str = "png") -> str:
    """Return a picture that is part of the page; `alternative` is text."""
    data = base64.b64encode(content).decode()
    return f'<img alt="{escape(alternative)}" src="data:image/{kind};base64,{data}">'
