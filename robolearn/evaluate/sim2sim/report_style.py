"""How the transfer report looks, on light and on dark screens and on paper."""

CSS = """
:root { --ink: #1f2933; --muted: #5f6c7b; --grid: #e4e7eb; --page: #f5f7fa; --card: #ffffff; --blue: #0072b2;
  --violet: #8c6bb1; --good: #00694d; --fair: #8a5a00; --bad: #b03a00; --score: 0, 114, 178; color-scheme: light dark; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6eaef; --muted: #9aa7b4; --grid: #333c46; --page: #14181d; --card: #1c2229; --blue: #4aa8e0;
    --violet: #b494d8; --good: #3fcf9f; --fair: #f0b94a; --bad: #ff8f5c; --score: 86, 180, 233; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 26px; margin: 0 0 4px; }
h2 { font-size: 20px; margin: 36px 0 10px; }
h3 { font-size: 16px; margin: 24px 0 6px; }
p { margin: 6px 0 10px; }
ul { margin: 4px 0; padding-left: 20px; }
.muted, figcaption, small { color: var(--muted); }
.card { background: var(--card); border: 1px solid var(--grid); border-radius: 8px; padding: 16px 18px;
  margin: 12px 0; }
.card > p:first-child, .card > pre:first-child { margin-top: 0; }
.verdict { border-left: 6px solid var(--muted); }
.verdict p { margin: 2px 0; }
.verdict b { font-size: 16px; }
.verdict strong { font-size: 18px; }
.verdict.good { border-left-color: var(--good); }
.verdict.fair { border-left-color: var(--fair); }
.verdict.bad { border-left-color: var(--bad); }
.mark { font-weight: 700; }
.good strong, .mark.good { color: var(--good); }
.fair strong, .mark.fair { color: var(--fair); }
.bad strong, .mark.bad { color: var(--bad); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 10px; text-align: left; border-bottom: 1px solid var(--grid); vertical-align: top; }
th { font-weight: 600; }
thead th { color: var(--muted); font-size: 13px; white-space: nowrap; }
td { white-space: nowrap; }
td small, th small { display: block; font-weight: 400; font-size: 12px; }
td.text, td small.text { white-space: normal; }
td.scored { background: rgba(var(--score), calc(var(--s) * 0.42)); }
td.scored small { color: inherit; opacity: 0.75; }
figure { margin: 0; }
figure svg { width: 100%; height: auto; display: block; }
figure.narrow svg { width: auto; max-width: 100%; }
figcaption { font-size: 13px; margin-top: 8px; }
video, figure img { max-width: 100%; border-radius: 6px; display: block; }
svg text { font-family: inherit !important; }
pre { background: var(--page); border: 1px solid var(--grid); border-radius: 6px; padding: 10px 12px;
  overflow-x: auto; font-size: 13px; white-space: pre-wrap; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; margin: 0; }
dt { color: var(--muted); }
dd { margin: 0; overflow-wrap: anywhere; }
summary { cursor: pointer; font-weight: 600; }
details.policy > summary { font-size: 20px; margin: 32px 0 10px; }
@media print { body { background: none; } .card { break-inside: avoid; } }
"""
