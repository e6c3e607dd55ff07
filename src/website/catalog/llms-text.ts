import type { PageFacts } from './page-facts.js';
import { modelPath, priceText } from '../../gateway/catalog/catalog-data.js';
import { COLLECTIONS } from '../../gateway/catalog/model-selection.js';
import { escapeMarkdown } from '../../platform/http/pages/render-markdown.js';

/** Makes `/llms.txt` as llmstxt.org specifies it: a heading, a summary, then lists of links. */
export function llmsText({ models, publicUrl }: PageFacts, sandbox: string | null): string {
  const entry = (name: string, path: string, note: string): string =>
    `- [${escapeMarkdown(name)}](${publicUrl}${path}): ${escapeMarkdown(note)}`;
  return [
    '# Coffer',
    '',
    '> Prepaid credit in front of an OpenAI-compatible image API: top up once, pay per delivered image, nothing for a call that failed.',
    '',
    ...(sandbox === null ? [] : [`Sandbox: ${escapeMarkdown(sandbox)}`, '']),
    `The API's base URL is ${publicUrl}/v1; any OpenAI SDK works with it. Money in answers is integer micro-dollars in strings.`,
    '',
    '## Models',
    '',
    ...models.map((model) =>
      entry(model.name, `${modelPath(model)}.md`, `${priceText(model)}. ${model.tagline}`),
    ),
    '',
    '## Pages',
    '',
    entry('All models', '/models.md', 'list with prices'),
    entry('Pricing', '/pricing.md', 'prices per image, top-up fee with a worked example'),
    entry('Compare', '/compare.md', 'models side by side; choose with ?models=a,b'),
    entry('Rankings', '/rankings.md', 'which models are used most'),
    '',
    '## API',
    '',
    entry('OpenAPI 3.1 document', '/openapi.json', 'every route, field and error'),
    entry('Catalogue as JSON', '/v1/catalog/models', 'models and prices, without a key'),
    '',
    '## Optional',
    '',
    ...Object.entries(COLLECTIONS).map(([name, { heading, lead }]) =>
      entry(heading, `/collections/${name}.md`, lead),
    ),
    '',
  ].join('\n');
}
