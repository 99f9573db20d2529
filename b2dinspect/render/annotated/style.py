"""The style sheet of annotated bytes, on top of that of reports."""

from __future__ import annotations

PAGE = """
.annotated {
  display: grid; grid-template-columns: max-content minmax(18rem, 1fr); gap: 1rem; align-items: start;
}
.annotated .scroll { max-height: 34rem; overflow: auto; }
.annotated .bytes { margin: 0; }
.bytes i { font-style: normal; color: var(--dim); }
.bytes b.free { border-bottom-color: transparent; }
.fields table { font-size: .85em; }
.fields th[scope="rowgroup"] { padding-top: .6rem; color: var(--ink); }
.fields code { border-bottom: 2px solid; white-space: nowrap; }
body:has(.annotated) { max-width: 88rem; }
.fields code.free { border-bottom-color: transparent; color: var(--dim); }
.scripted [data-run] { cursor: pointer; }
.bytes b.lit, .fields tr.lit td { background: #ffd54f; color: #1b1f24; }
.fields tr.lit td code { color: #1b1f24; }
.bytes b.found { outline: 2px solid var(--bad); }
.finder { margin: .5rem 0; }
.finder input { font: inherit; color: var(--ink); background: var(--soft); border: 1px solid var(--dim); }
html:not(.scripted) .finder { display: none; }
@media screen and (max-width: 62rem) { .annotated { grid-template-columns: minmax(0, 1fr); } }
@media print { .finder { display: none; } .annotated .scroll { max-height: none; } }
"""
