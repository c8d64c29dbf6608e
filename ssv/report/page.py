"""The style sheet and the fixed words of the report."""

STYLE = """
:root { --paper:#fff; --ink:#1c1f24; --soft:#667080; --line:#dfe3e8; --card:#f6f7f9; --good:#13774a; --bad:#b3261e;
  --warn:#8a5a00; --warn-card:#fff7e6; --c0:#0b6bcb; --c1:#d1601f; --c2:#13805c; --c3:#a83f8f; --c4:#8a6d00;
  --c5:#2f9fb5; --c6:#c0374e; --c7:#6a5acd; --r0:#9aa3ae; --r1:#737d8a; --r2:#4a525d; }
@media (prefers-color-scheme: dark) { :root { --paper:#15181c; --ink:#e7eaee; --soft:#9aa4b0; --line:#323841;
  --card:#1d2126; --good:#55c98e; --bad:#ff8a80; --warn:#f0c060; --warn-card:#2a2416; --c0:#6cb2ff; --c1:#ff9b63;
  --c2:#55c9a0; --c3:#e58ad0; --c4:#d9bc4a; --c5:#6fd3e6; --c6:#ff8497; --c7:#a99cff; --r0:#7d8794; --r1:#a0a9b5;
  --r2:#c5ccd5; } }
@media print { :root { --paper:#fff; --ink:#000; --soft:#444; --line:#bbb; --card:#fff; --good:#0a5c38; --bad:#8f1a14;
  --warn:#5c3c00; --warn-card:#fff; --c0:#0b6bcb; --c1:#d1601f; --c2:#13805c; --c3:#a83f8f; --c4:#8a6d00; --c5:#2f9fb5;
  --c6:#c0374e; --c7:#6a5acd; --r0:#9aa3ae; --r1:#737d8a; --r2:#4a525d; }
  body { font-size:10pt; } main { max-width:none !important; padding:0 !important; } .hint { display:none; }
  figure, thead, tr, li, .summary { break-inside:avoid; } h2, h3 { break-after:avoid; } @page { size:A4 landscape; }
  table { font-size:8pt !important; } thead th, .under { font-size:7.5pt !important; } sup { font-size:70% !important; }
  th, td { padding:4px 10px 4px 0 !important; } th, th *, td * { white-space:normal !important; }
  th, td, td * { min-width:0 !important; } .wide { overflow:visible !important; } svg { min-width:0 !important; }
  * { print-color-adjust:exact; } }
@media (scripting:none) { .hint { display:none; } }
* { box-sizing:border-box; }
body { margin:0; background:var(--paper); color:var(--ink); font:15px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; }
main { max-width:1120px; margin:0 auto; padding:36px 24px 72px; }
h1 { font-size:27px; line-height:1.2; margin:0 0 6px; letter-spacing:-.01em; }
h2 { font-size:18px; margin:44px 0 6px; } h3 { font-size:15px; margin:28px 0 4px; }
.facts, .intro, .under { color:var(--soft); } .facts { margin:0; } .intro { margin:0 0 14px; max-width:105ch; }
.summary, .warnings { border:1px solid var(--line); border-left:4px solid var(--c0); background:var(--card);
  border-radius:6px; padding:14px 20px; margin-top:22px; }
.warnings { border-left-color:var(--warn); background:var(--warn-card); }
.summary h2, .warnings h2 { margin:0 0 4px; font-size:16px; } .summary p { margin:0; }
.summary .intro { margin:8px 0 0; } .summary ul, .warnings ul { margin:0; padding-left:18px; overflow-wrap:anywhere; }
.summary li::marker { content:"\\25CB  "; } .summary li.good::marker { content:"\\25B2  "; color:var(--good); }
.summary li.bad::marker { content:"\\25BC  "; color:var(--bad); }
.wide { overflow-x:auto; }
table { border-collapse:collapse; width:100%; font-variant-numeric:tabular-nums; }
th, td { text-align:left; vertical-align:top; padding:8px 18px 8px 0; border-bottom:1px solid var(--line); }
th:last-child, td:last-child { padding-right:0; }
thead th { font-size:13px; vertical-align:bottom; border-bottom:2px solid var(--line); } tbody th { font-weight:600; }
.scores td, .scores thead th { white-space:nowrap; } tfoot > tr > * { color:var(--soft); }
.plain { font-size:13px; } .plain td { white-space:nowrap; } .runs tbody th, .runs td:last-child { overflow-wrap:anywhere; }
.plain thead th { white-space:nowrap; }
.runs td:last-child { white-space:normal; min-width:180px; } .runs tbody th { min-width:220px; }
th [role=button] { cursor:pointer; } th [role=button]:hover, th[aria-sort] [role=button] { color:var(--c0); }
th [role=button]:focus-visible { outline:2px solid var(--c0); outline-offset:3px; border-radius:2px; }
th[aria-sort=ascending] [role=button]::after { content:" \\2191"; }
th[aria-sort=descending] [role=button]::after { content:" \\2193"; }
.plain tbody th { min-width:170px; } .plain.metrics thead th { white-space:normal; }
.heat { width:auto; } .heat td, .heat tbody th, .heat thead th { padding:2px 10px 2px 0; }
.heat thead th { white-space:normal; max-width:150px; } .heat span { display:block; padding:1px 8px; min-width:84px;
  border-radius:3px; } .heat small { opacity:.75; float:right; margin-left:12px; }
.up { background:color-mix(in srgb, var(--good) var(--heat), transparent); }
.down { background:color-mix(in srgb, var(--bad) var(--heat), transparent); }
.gallery { display:flex; flex-wrap:wrap; gap:4px 22px; } .gallery figure { margin:8px 0 0; } .gallery figcaption {
  font-weight:400; font-size:13px; margin-bottom:2px; } img { display:block; max-width:100%; height:auto; }
a { color:var(--c0); }
.matrix { width:auto; } .matrix td { min-width:112px; }
.under { display:block; font-size:12.5px; font-weight:400; } sup { font-size:11px; line-height:0; }
.under.good-text, .good-text { color:var(--good); fill:var(--good); }
.under.bad-text, .bad-text { color:var(--bad); fill:var(--bad); }
code { font:12px/1.4 ui-monospace, Menlo, Consolas, monospace; }
figure { margin:18px 0 0; } figcaption { font-weight:600; font-size:14px; margin-bottom:6px; overflow-wrap:anywhere; }
.panels { display:grid; grid-template-columns:repeat(auto-fill, minmax(300px, 1fr)); gap:8px 26px; }
svg { display:block; width:100%; height:auto; } svg text { font-size:13px; fill:var(--ink); }
svg .small { font-size:11.5px; fill:var(--soft); } svg .head { font-size:12.5px; fill:var(--soft); }
svg .strong { font-weight:600; } svg .value { font-size:12.5px; paint-order:stroke;
  stroke:var(--paper); stroke-width:3px; }
svg .good-text { fill:var(--good); } svg .bad-text { fill:var(--bad); } svg .name { font-size:12.5px; }
.grid { stroke:var(--line); } .zero { stroke:var(--ink); stroke-width:1.2; }
.chance { stroke:var(--soft); stroke-dasharray:4 3; stroke-width:1.2; }
.bar { fill:var(--c); opacity:.35; } .spread { stroke:var(--ink); stroke-width:1.4; }
.seed { fill:var(--c); stroke:var(--paper); stroke-width:1; }
.interval { stroke-width:4; stroke-linecap:round; stroke:var(--soft); } .interval.thin { stroke-width:1.6; }
.interval.good { stroke:var(--good); } .interval.bad { stroke:var(--bad); }
.fill { fill:var(--soft); stroke:var(--paper); stroke-width:1.5; }
.fill.good { fill:var(--good); } .fill.bad { fill:var(--bad); }
.curve { fill:none; stroke:var(--c); stroke-width:2.4; stroke-linejoin:round; }
.curve.thin { stroke-width:1; opacity:.45; } .dashed { stroke-dasharray:6 3; } .end { fill:var(--c); }
svg .name { fill:var(--c); }
.c0 { --c:var(--c0) } .c1 { --c:var(--c1) } .c2 { --c:var(--c2) } .c3 { --c:var(--c3) } .c4 { --c:var(--c4) }
.c5 { --c:var(--c5) } .c6 { --c:var(--c6) } .c7 { --c:var(--c7) }
.ref-random { --c:var(--r0) } .ref-single-frame { --c:var(--r1) } .ref-supervised { --c:var(--r2) }
"""

HOW_TO_READ = """<section><h2>How to read this</h2><ul>
<li><b>Rows</b> are arms: runs that differ in nothing but their seed. Reference rows come first; the others are sorted
by the first evaluation, which is an order of means and no conclusion.</li>
<li><b>Columns</b> are evaluations under one protocol each. Numbers of different protocols are not comparable; the
raised number leads to the protocol in full.</li>
<li><b>Mean ± standard deviation</b> is over pretraining seeds (n − 1). With fewer than 3 seeds no spread is shown and
nothing is concluded.</li>
<li><b>Paired differences</b> subtract the reference of the same seed. The interval over seeds is Student’s t at 95 %:
with 3 seeds it is wide, and it should be. The interval over videos draws groups of test videos with replacement (2000
draws, percentiles), because clips of one scene stand or fall together; it holds the seeds fixed.</li>
<li><b>Row against column</b> subtracts two pretexts in the same way, where both have the same backbone, the same
pretraining data and at least 3 common seeds.</li>
<li><b>Better</b> or <b>worse</b> is said only where every interval shown excludes 0; otherwise no difference was shown,
which is not the same as no difference. Each interval stands for itself: among 20 comparisons one is expected to exclude
0 by chance.</li>
<li><b>Pretext accuracy</b> (training: mean over the last tenth of the run; held out: the last measurement) answers the
pretext’s own question. Different pretexts ask different questions: it tells whether a task was learnt, not which
is better.</li>
<li><b>Time</b> is wall-clock time of pretraining, mean over seeds; it is comparable only on equal machines.</li>
</ul></section>"""
