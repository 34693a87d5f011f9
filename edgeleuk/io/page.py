"""The parts that a report's page is put together from: no script, no link, readable on a phone.

What is called HTML below is taken as it is; what is called text is escaped here.
"""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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
<main>
{body}
</main>
</body>
</html>
"""


def whole_page(title: str, style: str, parts: Iterable[str]) -> str:
    """Return the page; `title` is text, `style` CSS, `parts` are HTML, the empty ones left out.

    Examples
    --------
    >>> whole_page("a < b", BODY_RULE, ["<p>1</p>", "", "<p>2</p>"]).splitlines()[-6:-2]
    ['<main>', '<p>1</p>', '<p>2</p>', '</main>']
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


def section(title: str, *parts: str, css: str = "") -> str:
    """Return a heading and what stands below it; `title` is text, `parts` are HTML, `css` a class."""
    return "\n".join([f"<h2{_class(css)}>{escape(title)}</h2>", *(part for part in parts if part)])


def table(head: Iterable[str], rows: Iterable[str], *, caption: str = "", css: str = "") -> str:
    """Return a table that scrolls by itself, with the keyboard too; `head` and `rows` are HTML.

    Parameters
    ----------
    head, rows : iterable of str
        A column without a name has no heading.
    caption : str
        Text above it.
    css : str
        A class.
    """
    cells = "".join(f'<th scope="col">{name}</th>' if name else "<td></td>" for name in head)
    above = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="wide" tabindex="0"><table{_class(css)}>{above}'
        f"<thead><tr>{cells}</tr></thead>\n<tbody>" + "\n".join(rows) + "\n</tbody></table></div>"
    )


def row(cells: Iterable[str], *, css: str = "") -> str:
    """Return a row of a table, the first cell of which names it; `cells` are HTML."""
    first, *others = cells
    named = f'<th scope="row">{first}</th>' if first else "<td></td>"
    return f"<tr{_class(css)}>{named}" + "".join(f"<td>{cell}</td>" for cell in others) + "</tr>"


def described(lines: Mapping[str, str], *, css: str = "") -> str:
    """Return names with what is said of each, both HTML; `css` is a class."""
    pairs = (f"<div><dt>{name}</dt><dd>{text}</dd></div>" for name, text in lines.items())
    return f"<dl{_class(css)}>{''.join(pairs)}</dl>"


def image(content: bytes, alternative: str, kind: str = "png") -> str:
    """Return a picture that is part of the page; `alternative` is text."""
    data = base64.b64encode(content).decode()
    return f'<img alt="{escape(alternative)}" src="data:image/{kind};base64,{data}">'


def _class(css: str) -> str:
    return f' class="{css}"' if css else ""
