"""The style sheet of the replay, on top of that of reports: three columns, one on a phone; paper too."""

from __future__ import annotations

from b2dinspect.render import style
from b2dinspect.render.annotated import style as annotated

OURS = """
html:lang(zh-Hans) body {
  font-family: system-ui, "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", sans-serif;
}
html[lang="en"] span[lang="zh-Hans"], html[lang="zh-Hans"] span[lang="en"] { display: none; }
main { max-width: 72rem; margin: 0 auto; }
.top { display: flex; flex-wrap: wrap; justify-content: space-between; align-items: baseline; gap: 0 1rem; }
.languages, .controls { margin: .3rem 0; }
button {
  font: inherit; color: var(--ink); background: var(--soft); border: 1px solid var(--dim);
  border-radius: .3rem; padding: .15rem .6rem; cursor: pointer;
}
button span { margin-left: .3rem; }
button[aria-pressed="true"] { background: var(--ink); color: var(--paper); }
.controls small { margin-left: .6rem; }
.marks { display: flex; flex-wrap: wrap; gap: .25rem; list-style: none; padding: 0; margin: .5rem 0; }
.marks a {
  display: block; min-width: 1.9rem; text-align: center; text-decoration: none; color: var(--ink);
  border: 1px solid var(--dim); border-radius: .3rem; padding: .1rem .2rem;
}
.marks a.host { border-bottom: 3px solid #0e7490; }
.marks a.guest { border-bottom: 3px solid #8e24aa; }
.marks a.skipped { color: var(--dim); border-style: dotted; }
.marks a.failed { color: var(--bad); border-color: var(--bad); font-weight: 700; }
.marks a[aria-current] { background: var(--ink); color: var(--paper); }
a:focus-visible, button:focus-visible, summary:focus-visible {
  outline: 3px solid #0e7490; outline-offset: 2px;
}
.scene { margin: 1rem 0 2rem; outline: none; scroll-margin-top: 1rem; }
.scene > h2 > a { color: inherit; text-decoration: none; }
.scene.failed > h2 { color: var(--bad); border-color: var(--bad); }
.stage { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1.4fr) minmax(0, 1fr); gap: .8rem; }
.side { background: var(--soft); border-radius: .4rem; padding: .5rem .7rem; min-height: 4rem; }
.side h3 { margin: 0 0 .3rem; color: var(--dim); font-size: .9rem; }
.scene.host .side.host, .scene.guest .side.guest { box-shadow: inset 0 0 0 2px var(--dim); }
.scene.failed .side:has(.failed) { box-shadow: inset 0 0 0 3px var(--bad); }
.command { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0 0 .5rem; font-size: .85em; }
.command::before { content: "$ "; color: var(--dim); }
.side dl {
  display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .1rem .5rem; margin: 0;
  font-size: .9em;
}
.side dt { color: var(--dim); }
.side dd { margin: 0; overflow-wrap: anywhere; }
.past { list-style: none; padding: 0; margin: 0; color: var(--dim); font-size: .85em; }
.past li { margin: .15rem 0 .15rem 1.2rem; text-indent: -1.2rem; }
.past li::before { content: "\\2713\\00a0"; }
.past .skipped::before { content: "\\2013\\00a0"; }
.past .failed::before { content: "\\2717\\00a0"; }
.end { margin: .5rem 0 0; font-weight: 600; }
.end.done { color: var(--good); } .end.failed { color: var(--bad); } .end.skipped { color: var(--dim); }
.end small { font-weight: 400; color: var(--dim); }
.side.disk p { margin: .2rem 0; font-size: .85em; }
svg.strip { display: block; width: 100%; min-width: 0; height: 2rem; border-bottom: 1px solid var(--dim); }
.lit {
  fill: #ffd54f; fill-opacity: .85; stroke: #b26a00; stroke-width: 1.5; vector-effect: non-scaling-stroke;
}
.writes, .legend { list-style: none; padding: 0; margin: .4rem 0; font-size: .85em; }
.writes li { padding: .15rem 0; border-top: 1px solid var(--line); overflow-wrap: anywhere; }
.writes li:target { background: #ffd54f; color: #1b1f24; }
.legend svg { width: 10px; min-width: 0; height: 10px; }
.writes a { color: inherit; }
.found { scroll-margin-top: 1rem; }
.playing .scene { display: none; }
.playing .scene.now { display: block; }
@media (prefers-reduced-motion: no-preference) {
  .playing .scene.now .lit { animation: lit 1.2s ease-in-out 3; }
  @keyframes lit { 50% { fill-opacity: .2; } }
}
html:not(.scripted) .controls, html:not(.scripted) .languages { display: none; }
@media screen and (max-width: 48rem) {
  .stage { grid-template-columns: minmax(0, 1fr); }
  .scene.host .side.guest, .scene.guest .side.host { display: none; }
}
@media print {
  .controls, .languages, .marks { display: none; }
  .playing .scene { display: block; }
  .scene { break-inside: avoid; }
  .found:not([open]) { display: none; }
}
"""
PAGE = style.PAGE + annotated.PAGE + OURS
