/** Inlined into the page and allowed by its hash: the page loads nothing from anywhere. */
export const PAYMENT_PAGE_STYLE = `
:root {
  color-scheme: light dark;
  --page: #f3f4f8; --card: #ffffff; --text: #191b2a; --muted: #575b70; --line: #dfe1ea;
  --accent: #4338ca; --on-accent: #ffffff; --warn: #fde68a; --on-warn: #422006; --error: #b42318; --error-page: #fef1f0;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #10121b; --card: #1a1d2a; --text: #eef0f8; --muted: #a6abc2; --line: #32364a;
    --accent: #a5b4fc; --on-accent: #14162a; --warn: #4a3a0a; --on-warn: #fde68a; --error: #fca5a5; --error-page: #3a1a1c;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
.banner { margin: 0; padding: .6rem 1rem; background: var(--warn); color: var(--on-warn); text-align: center; }
main { max-width: 60rem; margin: 0 auto; padding: clamp(1rem, 4vw, 3rem) clamp(.75rem, 3vw, 2rem); }
.columns { display: grid; gap: 1.25rem; }
@media (min-width: 46rem) { .columns { grid-template-columns: 1fr 1fr; align-items: start; gap: 2rem; } }
section {
  background: var(--card); border: 1px solid var(--line); border-radius: 14px;
  padding: clamp(1.1rem, 3vw, 1.75rem);
}
h1 { font-size: 1rem; font-weight: 500; color: var(--muted); margin: 0; }
.title { font-size: 1.05rem; font-weight: 650; color: var(--text); margin: 0 0 .9rem; }
.amount { font-size: clamp(2rem, 7vw, 2.6rem); font-weight: 650; letter-spacing: -.02em; margin: 0 0 1rem; }
table { width: 100%; border-collapse: collapse; }
th, td { padding: .6rem 0; text-align: left; vertical-align: top; border-top: 1px solid var(--line); overflow-wrap: anywhere; }
th { font-weight: 500; padding-right: 1rem; }
td { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
tfoot th, tfoot td { font-weight: 650; }
small, .muted { color: var(--muted); font-size: .875rem; font-weight: 400; }
th small { display: block; }
fieldset { border: 0; margin: 0 0 1.1rem; padding: 0; display: grid; gap: .6rem; }
legend { padding: 0; margin: 0 0 .9rem; font-size: 1.05rem; font-weight: 650; }
label {
  display: grid; grid-template-columns: auto 1fr; column-gap: .75rem; align-items: center; cursor: pointer;
  padding: .7rem .9rem; border: 1px solid var(--line); border-radius: 10px;
}
label:has(:checked) { border-color: var(--accent); box-shadow: inset 0 0 0 1px var(--accent); }
label small { grid-column: 2; }
input[type="radio"] { accent-color: var(--accent); width: 1.1rem; height: 1.1rem; margin: 0; }
.number { font-variant-numeric: tabular-nums; }
button, .button {
  display: block; width: 100%; padding: .85rem 1rem; border: 0; border-radius: 10px; cursor: pointer;
  background: var(--accent); color: var(--on-accent); font: inherit; font-weight: 600; text-align: center; text-decoration: none;
}
button:hover, .button:hover { filter: brightness(1.08); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
a { color: var(--accent); }
.cancel { text-align: center; margin: 1rem 0 0; }
.alert { background: var(--error-page); color: var(--error); border-radius: 10px; padding: .7rem .9rem; margin: 0 0 1rem; }
details { margin-top: 1.5rem; }
summary { cursor: pointer; color: var(--muted); font-size: .875rem; }
pre { overflow-x: auto; background: var(--page); border-radius: 8px; padding: .7rem .9rem; font-size: .8125rem; }
.notice { max-width: 30rem; margin: 0 auto; }
`;
