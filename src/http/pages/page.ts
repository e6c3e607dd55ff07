const HTML_ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => HTML_ESCAPES[character] ?? '');
}

/** Light and dark, narrow and wide, with nothing loaded from anywhere. */
export const PAGE_STYLE = `
:root { color-scheme: light dark; --ground: #fbfaf7; --ink: #1d1c19; --soft: #66625a; --line: #dedad0;
  --panel: #fff; --accent: #8a5a00; }
@media (prefers-color-scheme: dark) { :root { --ground: #151412; --ink: #eeeae1; --soft: #a39e93; --line: #35322c;
  --panel: #1e1c19; --accent: #f0b94a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 1rem/1.6 system-ui, sans-serif; }
main { max-width: 46rem; margin: 0 auto; padding: clamp(1.5rem, 6vw, 4rem) 1.25rem; }
h1 { font-size: clamp(2rem, 7vw, 3rem); line-height: 1.1; margin: 0 0 .5rem; letter-spacing: -.02em; }
h2 { font-size: 1.1rem; margin: 2.5rem 0 .75rem; }
p { margin: 0 0 1rem; }
.lead { font-size: 1.15rem; color: var(--soft); }
a { color: var(--accent); }
ul.links { list-style: none; margin: 0; padding: 0; border: 1px solid var(--line); border-radius: .5rem; background: var(--panel); }
ul.links li + li { border-top: 1px solid var(--line); }
ul.links a { display: block; padding: .8rem 1rem; text-decoration: none; color: inherit; }
ul.links a:hover b, ul.links a:focus-visible b { text-decoration: underline; }
ul.links b { color: var(--accent); }
ul.links span { display: block; color: var(--soft); font-size: .925rem; }
pre { overflow-x: auto; margin: 0; padding: 1rem; border: 1px solid var(--line); border-radius: .5rem; background: var(--panel);
  font: .875rem/1.6 ui-monospace, monospace; }
code { font-family: ui-monospace, monospace; }
`;

export type Page = {
  readonly title: string;
  /** HTML, already escaped, as are the next two. */
  readonly body: string;
  readonly style: string;
  readonly head?: string;
};

export function renderPage({ title, body, style, head = '' }: Page): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}</title>
<style>${style}</style>${head}
</head>
<body>
${body}
</body>
</html>
`;
}
