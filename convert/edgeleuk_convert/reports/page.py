"""How reports of the workstation are written on a page, by the parts in `edgeleuk.io.page`.

Every number on a page is taken from its facts by its key and carries that key in ``data-key`` and how
it was written in ``data-form``, so that a test can hold the page against the JSON beside it.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from edgeleuk.io.page import BODY_RULE, FIGURE_RULE, RESEARCH_RULE, figure, image, whole_page

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Facts = Mapping[str, Any]

NOTHING = "–"  # noqa: RUF001 - an en dash stands for a number that does not exist

STYLE = f"""
{BODY_RULE}
h1{{font-size:1.5rem;line-height:1.25}}
h2{{font-size:1.2rem;margin-top:2.2rem;border-top:1px solid #ddd;padding-top:.8rem}}
{RESEARCH_RULE}
.stamp{{background:#b00020;color:#fff;padding:.8rem 1rem;font-weight:700;overflow-wrap:anywhere}}
.wide{{overflow-x:auto}}table{{border-collapse:collapse;font-variant-numeric:tabular-nums}}
th,td{{text-align:right;padding:.25rem .6rem;border-bottom:1px solid #e4e4e4;white-space:nowrap}}
th:first-child,td:first-child{{text-align:left;white-space:normal}}
tbody th{{font-weight:inherit}}tr.model{{font-weight:700}}
table.text :is(th,td){{text-align:left;white-space:normal}}
small{{color:#666;font-weight:400}}img{{max-width:100%;height:auto}}
.cells{{display:flex;flex-wrap:wrap;gap:.6rem;padding:0}}
{FIGURE_RULE}
""".strip()


def whole(title: str, parts: Iterable[str]) -> str:
    """Return the page of a report in the reports' style; see `whole_page`."""
    return whole_page(title, STYLE, parts)


def gallery_cell(picture: bytes | None, alternative: str, caption: str) -> str:
    """Return a JPEG of a cell with its caption; `alternative` is text, `caption` HTML."""
    shown = image(picture, alternative, "jpeg") if picture else "<p>cannot be read</p>"
    return figure(shown, caption)


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
