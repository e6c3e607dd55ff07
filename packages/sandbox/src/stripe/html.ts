/** Text that is HTML already. Everything else that enters a template is escaped. */
export class Html {
  constructor(readonly text: string) {}
}

type Interpolated = Html | number | string | readonly Html[] | null;

/** `` html`<p>${name}</p>` ``: whatever a caller of the API wrote into a name cannot become markup. */
export function html(strings: TemplateStringsArray, ...values: readonly Interpolated[]): Html {
  const parts = strings.map((part, index) => part + render(values[index] ?? null));
  return new Html(parts.join(''));
}

function render(value: Interpolated): string {
  if (value === null) return '';
  if (value instanceof Html) return value.text;
  if (typeof value === 'string' || typeof value === 'number') return escapeHtml(String(value));
  return value.map((item) => item.text).join('');
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

function escapeHtml(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => ENTITIES[character] ?? '');
}
