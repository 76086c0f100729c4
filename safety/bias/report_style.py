"""How a report looks: one style sheet for light and dark, screen and paper."""

from __future__ import annotations

STYLE = """
:root{--text:#1c1d1f;--soft:#5c6066;--page:#fff;--line:#d5d8dc;--accent:#1f5fbf;--warn:#9a4a00}
@media(prefers-color-scheme:dark){:root{--text:#e8e9eb;--soft:#a4a9b0;--page:#16181b;--line:#3a3e44;--accent:#7db0ff;
--warn:#ffb066}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--text);font:15px/1.5 system-ui,sans-serif}
main{max-width:92rem;margin:0 auto;padding:1.5rem 1rem 4rem}
h1,h2,h3{line-height:1.25;margin:2rem 0 .5rem}h1{margin-top:0}
.lead,small,dt{color:var(--soft)}.warn{color:var(--warn);font-weight:600}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}
th,td{border-top:1px solid var(--line);padding:.5rem .6rem;text-align:left;vertical-align:top;font-weight:400}
tbody th{min-width:9.5rem}
thead th{color:var(--soft);white-space:nowrap}
th ul{margin:.2rem 0 0;padding-left:1.1rem;color:var(--warn);font-size:.85em}
.bar{display:flex;gap:.6rem;align-items:center;justify-content:space-between;white-space:nowrap}
svg .axis{stroke:var(--line);stroke-width:1}svg .tick{stroke:var(--soft);stroke-width:1.5}
svg .span{stroke:var(--accent);stroke-width:4;opacity:.55}svg .dot{fill:var(--accent)}
.sheet{display:flex;flex-wrap:wrap;gap:3px;min-width:9rem}
.sheet img{width:64px;height:64px;object-fit:cover;border-radius:3px}
dl{display:grid;grid-template-columns:minmax(8rem,16rem) 1fr;gap:.3rem 1rem}dd{margin:0;overflow-wrap:anywhere}
code{font:.92em ui-monospace,monospace;overflow-wrap:anywhere}
.sign span{display:inline-block;min-width:12rem;border-bottom:1px solid var(--text)}
@media(max-width:40rem){dl{grid-template-columns:1fr}}
@media print{details{display:block}.wide{overflow:visible}}
"""
