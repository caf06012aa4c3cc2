"""How the HTML report looks: one style sheet, for light and dark, narrow and wide, screen and paper.

Colours of text have a contrast of at least 4.5 to 1 against what is behind them (WCAG 2.2, 1.4.3); a test computes it.
"""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f5f6f7; --card: #ffffff; --text: #1b1f24; --muted: #57606a; --line: #d8dde2; --code: #eef1f4;
  --passed: #1a6f34; --failed: #b3201c; --weak: #815300; --dialect: #0a5f80; --skipped: #57606a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #111417; --card: #1a1e22; --text: #e4e8ec; --muted: #a3adb7; --line: #333a41; --code: #111417;
    --passed: #6dcf88; --failed: #ff8f87; --weak: #efb74c; --dialect: #72c8ea; --skipped: #a3adb7;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; padding: 2rem 1.25rem 3rem; background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", "Liberation Sans", sans-serif;
}
main { max-width: 68rem; margin: 0 auto; }
h1, h2, h3, p, dl, dd, ul { margin: 0; padding: 0; }
h1 { font-size: 1.05rem; font-weight: 600; color: var(--muted); }
h2 { font-size: 1.2rem; margin: 2.25rem 0 .75rem; }
h3 { font: 600 1rem/1.4 ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
code, pre, .name, .number { font-family: ui-monospace, "DejaVu Sans Mono", "Liberation Mono", monospace; }
code, pre { font-size: .875rem; }
a { color: inherit; text-underline-offset: .2em; }
:focus-visible { outline: .15rem solid var(--dialect); outline-offset: .15rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1.25rem; }
.verdict { font-size: 1.75rem; font-weight: 700; line-height: 1.25; margin: .35rem 0 .5rem; text-wrap: balance; }
.command { overflow-wrap: anywhere; }
.passed { --own: var(--passed); } .failed { --own: var(--failed); } .weak { --own: var(--weak); }
.dialect { --own: var(--dialect); } .skipped { --own: var(--skipped); }
.verdict, .mark, .count b { color: var(--own); }
.bar { display: flex; gap: 2px; height: .6rem; margin: 1.1rem 0 .9rem; border-radius: .3rem; overflow: hidden; }
.bar i { flex: var(--share) 1 0; min-width: .35rem; background: var(--own); }
.counts { display: flex; flex-wrap: wrap; gap: .35rem 1.6rem; list-style: none; }
.count b { font-size: 1.3rem; font-variant-numeric: tabular-nums; }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin-top: 1.25rem; }
.facts { font-size: .9rem; }
.facts dt, .claim, .note, .label, .source { color: var(--muted); }
.facts dd { overflow-wrap: anywhere; }
.broken { border-left: .35rem solid var(--own); margin-top: 1rem; break-inside: avoid; }
.broken .facts { font-size: .95rem; margin-top: .75rem; }
.broken .facts dd { color: var(--text); }
.mark { font-weight: 600; white-space: nowrap; }
.head { display: flex; flex-wrap: wrap; gap: .25rem .9rem; align-items: baseline; }
.label { font-size: .85rem; margin: .9rem 0 .3rem; }
pre {
  margin: 0; padding: .7rem .85rem; background: var(--code); border: 1px solid var(--line); border-radius: .4rem;
  white-space: pre-wrap; overflow-wrap: anywhere; max-height: 12rem; overflow-y: auto;
}
pre.copy { user-select: all; -webkit-user-select: all; cursor: copy; }
details { margin-top: .5rem; }
summary { font-size: .85rem; color: var(--muted); cursor: pointer; width: fit-content; }
details pre { margin-top: .4rem; }
table { width: 100%; border-collapse: collapse; font-size: .92rem; }
caption { text-align: left; color: var(--muted); font-size: .85rem; padding-bottom: .6rem; }
th, td { text-align: left; vertical-align: top; padding: .55rem .9rem .55rem 0; border-top: 1px solid var(--line); }
th:last-child, td:last-child { padding-right: 0; }
thead th { border-top: 0; padding-top: 0; font-size: .8rem; color: var(--muted); font-weight: 600; }
tbody th { font-weight: 400; width: 55%; }
.name { font-size: .9rem; font-weight: 600; overflow-wrap: anywhere; }
.number { text-align: right; font-size: .85rem; white-space: nowrap; font-variant-numeric: tabular-nums; }
.note { font-size: .88rem; overflow-wrap: anywhere; }
td.source { min-width: 11.5rem; }
footer { margin-top: 2rem; font-size: .85rem; color: var(--muted); }
@media screen and (max-width: 44rem) {
  body { padding: 1rem .75rem 2rem; }
  .card { padding: 1rem; }
  table, tbody, caption { display: block; }
  thead { position: absolute; clip-path: inset(50%); height: 1px; width: 1px; overflow: hidden; }
  tr { display: flex; flex-wrap: wrap; gap: 0 .8rem; padding: .7rem 0; border-top: 1px solid var(--line); }
  th, td { display: block; padding: 0; border: 0; }
  tbody th { width: 100%; flex: 1 0 100%; order: -1; }
  td.source { flex: 1 0 100%; order: 1; min-width: 0; }
}
@media print {
  :root {
    color-scheme: light; --page: #ffffff; --card: #ffffff; --text: #000000; --muted: #444444; --line: #bbbbbb;
    --code: #ffffff; --passed: #1a6f34; --failed: #b3201c; --weak: #815300; --dialect: #0a5f80; --skipped: #444444;
  }
  body { padding: 0; font-size: 10pt; }
  .card { border-width: 0 0 0 0; padding: .5rem 0; }
  .broken { border-left-width: .2rem; padding-left: .75rem; }
  .bar { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  tr { break-inside: avoid; }
  thead { display: table-header-group; }
  pre { max-height: none; }
}
"""
