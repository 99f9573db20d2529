"""The style sheet of reports: light and dark, on a phone and on paper."""

from __future__ import annotations

PAGE = """
:root {
  color-scheme: light dark;
  --ink: #1b1f24; --paper: #fff; --soft: #f1f3f5; --line: #c9ced4; --dim: #57606a;
  --bad: #b3261e; --odd: #8a5300; --good: #1a6b3c;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --ink: #e6e9ed; --paper: #14171a; --soft: #1f2429; --line: #3d444d; --dim: #a4adb7;
    --bad: #ff8a80; --odd: #f2b45c; --good: #6fd49a;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1rem; max-width: 72rem;
  color: var(--ink); background: var(--paper); font: 16px/1.5 system-ui, sans-serif;
}
h1 { font-size: 1.5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin-top: 2rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; }
code, .bytes { font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .85em; }
table { border-collapse: collapse; width: 100%; }
th, td {
  text-align: left; vertical-align: top; padding: .25rem .6rem .25rem 0;
  border-bottom: 1px solid var(--line); overflow-wrap: anywhere;
}
th { color: var(--dim); font-weight: 600; overflow-wrap: normal; }
.scroll { overflow-x: auto; }
.verdict { padding: .8rem 1rem; background: var(--soft); border-left: .3rem solid var(--good); }
.verdict.error { border-color: var(--bad); }
.verdict.warning { border-color: var(--odd); }
strong.error, span.error, span.BROKEN { color: var(--bad); font-weight: 600; }
strong.warning, span.warning, span.odd { color: var(--odd); font-weight: 600; }
span.ok { color: var(--good); font-weight: 600; }
span.unseen, span.info, .dim { color: var(--dim); }
svg { width: 100%; min-width: 40rem; height: auto; }
details { margin: .5rem 0; }
summary { cursor: pointer; font-weight: 600; }
.bytes { white-space: pre; line-height: 1.45; margin: .5rem 0; }
.bytes b { font-weight: 400; border-bottom: 2px solid; }
.bytes b.x { color: var(--bad); font-weight: 700; }
.c0 { border-color: #0e7490 !important; }
.c1 { border-color: #2e7d32 !important; }
.c2 { border-color: #b26a00 !important; }
.c3 { border-color: #8e24aa !important; }
.c4 { border-color: #5c6bc0 !important; }
.c5 { border-color: #00838f !important; }
.c6 { border-color: #558b2f !important; }
.c7 { border-color: #d81b60 !important; }
@media print {
  body { font-size: 10pt; max-width: none; }
  h2 { break-after: avoid; }
  tr { break-inside: avoid; }
}
@media screen and (max-width: 40rem) {
  th, td { display: block; border: 0; padding: 0; }
  tr { display: block; padding: .4rem 0; border-bottom: 1px solid var(--line); }
  thead { display: none; }
}
"""
