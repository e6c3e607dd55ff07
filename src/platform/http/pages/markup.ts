import { escapeHtml } from './page.js';

/** Markup that is safe to send. Made by `markup` only, so whatever else is put into a page is escaped. */
export class SafeHtml {
  constructor(readonly text: string) {}
}

export type HtmlValue = string | number | SafeHtml | null | readonly HtmlValue[];

/**
 * Creates markup from a template: markup`<p>${text}</p>`. Text values are escaped, markup from this function is not, lists are
 * joined, and null is empty. The escaping is correct for values in the content of elements or inside double quotes; values are never
 * allowed in the name of a tag or an attribute, in a script or in a style. (The function is not called `html`, because the formatter
 * would rewrite such a template, including its white space.)
 */
export function markup(parts: TemplateStringsArray, ...values: readonly HtmlValue[]): SafeHtml {
  return new SafeHtml(
    parts.reduce(
      (text, part, index) => text + part + (index < values.length ? render(values[index] ?? null) : ''),
      '',
    ),
  );
}

/** Data in a page for those who read it by program. Nothing in it can end the block, and no browser runs it. */
export function dataBlock(data: Readonly<Record<string, unknown>>): SafeHtml {
  const json = JSON.stringify(data).replace(/[<>&]/g, (sign) => `\\u00${sign.charCodeAt(0).toString(16)}`);
  return new SafeHtml(`<script type="application/ld+json">${json}</script>`);
}

function render(value: HtmlValue): string {
  if (value === null) return '';
  if (value instanceof SafeHtml) return value.text;
  if (typeof value === 'string' || typeof value === 'number') return escapeHtml(String(value));
  return value.map(render).join('');
}
