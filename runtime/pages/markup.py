"""Small pieces of HTML; every string that comes from outside passes through ``text``."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import NamedTuple


class Cell(NamedTuple):
    """A table's cell.

    Attributes:
        content: plain text, escaped by ``table``.
        number: whether it stands to the right, in equal digits.
        mark: name of a class of the style sheet, or empty.
    """

    content: str
    number: bool = False
    mark: str = ""


def text(value: object) -> str:
    """The value as HTML text, safe within an attribute too."""
    return html.escape(str(value), quote=True)


def table(header: Sequence[str], rows: Sequence[Sequence[Cell]], *, row_heads: bool = False) -> str:
    """A table.

    Args:
        header: of each column; ``#`` before it puts it to the right, over numbers.
        rows: of cells.
        row_heads: whether the first cell of a row is its heading.
    """
    heads = "".join(
        f'<th class="number">{text(name[1:])}</th>' if name[:1] == "#" else f"<th>{text(name)}</th>"
        for name in header
    )
    lines = []
    for row in rows:
        cells = []
        for number, cell in enumerate(row):
            name = "th" if row_heads and number == 0 else "td"
            marks = " ".join(filter(None, ("number" if cell.number else "", cell.mark)))
            shown = f' class="{marks}"' if marks else ""
            cells.append(f"<{name}{shown}>{text(cell.content)}</{name}>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    body = "".join(lines)
    return (
        f'<div class="scroll"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def section(name: str, title: str, content: str, note: str = "") -> str:
    """A section with an anchor; empty where it has no content."""
    if not content:
        return ""
    shown = f"<p>{text(note)}</p>" if note else ""
    return f'<section id="{text(name)}"><h2>{text(title)}</h2>{shown}{content}</section>'


def folded(title: str, content: str) -> str:
    """Content that opens on a click; empty where there is none."""
    if not content:
        return ""
    return f"<details><summary>{text(title)}</summary>{content}</details>"


#: Colours: Okabe and Ito (2008), darker for paper and lighter for the dark, in one order.
STYLE = """
:root{color-scheme:light dark;--paper:#f7f7f5;--card:#fff;--ink:#1c2024;--soft:#5c6670;
--line:#e2e4e7;--accent:#0068a8;--warm:#fff4e0;--warm-line:#e69f00;
--c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#b0568b;--c4:#c98500;--c5:#3ba3d8;--c6:#30343a;
--c7:#8a8f00}
@media (prefers-color-scheme:dark){:root{--paper:#14171a;--card:#1c2024;--ink:#e8eaec;
--soft:#a0a8b0;--line:#343a41;--accent:#6cb8e8;--warm:#33290f;--warm-line:#b98200;
--c0:#4da6dd;--c1:#f08040;--c2:#2fc49a;--c3:#d98cb8;--c4:#f0b030;--c5:#8fd0f5;--c6:#c8ccd0;
--c7:#d6d860}}
*{box-sizing:border-box}
html{scroll-behavior:smooth;scroll-padding-top:3.4rem}
body{margin:0;background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif}
header,main,footer{max-width:1320px;margin:0 auto;padding:0 24px}
header{padding-top:28px}
h1{font-size:1.75rem;line-height:1.2;margin:0 0 .3rem;overflow-wrap:anywhere}
h2{font-size:1.25rem;margin:0 0 .5rem}
h3{font-size:.95rem;margin:1.3rem 0 .1rem}
h3 small,figcaption small{font-weight:400;color:var(--soft)}
header p,section>p,figcaption p,h3+p,footer{color:var(--soft);margin:0 0 .7rem}
a{color:var(--accent)}
nav{position:sticky;top:0;z-index:3;background:var(--paper);border-bottom:1px solid var(--line);
margin-top:14px;padding:8px max(24px,calc((100% - 1272px)/2));display:flex;flex-wrap:wrap;
gap:4px 20px}
nav a{text-decoration:none;font-weight:600;font-size:.9rem}
section{padding:26px 0 6px}
footer{padding:26px 24px 40px;font-size:.85rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(185px,1fr));gap:12px}
.tile{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px 16px;
display:flex;flex-direction:column}
.tile b{font-size:1.55rem;line-height:1.25;font-variant-numeric:tabular-nums}
.tile span{font-weight:600}
.tile small{color:var(--soft);overflow-wrap:anywhere}
.alarms{margin-top:14px;background:var(--warm);border-left:4px solid var(--warm-line);
border-radius:6px;padding:10px 16px}
.alarms ul{margin:.2rem 0 0;padding-left:1.2rem}
section>p.calm{margin-top:14px}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(390px,100%),1fr));gap:14px}
.chart{margin:0;background:var(--card);border:1px solid var(--line);border-radius:10px;
padding:12px 14px 8px;display:flex;flex-direction:column;position:relative}
.chart h3{margin:0}
.chart figcaption{flex:1}
.chart figcaption p{font-size:.84rem;line-height:1.35;margin:0 0 .3rem}
.chart>svg{width:100%;height:auto;display:block;touch-action:pan-y}
svg text{font-size:11px;fill:var(--soft);font-variant-numeric:tabular-nums}
svg .grid{stroke:var(--line)}svg .base,svg .tick{stroke:var(--soft)}
svg .whisker{stroke-width:1.2;opacity:.6}
svg polyline{fill:none;stroke-width:1.9;stroke-linejoin:round;stroke-linecap:round}
.legend svg{width:26px;height:10px;margin-right:6px}
.legend svg line{stroke-width:2.4}
.legend{display:flex;flex-wrap:wrap;gap:2px 16px;font-size:.86rem;margin:.1rem 0 .35rem}
.legend span{display:inline-flex;align-items:center}
.legend i{width:12px;height:12px;border-radius:3px;margin-right:6px}
.sticky{position:sticky;top:2.5rem;z-index:2;background:var(--paper);padding:6px 0 4px}
.s0{stroke:var(--c0)}.s1{stroke:var(--c1)}.s2{stroke:var(--c2)}.s3{stroke:var(--c3)}
.s4{stroke:var(--c4)}.s5{stroke:var(--c5)}.s6{stroke:var(--c6)}.s7{stroke:var(--c7)}
.f0{fill:var(--c0)}.f1{fill:var(--c1)}.f2{fill:var(--c2)}.f3{fill:var(--c3)}
.f4{fill:var(--c4)}.f5{fill:var(--c5)}.f6{fill:var(--c6)}.f7{fill:var(--c7)}
.b0{background:var(--c0)}.b1{background:var(--c1)}.b2{background:var(--c2)}
.b3{background:var(--c3)}.b4{background:var(--c4)}.b5{background:var(--c5)}
.b6{background:var(--c6)}.b7{background:var(--c7)}
.cursor{stroke:var(--soft);stroke-dasharray:2 2}
.tip{position:absolute;pointer-events:none;background:var(--card);border:1px solid var(--soft);
border-radius:6px;padding:5px 9px;font-size:.8rem;line-height:1.4;z-index:4;white-space:nowrap;
font-variant-numeric:tabular-nums;box-shadow:0 2px 8px #0003}
.tip i{display:inline-block;width:10px;height:10px;border-radius:3px;margin-right:6px}
.scroll{overflow-x:auto;margin:.3rem 0 .8rem}
table{border-collapse:collapse;font-size:.9rem;background:var(--card)}
th,td{padding:5px 12px;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
thead th{color:var(--soft);font-weight:600;white-space:nowrap}
tbody th{font-weight:600}
.number,.effects td{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
td.best{font-weight:700;color:var(--c2)}
td.best::after{content:" \\2713"}
.heat{background:color-mix(in srgb,var(--c0) calc(var(--v)*55%),transparent)}
.dead{color:var(--c1);font-weight:700}
.effects .dead::after{content:" dead"}
.rate{min-width:230px;position:relative}
.rate i{position:absolute;left:8px;top:5px;bottom:5px;background:var(--c0);opacity:.28;
border-radius:3px;max-width:calc(100% - 16px)}
.rate span{position:relative;padding-left:6px;font-variant-numeric:tabular-nums;font-weight:600}
.bar{display:flex;align-items:center;gap:12px;margin:6px 0}
.bar>span{width:190px;flex:none;text-align:right;overflow-wrap:anywhere;line-height:1.25}
.bar>div{flex:1;display:flex;height:26px}
.bar i{min-width:1px;border-right:1px solid var(--paper)}
.bar>b{width:150px;flex:none;font-variant-numeric:tabular-nums}
.moments{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:10px 14px;
max-width:920px}
.moment{display:flex;align-items:center;gap:14px;margin:4px 0}
.moment>span{width:74px;flex:none;text-align:right;font-variant-numeric:tabular-nums;
font-weight:600;line-height:1.2}
.moment small{display:block;font-weight:400;color:var(--c2)}
.moment a{min-width:0}
img{max-width:100%;height:auto;display:block;border-radius:4px}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(400px,100%),1fr));gap:16px;
align-items:start}
.gallery figure{margin:0}
.gallery figcaption{color:var(--soft);font-size:.86rem;padding-top:4px}
.gallery.wide{grid-template-columns:repeat(auto-fill,minmax(min(520px,100%),1fr))}
.tall a{display:block;max-height:760px;overflow-y:auto;border:1px solid var(--line);
border-radius:6px}
.compared td{min-width:300px;padding:6px}
.compared small{color:var(--soft)}
.compared tbody th{white-space:nowrap}
details{margin:.5rem 0}
summary{cursor:pointer;color:var(--accent);font-weight:600}
pre{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px;
overflow-x:auto;font-size:.82rem}
@media print{nav,.sticky{position:static}.chart,.moment,tr{break-inside:avoid}}
"""

#: Shows a chart's values nearest to the pointer; the page is whole without it.
SCRIPT = """
for(const svg of document.querySelectorAll("svg[data-chart]")){
const lines=JSON.parse(svg.dataset.chart),box=svg.viewBox.baseVal,figure=svg.parentNode;
const xs=[...new Set(lines.flatMap(line=>line.points.map(point=>point[0])))];
const cursor=document.createElementNS("http://www.w3.org/2000/svg","line");
const tip=document.createElement("div");
cursor.setAttribute("class","cursor");cursor.setAttribute("y1",10);
cursor.setAttribute("y2",box.height-34);tip.className="tip";
const hide=()=>{cursor.remove();tip.remove()};
svg.addEventListener("pointerleave",hide);
svg.addEventListener("pointermove",event=>{
const area=svg.getBoundingClientRect(),scale=area.width/box.width;
const at=(event.clientX-area.left)/scale;
const x=xs.reduce((best,own)=>Math.abs(own-at)<Math.abs(best-at)?own:best,xs[0]);
tip.textContent="";
for(const line of lines){
const point=line.points.find(own=>own[0]===x);
if(!point)continue;
if(!tip.firstChild){const head=document.createElement("b");head.textContent=point[2]+" kimg";
tip.append(head)}
const row=document.createElement("div"),dot=document.createElement("i");
dot.className="b"+line.style;row.append(dot,line.label+": "+point[3]);tip.append(row)}
cursor.setAttribute("x1",x);cursor.setAttribute("x2",x);svg.append(cursor);figure.append(tip);
const room=figure.clientWidth-tip.offsetWidth-8;
const place=area.left-figure.getBoundingClientRect().left+x*scale+14;
tip.style.left=Math.max(4,place>room?place-tip.offsetWidth-28:place)+"px";
tip.style.top=area.top-figure.getBoundingClientRect().top+8+"px"});
}
"""
