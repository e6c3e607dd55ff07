/* eslint-disable @typescript-eslint/no-explicit-any -- documents are inspected as plain JSON */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { cents, centsToMicros, formatUsd } from '../../src/platform/common/money.js';
import { PROBLEM_CATALOG } from '../../src/platform/errors/problem-catalog.js';
import { quoteTopUp } from '../../src/payments/top-ups/quote.js';
import { UsageRollUpService } from '../../src/gateway/usage/usage-roll-up.service.js';
import { generate, MODEL } from '../fixtures/images.js';
import { attribute, hasName, HtmlPage, textOf } from '../support/html.js';
import { startTestApp, type TestApp } from '../support/app/test-app.js';
import type { TestAnswer } from '../support/app/test-client.js';

const FREE = 'black-forest-labs/flux-2-klein-4b';
const PAGES = [
  '/models',
  '/models?price=free',
  '/models?maker=black-forest-labs',
  `/models/${MODEL}`,
  `/models/${FREE}`,
  '/compare',
  `/compare?models=${MODEL},${FREE}`,
  `/compare?models=${MODEL}&models=nobody/nothing`,
  '/collections/more-image-models',
  '/collections/more-from-maker',
  '/collections/more-from-maker?maker=black-forest-labs',
  '/collections/free',
  '/rankings',
  '/pricing',
];

/** The ranking is added up once a minute. */
const A_MINUTE_MS = 61_000;
const HOUR_MS = 3_600_000;

let service: TestApp;
const get = (path: string, headers: Record<string, string> = {}): Promise<TestAnswer> =>
  service.client(null).get(path, headers);
const read = async (path: string): Promise<HtmlPage> =>
  new HtmlPage(String((await get(path)).expect(200).body));

beforeAll(async () => {
  service = await startTestApp({ blackForestLabs: true });
});
afterAll(() => service.close());

describe.each(PAGES)('%s', (path) => {
  it('is whole HTML without a script, and loads nothing but our own style sheet', async () => {
    const page = await read(path);
    expect(page.faults).toEqual([]);
    // Data for search engines is in a `script` that no browser runs.
    const scripts = page
      .all('script')
      .filter((script) => attribute(script, 'type') !== 'application/ld+json');
    expect([...scripts, ...page.all('style'), ...page.all('iframe'), ...page.all('img')]).toEqual([]);
    expect(page.values('style')).toEqual([]);
    expect(page.elements.flatMap(({ attrs }) => attrs.filter(({ name }) => name.startsWith('on')))).toEqual(
      [],
    );
    const sheets = page.all('link').filter((link) => attribute(link, 'rel') === 'stylesheet');
    expect(sheets.map((link) => attribute(link, 'href'))).toEqual([
      expect.stringMatching(/^\/assets\/pages-[0-9a-f]{16}\.css$/),
    ]);
  });

  it('forbids the browser everything that it does not need', async () => {
    const { headers } = (await get(path)).expect(200);
    const policy = headers.get('content-security-policy') ?? '';
    expect(policy).toContain(`default-src 'none'`);
    expect(policy).toContain(`style-src 'self'`);
    expect(policy).not.toMatch(/unsafe|script-src|https?:|data:/);
  });

  it('can be read aloud and by keyboard: language, title, one main, one h1, headings in order, tables with headers', async () => {
    const page = await read(path);
    expect(attribute(page.all('html')[0] as never, 'lang')).toBe('en');
    expect(textOf(page.all('title')[0] as never).length).toBeGreaterThan(3);
    expect(page.all('main')).toHaveLength(1);
    expect(page.all('h1')).toHaveLength(1);
    const levels = page.elements.flatMap(({ tagName }) =>
      /^h[1-6]$/.test(tagName) ? Number(tagName[1]) : [],
    );
    levels.reduce((before, level) => {
      expect(level - before).toBeLessThanOrEqual(
        path.startsWith('/models') || path.includes('collections') ? 2 : 1,
      );
      return level;
    });
    const ids = page.values('id');
    expect(new Set(ids).size).toBe(ids.length);
    expect(page.all('caption')).toHaveLength(page.all('table').length);
    expect(page.all('th').every((cell) => attribute(cell, 'scope') !== undefined)).toBe(true);
    expect(page.all('nav').every((nav) => attribute(nav, 'aria-label') !== undefined)).toBe(true);
    const nameless = page.elements.filter((element) => !hasName(element)).map(({ tagName }) => tagName);
    expect(nameless).toEqual([]);
  });

  it('leads only to addresses and anchors that exist', async () => {
    const page = await read(path);
    const ids = new Set(page.values('id'));
    const targets = new Set(page.values('href').map((href) => href.replace(service.url, '')));
    for (const target of targets) {
      if (target.startsWith('#')) expect(ids).toContain(target.slice(1));
      else expect({ target, status: (await get(target)).status }).toEqual({ target, status: 200 });
    }
  });

  it('is not sent again while it says the same', async () => {
    const first = (await get(path)).expect(200);
    const etag = first.headers.get('etag') ?? '';
    expect(etag).toMatch(/^"[\w-]{27}"$/);
    expect(first.headers.get('cache-control')).toBe('public, max-age=60');
    const second = (await get(path, { 'if-none-match': `"other", W/${etag}` })).expect(304);
    expect(second.body).toBe('');
    expect(second.headers.get('etag')).toBe(etag);
    (await get(path, { 'if-none-match': '"other"' })).expect(200);
  });

  it('says the same as Markdown: every heading and every price of it', async () => {
    const [route = '', query] = path.split('?');
    const twin = (await get(`${route}.md${query === undefined ? '' : `?${query}`}`)).expect(200);
    expect(twin.headers.get('content-type')).toBe('text/markdown; charset=utf-8');
    const plain = String(twin.body).replaceAll('\\', '');
    const page = await read(path);
    for (const heading of [...page.all('h1'), ...page.all('h2')]) expect(plain).toContain(textOf(heading));
    for (const [price = ''] of page.text.matchAll(/\$\d[\d.,]*\d/g)) expect(plain).toContain(price);
  });
});

describe('the page of a model', () => {
  it('has all that a first call needs: facts, snippets for making and for editing, the schema, every error, questions', async () => {
    const page = await read(`/models/${MODEL}`);
    const sections = page.all('h2').map(textOf);
    expect(sections).toEqual([
      'About',
      'Quickstart',
      'Editing',
      'Limits',
      'Request',
      'Response',
      'Errors',
      'Questions',
      'More',
    ]);
    for (const fact of [
      '$0.04 per image',
      '2026-01-14',
      'Text to image',
      'Photorealism',
      'Marketing assets',
      '1024x1024',
    ]) {
      expect(page.text).toContain(fact);
    }
    expect(page.all('figcaption').map(textOf)).toEqual([
      'curl',
      'Python',
      'JavaScript',
      'curl',
      'Python',
      'JavaScript',
    ]);
    const document = (await get('/openapi.json')).body;
    const { properties } = document.components.schemas.CreateImageRequest;
    const cells = page.all('th').map(textOf);
    for (const name of Object.keys(properties)) expect(cells).toContain(name);
    const { responses } = document.paths['/v1/images/generations'].post;
    const codes = Object.entries<any>(responses)
      .filter(([status]) => status >= '400')
      // What no route refuses has one description for all of them.
      .filter(([, response]) => !('$ref' in response))
      .flatMap(([, response]) => Object.keys(response.content['application/json'].examples));
    expect(codes.length).toBeGreaterThan(20);
    for (const code of codes) {
      expect(cells).toContain(code);
      expect(page.text).toContain(
        PROBLEM_CATALOG[code as keyof typeof PROBLEM_CATALOG].summary.replaceAll('`', ''),
      );
    }
  });

  it('says to search engines what the model is and costs, and has its price from the price book', async () => {
    const page = await read(`/models/${MODEL}`);
    const [data] = page.all('script');
    expect(JSON.parse(textOf(data as never))).toMatchObject({
      '@type': 'Product',
      sku: MODEL,
      url: `${service.url}/models/${MODEL}`,
      offers: { '@type': 'Offer', price: '0.04', priceCurrency: 'USD' },
    });
  });

  it('is a 404 page for a model that does not exist, which repeats nothing of the address', async () => {
    for (const path of [
      '/models/nobody/nothing',
      '/models/nobody/nothing.md',
      '/collections/nothing',
      '/models/%3Cscript%3E/x',
    ]) {
      const { body } = (await get(path)).expect(404);
      expect(String(body)).toContain('There is no such page');
      expect(String(body)).not.toMatch(/nobody|nothing|%3C|<script/);
    }
  });
});

describe('the pricing page', () => {
  it('explains the fee with the very quote that a top-up is charged by', async () => {
    const quote = quoteTopUp(cents(10_000n), service.settings.topUp);
    const [credit, fee, charge] = [quote?.creditCents, quote?.feeCents, quote?.chargeCents].map((amount) =>
      formatUsd(centsToMicros(amount ?? cents(0n))),
    );
    expect([credit, fee, charge]).toEqual(['$100.00', '$5.00', '$105.00']);
    const { text } = await read('/pricing');
    expect(text).toContain(`${credit} of credit, plus 5% (${fee}), is ${charge} to pay`);
    const { body } = (await get('/v1/catalog/pricing')).expect(200);
    expect(body.top_up_examples).toContainEqual({
      credit_micros: '100000000',
      fee_micros: '5000000',
      charge_cents: 10_500,
    });
  });
});

describe('the comparison', () => {
  it('takes what a form sends and what a link says, and repeats no name that does not exist', async () => {
    const form = await read(
      `/compare?models=${encodeURIComponent(MODEL)}&models=${encodeURIComponent(FREE)}`,
    );
    const listed = await read(`/compare?models=${MODEL},${FREE}`);
    expect(form.text).toBe(listed.text);
    for (const suffix of ['', '.md']) {
      const path = `/compare${suffix}?models=${MODEL},Refunds-at-coffer.example&models=%3Cb%3Ex`;
      const page = await fetch(`${service.url}${path}`).then((answer) => answer.text());
      expect(page).toContain('Some of the models that were asked for do not exist.');
      expect(page).not.toMatch(/refunds-at|b>x|b&gt;x/i);
    }
  });
});

describe('the ranking', () => {
  it('counts delivered images of real calls, over all customers, and says nothing of any of them', async () => {
    const one = await service.createCustomer({ name: 'Alpha Customer', grantMicros: 1_000_000n });
    const two = await service.createCustomer({ name: 'Beta Customer' });
    (await generate(one, { n: 2, user: 'end-user-7' })).expect(200);
    (await generate(two, { model: FREE })).expect(200);
    expect((await generate(one, { prompt: '[sandbox:error]' })).status).toBeGreaterThanOrEqual(400);
    await service.app.get(UsageRollUpService).catchUp();
    const counts = await service.dataSource.query<{ model: string; images: string }[]>(
      'SELECT model, sum(images) AS images FROM model_usage GROUP BY model ORDER BY model',
    );
    expect(counts).toEqual([
      { model: FREE, images: '1' },
      { model: MODEL, images: '2' },
    ]);
    await later(A_MINUTE_MS, async () => {
      const { body } = (await get('/v1/catalog/rankings')).expect(200);
      for (const window of ['day', 'week', 'month']) {
        expect(body[window]).toEqual([
          { model: MODEL, images: 2 },
          { model: FREE, images: 1 },
        ]);
      }
      const page = String((await get('/rankings')).expect(200).body);
      const names = new HtmlPage(page).values('aria-label').filter((name) => name.startsWith('Images'));
      expect(new Set(names).size).toBe(3);
      expect(page).toContain('<rect width="50" height="4"/>');
      expect(JSON.stringify(body) + page).not.toMatch(/Alpha|Beta|end-user|acct_|key_/);
    });
  });

  it('counts the hours that it missed, and none twice however many processes count', async () => {
    const customer = await service.createCustomer({ grantMicros: 1_000_000n });
    const usage = service.app.get(UsageRollUpService);
    await usage.catchUp();
    const before = await countedImages();
    await later(5 * HOUR_MS, async () => {
      (await generate(customer)).expect(200);
    });
    await later(9 * HOUR_MS, async () => {
      await Promise.all([usage.catchUp(), usage.catchUp(), usage.catchUp()]);
    });
    expect(await countedImages()).toBe(before + 1n);
  });
});

async function countedImages(): Promise<bigint> {
  const [row] = await service.dataSource.query<{ images: string }[]>(
    'SELECT sum(images) AS images FROM model_usage',
  );
  return BigInt(row?.images ?? '0');
}

describe('what crawlers ask for', () => {
  it('is there: robots.txt names the sitemap, and every page of that exists', async () => {
    const robots = String((await get('/robots.txt')).expect(200).body);
    expect(robots).toContain(`Sitemap: ${service.url}/sitemap.xml`);
    expect(robots).toMatch(/^Disallow: \/v1\/$/m);
    const { body, headers } = (await get('/sitemap.xml')).expect(200);
    expect(headers.get('content-type')).toBe('application/xml; charset=utf-8');
    const pages = [...String(body).matchAll(/<loc>([^<]+)<\/loc>/g)].map(([, url = '']) => url);
    expect(pages).toContain(`${service.url}/models/${MODEL}`);
    for (const url of pages) (await get(url.replace(service.url, ''))).expect(200);
  });

  it.each(PAGES)('%s has an icon, and a title and a description for previews of links', async (path) => {
    const page = await read(path);
    const named = Object.fromEntries(
      page.all('meta').map((meta) => [attribute(meta, 'property') ?? '', attribute(meta, 'content') ?? '']),
    );
    expect(named['og:title']).toBe(textOf(page.all('title')[0] as never));
    expect(named['og:description']?.length).toBeGreaterThan(10);
    expect(named['og:url']).toMatch(service.url);
    const icon = page.all('link').find((link) => attribute(link, 'rel') === 'icon');
    expect((await get(attribute(icon as never, 'href') ?? '')).expect(200).headers.get('content-type')).toBe(
      'image/svg+xml',
    );
    (await get('/favicon.ico')).expect(200);
  });
});

describe('a table of a page', () => {
  it.each(PAGES)('of %s names the column of each cell, for a screen too narrow for columns', async (path) => {
    const page = await read(path);
    for (const cell of page.all('td')) {
      const isOfList = attribute(cell, 'role') === 'cell';
      if (isOfList) expect(attribute(cell, 'data-column')?.length).toBeGreaterThan(1);
    }
    const isOfErrors = (cell: ReturnType<typeof page.all>[number]) =>
      attribute(cell, 'data-column') === 'Meaning';
    expect(page.all('td').some(isOfErrors)).toBe(path.startsWith('/models/'));
    const captions = page.all('caption').map(textOf);
    expect(new Set(captions).size).toBe(captions.length);
    expect(page.all('th').map(textOf)).not.toContain('');
  });
});

describe('llms.txt', () => {
  it('lists every model, page and document, each of which is there', async () => {
    const { body, headers } = (await get('/llms.txt')).expect(200);
    expect(headers.get('content-type')).toBe('text/plain; charset=utf-8');
    const targets = [...String(body).matchAll(/\]\((\S+)\): /g)].map(([, target = '']) => target);
    expect(targets.length).toBeGreaterThan(8);
    expect(targets.filter((target) => !target.startsWith(service.url))).toEqual([]);
    for (const target of targets) (await get(target)).expect(200);
    expect(targets).toContain(`${service.url}/models/${MODEL}.md`);
  });
});

describe('the style sheet', () => {
  it('may be kept permanently under its name, and knows both colour schemes', async () => {
    const page = await read('/models');
    const sheet = page.all('link').find((link) => attribute(link, 'rel') === 'stylesheet');
    const { body, headers } = (await get(attribute(sheet as never, 'href') ?? '')).expect(200);
    expect(headers.get('cache-control')).toBe('public, max-age=31536000, immutable');
    expect(headers.get('content-type')).toBe('text/css; charset=utf-8');
    expect(body).toContain('prefers-color-scheme: dark');
    expect(body).not.toMatch(/url\(|@import/);
  });

  it('has enough contrast for text in both schemes: 4.5 to 1', async () => {
    const { STYLE } = await import('../../src/platform/http/pages/style.js');
    const [light = '', dark = ''] = STYLE.split('prefers-color-scheme: dark');
    for (const scheme of [light, dark]) {
      const colour = (name: string): string =>
        new RegExp(`--${name}: (#[0-9a-f]{6})`).exec(scheme)?.[1] ?? '';
      for (const ground of ['ground', 'panel', 'sunken']) {
        for (const ink of ['ink', 'soft', 'accent', 'code']) {
          const ratio = contrast(colour(ink), colour(ground));
          expect({ ink, ground, enough: ratio >= 4.5 }).toEqual({ ink, ground, enough: true });
        }
      }
      for (const ground of ['warn', 'accent-soft'])
        expect(contrast(colour('ink'), colour(ground))).toBeGreaterThanOrEqual(4.5);
    }
  });
});

/** The clock of the service runs ahead for as long as the work takes. */
async function later(byMs: number, work: () => Promise<void>): Promise<void> {
  service.clock.aheadMs = byMs;
  try {
    await work();
  } finally {
    service.clock.reset();
  }
}

/** WCAG 2.2: relative luminance of two sRGB colours. */
function contrast(one: string, other: string): number {
  const [lighter = 0, darker = 0] = [one, other].map(luminance).sort((a, b) => b - a);
  return (lighter + 0.05) / (darker + 0.05);
}

function luminance(colour: string): number {
  const [red = 0, green = 0, blue = 0] = [1, 3, 5].map((at) => {
    const part = Number.parseInt(colour.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}
