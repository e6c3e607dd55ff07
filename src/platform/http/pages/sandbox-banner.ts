import { escapeHtml } from './page.js';

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
