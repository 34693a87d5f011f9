"""The parts of a page: text is escaped, HTML is not, and what is empty leaves no line."""

from __future__ import annotations

import base64

import pytest

from edgeleuk.io.page import (
    BODY_RULE,
    described,
    figure,
    heading,
    image,
    research,
    row,
    section,
    stamped,
    table,
    whole_page,
)

TEXT, ESCAPED = "<b>&", "&lt;b&gt;&amp;"


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (research(TEXT), f'<p class="research">{ESCAPED}</p>'),
        (heading("<i>a</i>", TEXT), f'<h1><i>a</i></h1>\n<p class="research">{ESCAPED}</p>'),
        (stamped(TEXT), f'<p class="stamp">{ESCAPED}</p>'),
        (stamped(None), ""),
        (section(TEXT, "<p>1</p>", ""), f"<h2>{ESCAPED}</h2>\n<p>1</p>"),
        (row(["1", "<i>2</i>"], css="model"),
         '<tr class="model"><th scope="row">1</th><td><i>2</i></td></tr>'),
        (row(["", "2"]), "<tr><td></td><td>2</td></tr>"),
        (described({"<i>a</i>": "b"}), "<dl><div><dt><i>a</i></dt><dd>b</dd></div></dl>"),
        (section("a", "<p>1</p>", css="page"), '<h2 class="page">a</h2>\n<p>1</p>'),
        (figure("<img>", "a<br>b"), "<figure><img><figcaption>a<br>b</figcaption></figure>"),
        (table(["", "n"], ["<tr></tr>"]),
         '<div class="wide" tabindex="0"><table><thead><tr><td></td><th scope="col">n</th></tr></thead>\n'
         "<tbody><tr></tr>\n</tbody></table></div>"),
        (table(["n"], [], caption=TEXT, css="text"),
         f'<div class="wide" tabindex="0"><table class="text"><caption>{ESCAPED}</caption><thead><tr>'
         '<th scope="col">n</th></tr></thead>\n<tbody>\n</tbody></table></div>'),
    ],
)  # fmt: skip
def test_what_the_parts_are(made: str, expected: str) -> None:
    assert made == expected


def test_a_picture_is_part_of_the_page() -> None:
    made = image(b"\xff\xd8", TEXT, "jpeg")
    data = base64.b64encode(b"\xff\xd8").decode()
    assert made == f'<img alt="{ESCAPED}" src="data:image/jpeg;base64,{data}">'


def test_a_page_needs_nothing_else() -> None:
    page = whole_page(TEXT, BODY_RULE, ["<p>1</p>", "", "<p>2</p>"])
    assert f"<title>edgeleuk: {ESCAPED}</title>" in page
    assert page.endswith("<body>\n<main>\n<p>1</p>\n<p>2</p>\n</main>\n</body>\n</html>\n")
    assert not any(word in page for word in ("<script", "<link", "http"))
