import { hash } from 'node:crypto';

/**
 * The one style sheet of the public pages. Colours meet WCAG AA on their grounds in both schemes; sizes
 * follow the window; nothing is loaded. Dark and light follow the visitor's system.
 */
export const STYLE = `
:root {
  color-scheme: light dark;
  --ground: #faf8f3; --panel: #fffefb; --sunken: #f3efe6; --ink: #1c1a16; --soft: #5f5a50; --line: #e2dccf;
  --accent: #8a5300; --accent-soft: #f6e7cc; --focus: #1d5fd1; --code: #2b2721;
  --warn: #fff1cf; --warn-line: #dcb95c;
  --radius: .75rem; --mono: ui-monospace, "SF Mono", "Cascadia Code", Menlo, Consolas, monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #131210; --panel: #1b1916; --sunken: #201e1a; --ink: #f0ece3; --soft: #aaa498; --line: #35312a;
    --accent: #f2bd55; --accent-soft: #3a2c10; --focus: #8ab4ff; --code: #e8e2d6;
    --warn: #322810; --warn-line: #7d6420;
  }
}
* { box-sizing: border-box; }
html { scroll-padding-top: 1.5rem; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", sans-serif;
  min-height: 100vh; display: flex; flex-direction: column; }
main { flex: 1; padding-bottom: 4rem; }
.wide { width: 100%; max-width: 72rem; margin-inline: auto; padding-inline: clamp(1rem, 4vw, 2rem); }
a { color: var(--accent); text-underline-offset: .2em; text-decoration-thickness: 1px; }
a:hover { text-decoration-thickness: 2px; }
:focus-visible { outline: 3px solid var(--focus); outline-offset: 2px; border-radius: .25rem; }
h1, h2, h3 { line-height: 1.15; letter-spacing: -.02em; text-wrap: balance; }
h1 { font-size: clamp(2.1rem, 6vw, 3.4rem); margin: 0; font-weight: 700; }
h2 { font-size: 1.5rem; margin: 0 0 1rem; }
h3 { font-size: 1.1rem; margin: 1.75rem 0 .35rem; letter-spacing: -.01em; }
p { margin: 0 0 1rem; max-width: 68ch; }
code { font-family: var(--mono); font-size: .9em; overflow-wrap: anywhere; }
p code, li code, dd code { background: var(--sunken); border-radius: .3rem; padding: .1em .35em; }
.skip { position: absolute; left: 1rem; top: -4rem; background: var(--panel); padding: .6rem 1rem; border-radius: .5rem; z-index: 2; }
.skip:focus { top: 1rem; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }

.top { border-bottom: 1px solid var(--line); background: var(--panel); }
.top .wide { display: flex; flex-wrap: wrap; align-items: center; gap: .25rem 2rem; padding-block: .75rem; }
.brand { font-weight: 750; font-size: 1.15rem; letter-spacing: -.02em; color: var(--ink); text-decoration: none; padding: .25rem 0; }
.brand::before { content: ""; display: inline-block; width: .7em; height: .7em; margin-right: .45em; border-radius: .2em;
  background: var(--accent); transform: rotate(45deg) translateY(-.04em); }
.top nav { flex: 1; min-width: 0; }
.top nav ul { display: flex; flex-wrap: wrap; gap: .1rem .3rem; list-style: none; margin: 0 -.6rem; padding: 0; }
.top nav li:last-child { margin-left: auto; }
.top nav a { display: block; padding: .4rem .6rem; border-radius: .4rem; color: var(--soft); text-decoration: none; font-size: .95rem; }
.top nav a:hover { color: var(--ink); background: var(--sunken); }
.top nav a[aria-current] { color: var(--ink); font-weight: 600; box-shadow: inset 0 -2px var(--accent); border-radius: .4rem .4rem 0 0; }
.sandbox { background: var(--warn); border-bottom: 1px solid var(--warn-line); font-size: .925rem; }
.sandbox p { margin-block: 0; padding-block: .6rem; }

.hero { padding-block: clamp(2rem, 6vw, 4.25rem) clamp(1.5rem, 4vw, 2.75rem); }
.eyebrow { color: var(--soft); font-size: .925rem; margin-bottom: .75rem; }
.eyebrow a { color: inherit; }
.lead { font-size: clamp(1.1rem, 2.2vw, 1.3rem); color: var(--soft); margin: .9rem 0 0; line-height: 1.5; text-wrap: pretty; }
.badges { display: flex; flex-wrap: wrap; gap: .4rem; list-style: none; margin: 1.5rem 0 0; padding: 0; }
.badges li { border: 1px solid var(--line); background: var(--panel); border-radius: 99px; padding: .2rem .8rem; font-size: .875rem; color: var(--soft); }
.hero .badges li:first-child { background: var(--accent-soft); border-color: transparent; color: var(--ink); font-weight: 600; }

.columns { display: grid; grid-template-columns: 12rem minmax(0, 1fr); gap: 3.5rem; align-items: start; }
.contents { position: sticky; top: 1.5rem; font-size: .925rem; }
.contents p { font-weight: 600; margin-bottom: .4rem; }
.contents ul { list-style: none; margin: 0; padding: 0; border-left: 1px solid var(--line); }
.contents a { display: block; padding: .25rem .9rem; color: var(--soft); text-decoration: none; }
.contents a:hover { color: var(--ink); text-decoration: underline; }
.body { min-width: 0; }
section { padding-top: 2.5rem; margin-top: 2.5rem; border-top: 1px solid var(--line); }
.body > section:first-child { padding-top: 0; margin-top: 0; border-top: 0; }
.points { padding-left: 1.2rem; margin: 0 0 1rem; max-width: 68ch; }
.points li { margin-bottom: .4rem; }
.points li::marker { color: var(--accent); }
.notice { background: var(--accent-soft); border-radius: var(--radius); padding: .9rem 1.1rem; }

.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 15rem), 1fr)); gap: 1px; margin: 1.5rem 0; background: var(--panel);
  border: 1px solid var(--line); border-radius: var(--radius); overflow: hidden; }
.facts div { padding: .8rem 1rem; box-shadow: 0 0 0 1px var(--line); }
.facts dt { color: var(--soft); font-size: .85rem; }
.facts dd { margin: .1rem 0 0; font-weight: 550; overflow-wrap: anywhere; }

.cards { list-style: none; margin: 1.5rem 0; padding: 0; display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); }
.card { position: relative; display: flex; flex-direction: column; background: var(--panel); border: 1px solid var(--line); border-radius: var(--radius); padding: 1.25rem; }
.card:hover { border-color: var(--accent); }
.card h2, .card h3 { margin: 0; font-size: 1.2rem; }
.card :is(h2, h3) a { color: var(--ink); text-decoration: none; }
.card :is(h2, h3) a::after { content: ""; position: absolute; inset: 0; border-radius: var(--radius); }
.card :is(h2, h3) a:focus-visible { outline: none; }
.card :is(h2, h3) a:focus-visible::after { outline: 3px solid var(--focus); outline-offset: 2px; }
.card .id { color: var(--soft); font-size: .875rem; margin: .2rem 0 .75rem; }
.card .id code { background: none; padding: 0; }
.card-foot { margin-top: auto; display: flex; flex-wrap: wrap; align-items: center; justify-content: space-between; gap: .6rem; }
.card-foot .badges { margin: 0; }
.card-foot .badges li { background: var(--sunken); border-color: transparent; font-size: .8rem; }
.price { color: var(--accent); font-variant-numeric: tabular-nums; }

.choices ul { display: flex; flex-wrap: wrap; gap: .4rem; list-style: none; margin: 0; padding: 0; }
.choices a { display: block; padding: .4rem .95rem; border-radius: 99px; border: 1px solid var(--line); background: var(--panel); color: var(--ink); text-decoration: none; font-size: .925rem; }
.choices a:hover { border-color: var(--accent); }
.choices a[aria-current] { background: var(--ink); border-color: var(--ink); color: var(--ground); }

.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: var(--radius); background: var(--panel); margin: 1.25rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .95rem; }
caption { text-align: left; padding: .7rem 1rem; color: var(--soft); font-size: .85rem; background: var(--sunken); }
th, td { text-align: left; vertical-align: top; padding: .65rem 1rem; border-top: 1px solid var(--line); min-width: 5rem; }
thead th { color: var(--soft); font-weight: 550; font-size: .85rem; white-space: nowrap; }
tbody th { font-weight: 550; }
tbody th code { overflow-wrap: anywhere; }
td { font-variant-numeric: tabular-nums; }
td:last-child { min-width: 10rem; }
td code { overflow-wrap: normal; }
tbody th { min-width: 9rem; }
.bars td:last-child, .bars .number { min-width: 5rem; text-align: right; font-variant-numeric: tabular-nums; }
.bars .bar { width: 50%; vertical-align: middle; }
.bars svg { display: block; width: 100%; height: .7rem; border-radius: 99px; background: var(--sunken); }
.bars rect { fill: var(--accent); }

details { margin: 1.25rem 0; }
summary { cursor: pointer; color: var(--accent); font-weight: 550; padding: .35rem 0; }
details .scroll { margin-top: .5rem; }

.code { margin: 1.25rem 0; border: 1px solid var(--line); border-radius: var(--radius); overflow: hidden; background: var(--panel); }
.code figcaption { padding: .5rem 1rem; font-size: .85rem; font-weight: 600; color: var(--soft); background: var(--sunken); border-bottom: 1px solid var(--line); }
.code pre { margin: 0; padding: 1rem; overflow-x: auto; color: var(--code); font-size: .875rem; line-height: 1.65; tab-size: 2; }
.code pre:focus-visible { outline-offset: -3px; }
.code code { font-size: inherit; overflow-wrap: normal; }

.picker { display: flex; flex-wrap: wrap; align-items: end; gap: 1rem; margin-bottom: 1.5rem; }
.picker fieldset { display: flex; flex-wrap: wrap; gap: .5rem; border: 0; margin: 0; padding: 0; min-width: 0; }
.picker legend { color: var(--soft); font-size: .875rem; padding: 0; margin-bottom: .4rem; }
.picker label { display: flex; align-items: center; gap: .5rem; border: 1px solid var(--line); background: var(--panel); border-radius: 99px; padding: .35rem 1rem .35rem .7rem; font-size: .925rem; cursor: pointer; }
.picker label:has(:checked) { border-color: var(--accent); background: var(--accent-soft); }
.picker input { width: 1rem; height: 1rem; accent-color: var(--accent); margin: 0; }
.picker button { font: inherit; font-weight: 600; color: var(--ground); background: var(--ink); border: 0; border-radius: 99px; padding: .45rem 1.3rem; cursor: pointer; }

.bottom { border-top: 1px solid var(--line); color: var(--soft); font-size: .9rem; background: var(--panel); }
.bottom .wide { display: flex; flex-wrap: wrap; justify-content: space-between; gap: .5rem 2rem; padding-block: 1.5rem; }
.bottom p { margin: 0; }
.bottom ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; list-style: none; margin: 0; padding: 0; }
.bottom a { color: inherit; }

@media (min-width: 56rem) { tbody th { min-width: 13.5rem; } td:last-child { min-width: 16rem; } .bars td:last-child { min-width: 5rem; } }
@media (max-width: 56rem) {
  .columns { display: block; }
  .contents { position: static; margin-bottom: 2.5rem; }
  .contents ul { display: flex; flex-wrap: wrap; gap: .4rem; border: 0; }
  .contents a { padding: .25rem .8rem; border: 1px solid var(--line); border-radius: 99px; background: var(--panel); }
}
@media (max-width: 34rem) {
  .top nav { flex-basis: 100%; }
  .top nav ul { gap: 0; margin-inline: -.4rem; }
  .top nav a { padding: .35rem .4rem; font-size: .875rem; }
  th, td { padding: .55rem .75rem; }
  /* A row is a block of lines: three columns or more do not fit next to each other. */
  table[role="table"], table[role="table"] :is(tbody, tr, th, td, caption) { display: block; min-width: 0; }
  table[role="table"] thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  table[role="table"] tr { border-top: 1px solid var(--line); padding: .7rem 1rem; }
  table[role="table"] :is(th, td) { border: 0; padding: 0; }
  table[role="table"] td { display: grid; grid-template-columns: 8.5rem minmax(0, 1fr); gap: .75rem; margin-top: .3rem; }
  table[role="table"] td > div { overflow-wrap: anywhere; }
  table[role="table"] td::before { content: attr(data-column); color: var(--soft); font-size: .85rem; }
  /* The short facts of a row are next to each other, with their meaning below them over the whole width. */
  table[role="table"] td[data-column="Meaning"] { display: block; }
  table[role="table"] td[data-column="Meaning"]::before { content: none; }
  table[role="table"] tr:has(> td[data-column="Meaning"]) > td:not([data-column="Meaning"]) { display: inline-flex; gap: .4rem; margin-right: 1rem; }
  table[role="table"] td:not(:has(> div:not(:empty))) { display: none !important; }
  .facts div { display: grid; grid-template-columns: 7rem minmax(0, 1fr); gap: .75rem; padding: .55rem 1rem; align-items: baseline; }
}
@media (prefers-reduced-motion: no-preference) { html { scroll-behavior: smooth; } }
@media print { .top nav, .bottom, .contents, .picker, .choices { display: none; } }
`;

/** The name changes with the content, so that a browser may cache the file permanently. */
export const STYLE_PATH = `/assets/pages-${hash('sha256', STYLE, 'hex').slice(0, 16)}.css`;
