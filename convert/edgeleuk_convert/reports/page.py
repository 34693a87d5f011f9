"""The parts that a report's page is put together from: no script, no link, readable on a phone.

Every number on a page is taken from its facts by its key and carries that key in ``data-key`` and how
it was written in ``data-form``, so that a test can hold the page against the JSON beside it.
"""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Facts = Mapping[str, Any]

NOTHING = "–"  # noqa: RUF001 - an en dash stands for a number that does not exist

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:1rem;color:#1a1a1a}
h1{font-size:1.5rem;line-height:1.25}
h2{font-size:1.2rem;margin-top:2.2rem;border-top:1px solid #ddd;padding-top:.8rem}
.research{border-left:.3rem solid #888;padding-left:.7rem}
.stamp{background:#b00020;color:#fff;padding:.8rem 1rem;font-weight:700;overflow-wrap:anywhere}
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:.25rem .6rem;border-bottom:1px solid #e4e4e4;white-space:nowrap}
th:first-child,td:first-child{text-align:left;white-space:normal}tr.model{font-weight:700}
small{color:#666;font-weight:400}img{max-width:100%;height:auto}
.cells{display:flex;flex-wrap:wrap;gap:.6rem;padding:0}
figure{margin:0;width:8rem;font-size:.75rem;overflow-wrap:anywhere}
""".strip()

PAGE = """<!DOCTYPE html>
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


def whole(title: str, parts: Iterable[str]) -> str:
    """Return the page; `title` is text, `parts` are HTML, the empty ones left out."""
    return PAGE.format(title=escape(title), style=STYLE, body="\n".join(part for part in parts if part))


def written(value: float | None, form: str) -> str:
    """Write a number: `form` is a format, ``pt`` for a difference in points, or ``pt2`` with two decimals."""
    if value is None:
        return NOTHING
    return f"{100 * value:+.{form[2:] or 1}f}" if form.startswith("pt") else format(value, form)


def look_up(facts: Facts, key: str) -> Any:
    """Follow a dotted key through mappings and lists."""
    value: Any = facts
    for part in key.split("."):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


class Show:
    """Writes numbers of the facts with the key they came from."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts

    def __call__(self, key: str, form: str = ".3f") -> str:
        """Write one number, see `written`."""
        text = written(look_up(self.facts, key), form)
        return f'<span data-key="{escape(key)}" data-form="{escape(form)}">{escape(text)}</span>'

    def interval(self, key: str, form: str = ".3f") -> str:
        """Write the two numbers of a list."""
        return f"{self(f'{key}.0', form)} to {self(f'{key}.1', form)}"


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
