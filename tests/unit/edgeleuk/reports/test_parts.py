"""The parts of a page: pictures, and the Markdown of a card."""

from __future__ import annotations

import re

import pytest

from edgeleuk.reports.charts import MOST_POINTS, WIDTH, SharedBar, interval_bars, over_time
from edgeleuk.reports.markdown import markdown_html


def numbers(pattern: str, drawn: str) -> list[float]:
    return [float(one) for one in re.findall(pattern, drawn)]


def test_bars_are_as_long_as_their_shares() -> None:
    drawn = interval_bars(
        [SharedBar("a <b>", 0.4, 0.3, 0.5), SharedBar("c", 0.1, 0.05, 0.2, (0.2, 0.1, 0.3))], "T & t"
    )
    long, short = numbers(r'<rect class="bar" [^>]*width="([\d.]+)"', drawn)
    assert long == pytest.approx(4 * short, abs=0.3)
    assert 'aria-label="T &amp; t"' in drawn
    assert "a &lt;b&gt;" in drawn
    assert drawn.count('class="whisker second"') == drawn.count('class="second"') == 1
    assert max(numbers(r'x[12]?="([\d.]+)"', drawn)) <= WIDTH


@pytest.mark.parametrize("high", [0.004, 0.2, 0.51, 1.0])
def test_no_interval_leaves_the_picture(high: float) -> None:
    drawn = interval_bars([SharedBar("a", high / 2, 0.0, high)], "t")
    ends = numbers(r"H([\d.]+)", drawn)
    assert max(ends) <= max(numbers(r'<line class="grid" x1="([\d.]+)"', drawn))


def test_many_points_become_few_and_none_is_lost_from_the_band() -> None:
    points = [(1e9 + n, 1.0 + (n == 777)) for n in range(5000)]
    drawn = over_time(points, "t", marks=[1e9 + 10, 1e9 + 10, 1e9 + 4000])
    line = re.search(r'<polyline class="line" points="([^"]+)"', drawn)
    assert len(line[1].split()) <= MOST_POINTS
    band = re.search(r'<polygon class="band" points="([^"]+)"', drawn)
    heights = {float(point.split(",")[1]) for point in band[1].split()}
    assert len(heights) == 2
    assert drawn.count('class="mark"') == 2
    assert "83 min" in drawn


@pytest.mark.parametrize(("seconds", "says"), [(34, "34 s"), (600, "10 min"), (9000, "2.5 h")])
def test_how_long_it_took(seconds: int, says: str) -> None:
    assert f">{says}</text>" in over_time([(0.0, 1.0), (float(seconds), 2.0)], "t")


def test_values_that_are_all_nought() -> None:
    assert "NaN" not in over_time([(0.0, 0.0), (1.0, 0.0)], "t")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("# A <b>\n", "<h3>A &lt;b&gt;</h3>"),
        ("## A\ntext\nmore", "<h4>A</h4>\n<p>text more</p>"),
        ("- a\n  goes on\n- b", "<ul><li>a goes on</li><li>b</li></ul>"),
        ("    code <x>\n    more", "<pre>code &lt;x&gt;\nmore</pre>"),
        ("a `b` c", "<p>a <code>b</code> c</p>"),
        ("", ""),
    ],
)
def test_markdown(text: str, says: str) -> None:
    assert markdown_html(text) == says


def test_a_table_of_markdown() -> None:
    made = markdown_html("| m | v |\n|---|---|\n| a | 1 |")
    assert '<th scope="col">m</th><th scope="col">v</th>' in made
    assert '<tr><th scope="row">a</th><td>1</td></tr>' in made
    assert "---" not in made
