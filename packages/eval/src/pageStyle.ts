/** The page's style sheet: light and dark, nothing loaded from anywhere. */
export const pageStyle = `
:root { color-scheme: light dark;
  --paper: #f7f7f5; --card: #ffffff; --ink: #1b1f24; --muted: #626b76; --line: #c9ced6; --grid: #e9ebef; --edge: #e3e6ea; --soft: #f1f3f6;
  --accent: #2b5fd9; --warn-ink: #7a4b00; --warn: #fff4dc; --warn-edge: #f0d394; --best: #e4f4ea; --best-ink: #0f6b3c; --on-series: #ffffff;
  --series-1: #2b5fd9; --series-2: #d9622b; --series-3: #178a5a; --series-4: #a23bb5; --series-5: #b98900;
  --series-6: #0f8fa8; --series-7: #c2304f; --series-8: #6b7280; --series-9: #6d8f1f; --series-10: #7a5230; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #0f1216; --card: #171b21; --ink: #e8ebef; --muted: #98a2ae; --line: #3c444f; --grid: #262c34; --edge: #262c34; --soft: #1d222a;
  --accent: #82a8ff; --warn-ink: #f5d491; --warn: #2b2310; --warn-edge: #5c4a1c; --best: #12301f; --best-ink: #7fdba6; --on-series: #0f1216;
  --series-1: #82a8ff; --series-2: #ff9a66; --series-3: #55cf97; --series-4: #dc8cec; --series-5: #e8c14d;
  --series-6: #5accdf; --series-7: #ff7f97; --series-8: #a7b0bc; --series-9: #b3d45c; --series-10: #c99b73; } }
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 48px 24px 96px; }
h1 { font-size: 2rem; line-height: 1.2; letter-spacing: -.02em; margin: 0 0 .4rem; text-wrap: balance }
h2 { font-size: 1.25rem; letter-spacing: -.01em; margin: 2.6rem 0 .7rem; }
h3 { font-size: 1rem; margin: 1.6rem 0 .4rem; }
p { margin: .4rem 0; max-width: 72ch; }
.sub, .read, figcaption { color: var(--muted); font-size: .9rem; }
.banner { display: inline-block; margin: 1.1rem 0 0; padding: .45rem .9rem; border: 1px solid var(--warn-edge); border-radius: 999px; background: var(--warn); color: var(--warn-ink); font-weight: 600; font-size: .92rem; }
.card { background: var(--card); border: 1px solid var(--edge); border-radius: 12px; padding: 18px 20px; margin: .8rem 0 1.2rem; overflow-x: auto; }
figure.card { padding: 22px 20px 16px; } figure svg { display: block; margin: 0 auto; }
figcaption { border-top: 1px solid var(--edge); margin-top: 14px; padding-top: 10px; max-width: none }
figcaption b { color: var(--ink); font-weight: 600 }
table { border-collapse: collapse; width: 100%; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .5rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--edge); }
th { color: var(--muted); font-weight: 500; font-size: .85rem } tr:last-child td, tr:last-child th[scope=row] { border-bottom: 0 }
th:first-child, td:first-child { text-align: left; padding-left: 0 } td:last-child, th:last-child { padding-right: 0 }
th[scope=row] { color: var(--ink); font-weight: 600; font-size: .92rem }
td .error { color: var(--muted); font-size: .86em }
td .best { background: var(--best); color: var(--best-ink); border-radius: 6px; padding: .12rem .42rem; font-weight: 600 } td .best .error { color: inherit; opacity: .8; font-weight: 400 }
.read { max-width: none }
td.wide { white-space: normal; overflow-wrap: anywhere; text-align: left } .facts th { text-align: left; vertical-align: top; width: 26% } td.left, th.left { text-align: left }
details { margin: .6rem 0 } summary { cursor: pointer; font-weight: 600; padding: .3rem 0 } summary:hover { color: var(--accent) }
ul { padding-left: 1.2rem; max-width: 76ch } li { margin: .3rem 0 } footer { margin-top: 3rem; color: var(--muted); font-size: .85rem }
@media print { main { padding: 0 } .card { break-inside: avoid } }
`
