import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { MODALITIES, type CatalogModel } from '../../src/gateway/catalog/catalog.js';
import { comparePage } from '../../src/website/catalog/compare-page.js';
import type { PageDocument } from '../../src/platform/http/pages/document.js';
import { collectionPage, modelsPage } from '../../src/website/catalog/list-pages.js';
import { llmsText } from '../../src/website/catalog/llms-text.js';
import { modelPage } from '../../src/website/catalog/model-page.js';
import { pricingPage } from '../../src/website/catalog/pricing-page.js';
import { rankingsPage } from '../../src/website/catalog/rankings-page.js';
import { renderHtml } from '../../src/platform/http/pages/render-html.js';
import { renderMarkdown } from '../../src/platform/http/pages/render-markdown.js';
import { readCatalogFile } from '../../src/gateway/catalog/versions/catalog-file.js';
import { factsOf, priced } from '../support/images/catalog-samples.js';
import { attribute, HtmlPage, textOf } from '../support/html.js';
import { checkProperty } from '../support/property.js';

const { catalog } = await readCatalogFile();
const [SAMPLE] = catalog.models as [CatalogModel];
const FRAME = { publicUrl: 'http://127.0.0.1:3000', sandbox: null };

const NASTY = [
  '<script>alert(1)</script>',
  '"><img src=x onerror=alert(1)>',
  `' onmouseover='alert(1)`,
  '</pre></code></title></style><svg onload=alert(1)>',
  '<!-- --> ]]> &amp; &lt;script&gt;',
  'javascript:alert(1)',
  '${7*7} {{7*7}} `id` $(id)',
  '[a](javascript:alert(1)) | ![](http://x/) # ~~~',
  '```\n</code>',
  '\u202eright to left',
];
const hostile = fc.oneof(
  fc.constantFrom(...NASTY),
  fc.string({ unit: 'grapheme', minLength: 1, maxLength: 60 }),
);

/** The same shape as the sample, with every text of it replaced: worse than what a catalogue may hold. */
const hostileModel = fc.record({ text: hostile, other: hostile }).map(({ text, other }): CatalogModel => ({
  ...SAMPLE,
  id: `${text}/${other}`,
  maker: { id: text, name: other, description: text },
  name: text,
  family: other,
  tagline: text,
  description: SAMPLE.description.map(() => other),
  releasedOn: text,
  strengths: SAMPLE.strengths.map(() => text),
  useCases: SAMPLE.useCases.map(() => other),
}));

function pagesOf(model: CatalogModel): PageDocument[] {
  const facts = factsOf([model]);
  const one = priced(model);
  return [
    modelPage(facts, one),
    modelsPage(facts, { maker: model.maker.id, modality: null, free: false }),
    comparePage(facts, { models: [one], hasUnknown: true }),
    collectionPage(facts, 'more-from-maker', model.maker.id),
    rankingsPage(facts),
    pricingPage(facts),
  ];
}

/** Data for search engines is no script, but it must be data still. */
function scriptsOf(page: HtmlPage): unknown[] {
  return page.all('script').filter((script) => {
    if (attribute(script, 'type') !== 'application/ld+json') return true;
    expect(JSON.parse(textOf(script))).toMatchObject({ '@type': 'Product' });
    return false;
  });
}

describe('the pages', () => {
  const expected = pagesOf(SAMPLE).map((page) => new HtmlPage(renderHtml(page, FRAME)).skeleton);

  it('keep their elements and attributes, whatever text a model holds', async () => {
    expect(Object.keys(MODALITIES).length).toBeGreaterThan(0);
    await checkProperty(
      'pages keep their elements',
      fc.property(hostileModel, (model) => {
        for (const [index, page] of pagesOf(model).entries()) {
          const read = new HtmlPage(renderHtml(page, { ...FRAME, sandbox: null }));
          expect(read.skeleton).toBe(expected[index]);
          expect(scriptsOf(read)).toEqual([]);
        }
      }),
      { runs: 150 },
    );
  });

  it('show the text itself, character for character', () => {
    for (const text of NASTY) {
      const page = new HtmlPage(
        renderHtml(modelPage(factsOf([]), priced({ ...SAMPLE, name: text, tagline: text })), FRAME),
      );
      // A parser drops one line break after <pre>, which none of these begins with.
      expect(page.text.split(text).length).toBeGreaterThan(2);
    }
  });

  it('lead nowhere but to this service, whatever a model is called', async () => {
    await checkProperty(
      'links lead to this service',
      fc.property(hostileModel, (model) => {
        for (const page of pagesOf(model)) {
          const targets = new HtmlPage(renderHtml(page, FRAME)).values('href');
          expect(targets.filter((href) => !/^(\/(?!\/)|#|http:\/\/127\.0\.0\.1:3000\/)/.test(href))).toEqual(
            [],
          );
        }
      }),
      { runs: 100 },
    );
  });

  it('have Markdown twins in which no text becomes markup or another line', async () => {
    const lines = pagesOf(SAMPLE).map((page) => renderMarkdown(page, null).split('\n').length);
    await checkProperty(
      'Markdown twins hold no markup',
      fc.property(hostileModel, (model) => {
        for (const [index, page] of pagesOf(model).entries()) {
          const markdown = renderMarkdown(page, null);
          // Read as CommonMark does, from left to right: what is escaped, and code between equal runs of backticks.
          const prose = markdown.replace(/\\[\s\S]|(`+)[\s\S]*?(?<!`)\1(?!`)/g, '');
          // What is left can neither begin a tag nor leave a code span open.
          expect(prose).not.toMatch(/<[a-z!/]|`/i);
          expect({ index, lines: markdown.split('\n').length }).toEqual({ index, lines: lines[index] });
        }
      }),
      { runs: 100 },
    );
    expect(llmsText(factsOf(catalog.models), null)).toMatch(/^# Coffer\n\n> /);
  });

  it('name simulated parts on every page, in both forms, and in llms.txt', () => {
    const sandbox = 'Stripe is simulated.';
    for (const page of pagesOf(SAMPLE)) {
      expect(new HtmlPage(renderHtml(page, { ...FRAME, sandbox })).text).toContain(sandbox);
      expect(renderMarkdown(page, sandbox)).toContain(sandbox);
      expect(new HtmlPage(renderHtml(page, FRAME)).text).not.toContain('Sandbox');
    }
    expect(llmsText(factsOf(catalog.models), sandbox)).toContain(sandbox);
  });
});
