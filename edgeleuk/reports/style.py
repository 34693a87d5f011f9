"""How the device's pages look: on a screen in light and dark, and on A4."""

from __future__ import annotations

from edgeleuk.version import RESEARCH_USE

# Colours that people of every kind of colour vision tell apart, after Okabe and Ito; each darkened or
# lightened until its contrast is 4.5 : 1 or more where text has it.
_LIGHT = (
    "--ink:#1a1a1a;--ground:#fff;--soft:#555;--line:#bbb;--panel:#f3f3f3;--bar:#7fb8d8;--mark:#0b4f75;"
    "--second:#8a3d00;--warn:#8a1c00"
)
_DARK = (
    "--ink:#f0f0f0;--ground:#161616;--soft:#bdbdbd;--line:#555;--panel:#242424;--bar:#2f6f93;--mark:#9bd3f5;"
    "--second:#ffb866;--warn:#ffb199"
)
STYLE = f"""
:root{{color-scheme:light dark;{_LIGHT}}}
@media (prefers-color-scheme:dark){{:root{{{_DARK}}}}}
body{{font:16px/1.45 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:1rem;color:var(--ink);
background:var(--ground)}}
h1{{font-size:1.5rem;line-height:1.2;margin:.2rem 0;overflow-wrap:anywhere}}
h2{{font-size:1.25rem;margin:2rem 0 .5rem;border-bottom:2px solid var(--line)}}
h3{{font-size:1.05rem;margin:1.2rem 0 .3rem}}h4{{font-size:1rem;margin:1rem 0 .2rem}}p{{margin:.4rem 0}}
.research{{border-left:.3rem solid var(--line);padding-left:.7rem;margin:.5rem 0}}
.stamp{{display:inline-block;border:2px solid var(--warn);color:var(--warn);font-weight:700;padding:0 .5rem;
margin:.2rem .4rem .2rem 0}}
.note{{color:var(--soft);font-size:.875rem}}
dl{{display:grid;gap:.1rem 1rem;margin:.5rem 0}}
dl div{{display:grid;grid-template-columns:12rem minmax(0,1fr);gap:1rem}}dt{{overflow-wrap:anywhere}}
dl.two{{grid-template-columns:repeat(auto-fit,minmax(min(24rem,100%),1fr))}}
dl.two div{{grid-template-columns:7rem minmax(0,1fr)}}
@media (max-width:40rem){{dl div,dl.two div{{grid-template-columns:6rem minmax(0,1fr)}}}}
.pair{{display:flex;flex-wrap:wrap;gap:0 1.5rem;align-items:flex-start}}.pair>*{{min-width:0;max-width:100%}}
.words{{flex:1 1 18rem}}
dt{{color:var(--soft)}}dd{{margin:0;overflow-wrap:anywhere}}
.wide{{overflow-x:auto}}table{{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:.3rem 0}}
caption{{text-align:left;color:var(--soft);font-size:.875rem;padding-bottom:.2rem}}
th,td{{text-align:right;padding:.15rem .7rem .15rem 0;border-bottom:1px solid var(--line);vertical-align:top}}
th:first-child,td:first-child{{text-align:left}}
table.text :is(th,td){{text-align:left;overflow-wrap:anywhere}}
table.text :is(th,td){{min-width:7rem}}th[scope=col]{{overflow-wrap:normal}}tbody th{{font-weight:inherit}}
.chart{{display:block;max-width:100%;min-width:26rem;height:auto;font-size:13px;margin:.3rem 0}}
.chart text{{fill:var(--ink)}}.chart .grid{{stroke:var(--line)}}.chart .bar{{fill:var(--bar)}}
.chart .whisker{{stroke:var(--mark);stroke-width:2;fill:none}}
.chart .whisker.second{{stroke:var(--second);stroke-dasharray:5 3}}
.chart circle.second{{fill:var(--ground);stroke:var(--second);stroke-width:2}}
.chart .band{{fill:var(--bar);opacity:.5}}.chart .line{{fill:none;stroke:var(--mark);stroke-width:1.5}}
.chart .mark{{stroke:var(--second);stroke-width:2}}
.slide{{max-width:100%;height:auto;display:block}}
.cells{{display:flex;flex-wrap:wrap;gap:.5rem}}
figure{{margin:0;width:7.5rem;font-size:.75rem;overflow-wrap:anywhere}}
figure.whole{{width:auto;font-size:.875rem}}
.cells img{{width:6rem;height:6rem;object-fit:contain;background:#eee;display:block}}
pre{{white-space:pre-wrap;overflow-wrap:anywhere;font-size:.85rem;background:var(--panel);padding:.5rem}}
:is(code,li,p){{overflow-wrap:anywhere}}
@page{{size:A4;margin:14mm 14mm 18mm;
@bottom-left{{content:"{RESEARCH_USE}";font:8pt system-ui,sans-serif;color:#333}}
@bottom-right{{content:counter(page) " / " counter(pages);font:8pt system-ui,sans-serif;color:#333}}}}
@media print{{:root{{color-scheme:light;{_LIGHT}}}
body{{font-size:9pt;line-height:1.3;max-width:none;padding:0;margin:0}}
h1{{font-size:15pt}}h2{{font-size:12.5pt;margin:1rem 0 .3rem}}h3{{font-size:10.5pt;margin:.6rem 0 .2rem}}
h2,h3,h4,caption,.note:has(+.cells){{break-after:avoid}}
dl{{gap:.05rem 4mm}}dl.two{{grid-template-columns:1fr 1fr}}
dl div{{grid-template-columns:40mm minmax(0,1fr);gap:2mm}}
dl.two div{{grid-template-columns:28mm minmax(0,1fr)}}
tr,figure,svg,.keep{{break-inside:avoid}}.page{{break-before:page}}
.wide{{overflow:visible}}th,td{{padding-top:.05rem;padding-bottom:.05rem}}p{{margin:.25rem 0}}
.chart{{max-width:150mm;min-width:0}}.pair .chart{{max-width:78mm}}
pre{{font-size:7.5pt}}table{{font-size:8.5pt}}.slide{{max-height:120mm}}
.note,caption{{font-size:8pt}}figure{{width:21mm;font-size:6.5pt}}.cells{{gap:2mm}}
.cells img{{width:19mm;height:19mm}}.bar,.band,.cells img{{print-color-adjust:exact}}}}
""".strip()
