"""The style sheet of `report.html`: system fonts, light and dark, nothing fetched."""

CSS = """
:root { color-scheme: light dark;
  --page: #f6f6f3; --card: #ffffff; --ink: #1c1d1f; --soft: #63666b; --line: #e2e2dc;
  --good: #1f7a4d; --good-back: #e3f3ea; --bad: #b3261e; --bad-back: #fbe6e4; --bar: #4c6fb1;
  --s0: #3b66b5; --s1: #c4581b; --s2: #2c8a5b; --s3: #9146a8; --s4: #a07a00; --s5: #5d6470; }
@media (prefers-color-scheme: dark) { :root {
  --page: #16171a; --card: #1f2125; --ink: #e9e9e6; --soft: #a0a3a8; --line: #34373c;
  --good: #6fd3a0; --good-back: #1c3a2b; --bad: #ff9a92; --bad-back: #46211f; --bar: #7f9fdc;
  --s0: #86a9ee; --s1: #f0955c; --s2: #66cf9a; --s3: #cd90e0; --s4: #e0c050; --s5: #aab0bb; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main { max-width: 1300px; margin: 0 auto; padding: 40px 24px 64px; overflow-wrap: anywhere; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.01em; }
h2 { font-size: 18px; margin: 44px 0 12px; }
h3 { font-size: 15px; margin: 0 0 2px; }
p { margin: 0 0 12px; }
.intro, .soft, figcaption span { color: var(--soft); }
.intro { max-width: 76ch; }
.badge { display: inline-block; padding: 3px 11px; border-radius: 99px; font-weight: 600; font-size: 13px; }
.good { color: var(--good); background: var(--good-back); }
.bad { color: var(--bad); background: var(--bad-back); }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(205px, 1fr)); gap: 8px; margin: 22px 0 0; }
section dl { margin: 0; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); }
dl > div { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 8px 13px; }
dt { color: var(--soft); font-size: 12.5px; }
dd { margin: 0; font-weight: 550; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 16px; margin: 0 0 14px; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(230px, 42%), 1fr)); gap: 16px;
  margin-top: 12px; }
figure { margin: 0; min-width: 0; }
figure.wide { grid-column: 1 / -1; }
figure img { display: block; width: 100%; height: auto; border-radius: 6px; background: var(--page); }
figure img.small { image-rendering: pixelated; }
figcaption { margin-top: 6px; font-size: 13px; font-weight: 550; }
figcaption span { display: block; font-weight: 400; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
table { border-collapse: collapse; width: 100%; font-size: 13px; }
th, td { padding: 6px 9px; text-align: left; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 550; font-size: 12.5px; }
tr:last-child td { border-bottom: 0; }
td.wrap { white-space: normal; min-width: 200px; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
tr.failed td, td.failing { background: var(--bad-back); }
code, pre { font: 13px/1.55 ui-monospace, SFMono-Regular, Menlo, "Liberation Mono", monospace; }
pre { margin: 0; padding: 14px 16px; overflow-x: auto; background: var(--card); border: 1px solid var(--line);
  border-radius: 10px; }
.track { width: 100%; min-width: 120px; height: 8px; border-radius: 4px; background: var(--line); }
.track i { display: block; height: 100%; min-width: 2px; border-radius: 4px; background: var(--bar); }
td.bar { width: 45%; vertical-align: middle; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(330px, 100%), 1fr)); gap: 14px;
  margin-bottom: 14px; }
.charts .card { margin: 0; }
.draw { overflow-x: auto; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font-size: 11px; }
svg .side { text-anchor: end; font-variant-numeric: tabular-nums; }
svg .bottom { text-anchor: middle; }
svg text.mark { fill: var(--bad); paint-order: stroke; stroke: var(--card); stroke-width: 3px; }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg line.mark { stroke: var(--bad); stroke-width: 1.3; stroke-dasharray: 5 4; }
svg polyline { fill: none; stroke-width: 1.8; }
details { margin-top: 14px; }
summary { cursor: pointer; color: var(--soft); margin-bottom: 12px; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 14px; margin: 8px 0 4px; font-size: 12.5px; }
.legend i { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 6px; }
polyline.s0 { stroke: var(--s0); } circle.s0 { fill: var(--s0); } i.s0 { background: var(--s0); }
polyline.s1 { stroke: var(--s1); } circle.s1 { fill: var(--s1); } i.s1 { background: var(--s1); }
polyline.s2 { stroke: var(--s2); } circle.s2 { fill: var(--s2); } i.s2 { background: var(--s2); }
polyline.s3 { stroke: var(--s3); } circle.s3 { fill: var(--s3); } i.s3 { background: var(--s3); }
polyline.s4 { stroke: var(--s4); } circle.s4 { fill: var(--s4); } i.s4 { background: var(--s4); }
polyline.s5 { stroke: var(--s5); } circle.s5 { fill: var(--s5); } i.s5 { background: var(--s5); }
ul { margin: 8px 0 0; padding-left: 20px; }
footer { margin-top: 40px; color: var(--soft); font-size: 13px; }
@media (max-width: 640px) { main { padding: 24px 14px 40px; } h1 { font-size: 23px; } }
@media print { body { background: #fff; } .scroll, .card { break-inside: avoid; } }
"""
