import { hash } from 'node:crypto';

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

export type Page = {
  readonly title: string;
  /** HTML that is already escaped, like the next two. */
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

const PART_NAMES: Readonly<Record<string, string>> = {
  stripe: 'Stripe',
  'black-forest-labs': 'Black Forest Labs',
};

export const BANNER_STYLE = `
.sandbox-banner { border: 1px solid #e3c36b; background: #fff4d6; color: #1d1c19; border-radius: .5rem; padding: .75rem 1rem;
  margin: 0 0 2rem; font: 1rem/1.6 system-ui, sans-serif; }
@media (prefers-color-scheme: dark) { .sandbox-banner { border-color: #7a6018; background: #33290f; color: #eeeae1; } }
`;

/** Returns a sentence of plain text that names the simulated parts; null when there are none. */
export function sandboxSentence(simulated: readonly string[]): string | null {
  if (simulated.length === 0) return null;
  const names = simulated.map((part) => PART_NAMES[part] ?? part).join(' and ');
  return `${names} ${simulated.length === 1 ? 'is' : 'are'} simulated on this machine: no real money moves there and nothing is sent to anyone.`;
}

/** Returns the banner of every page with the simulated outside parts; empty when there are none. */
export function sandboxBanner(simulated: readonly string[]): string {
  const sentence = sandboxSentence(simulated);
  if (sentence === null) return '';
  return `<p class="sandbox-banner" role="note"><b>Sandbox.</b> ${escapeHtml(sentence)}</p>
`;
}

/** The diamond of the header, in a colour that is visible on light and on dark backgrounds. */
export const ICON = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect x="6.5" y="6.5" width="19" height="19" rx="4.5" transform="rotate(45 16 16)" fill="#b57a1c"/></svg>`;

export const ICON_PATH = `/assets/icon-${hash('sha256', ICON, 'hex').slice(0, 16)}.svg`;

/** The same icon as a PNG of 32 pixels, for programs that request `/favicon.ico` without having read a page. */
export const ICON_PNG = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAACAAAAAgBAMAAACBVGfHAAAAMFBMVEVMaXGydyC0eRuwdR21eRu0eRy5fxe1eRx/fwC0ehy1eRu1ehy0eBy0ehz/' +
    'AAC1ehyeQbXnAAAAD3RSTlMAF9QahdgWxgLZStdIxAEvu2j8AAAACXBIWXMAAAsTAAALEwEAmpwYAAAAgklEQVQoz2NgoBrgWOLVgCIg/v9/ITKf' +
    'Uf///58GSAJC/4FgMqoCFCVgBUhKIAqQlEAVwJUw7ocJ/BYAC7T/h4MKsMB6hMAvsIA/QuALdgEkLX/QDb2H3VqGJJhAMNSlbFCnf4X7LglVAUzJ' +
    'V6QQSkJVAFGCrAAcyBfRosHnAfUiFQDhP6gui+XdfQAAAABJRU5ErkJggg==',
  'base64',
);
