import { beforeAll, describe, expect, it } from '@jest/globals';
import { toOperations, type ApiDocument } from '../../src/website/reference/api-document.js';
import { sharedApp } from '../fixtures/shared-app.js';
import { attribute, HtmlPage, textOf } from '../support/html.js';
import type { TestApp } from '../support/app/test-app.js';

let service: TestApp;
let document: ApiDocument;
beforeAll(async () => {
  service = await sharedApp();
  document = (await service.client(null).get('/openapi.json')).expect(200).body as ApiDocument;
});

const parsed = new Map<string, HtmlPage>();
async function read(path: string): Promise<HtmlPage> {
  const page =
    parsed.get(path) ?? new HtmlPage(String((await service.client(null).get(path)).expect(200).body));
  parsed.set(path, page);
  return page;
}

describe('the API reference', () => {
  it('begins with making an image, and names every operation under who may call it', async () => {
    const page = await read('/docs');
    const routes = page
      .all('code')
      .map(textOf)
      .filter((text) => /^(GET|POST|PUT|PATCH|DELETE) \//.test(text));
    expect(routes[0]).toBe('POST /v1/images/generations');
    const expected = toOperations(document).map(({ method, path }) => `${method.toUpperCase()} ${path}`);
    expect([...routes].sort()).toEqual(expected.sort());
    expect(page.all('h2').map(textOf)).toEqual([
      'For customers',
      'For an outside gateway',
      'For finance',
      'For operators',
      'For machines',
    ]);
  });

  it('has of every operation who may call it, a command, and every field and error of the document', async () => {
    for (const { method, path, operation } of toOperations(document)) {
      const chapter = `/docs/${operation.tags[0]?.toLowerCase().replaceAll(/[^a-z0-9]+/g, '_') ?? ''}`;
      const page = await read(chapter);
      const section = page
        .all('section')
        .find((one) => attribute(one, 'aria-labelledby') === operation.operationId);
      const text = section === undefined ? '' : textOf(section);
      const [scope] = Object.values(operation.security?.[0] ?? {})[0] ?? [];
      expect(text).toContain(`${method.toUpperCase()} ${path}`);
      expect(text).toContain(scope ?? 'key');
      expect(text).toContain(`curl ${method === 'get' ? '' : `-X ${method.toUpperCase()} `}`);
      for (const { name } of operation.parameters ?? []) expect(text).toContain(name);
      for (const response of Object.values(operation.responses)) {
        const codes = Object.keys(response.content?.['application/json']?.examples ?? {});
        for (const code of codes) expect(text).toContain(code);
      }
      const { $ref = '' } = operation.requestBody?.content['application/json']?.schema ?? {};
      const schema = document.components?.schemas?.[$ref.split('/').at(-1) ?? ''];
      for (const name of Object.keys(schema?.properties ?? {})) expect(text).toContain(name);
    }
  });

  it('gives commands that the service takes: each answers as documented, and never that it is malformed', async () => {
    const body = { model: 'x', prompt: 'y' };
    expect((await service.client(null).post('/v1/images/generations', body)).status).toBe(401);
    const customer = await service.createCustomer();
    const page = await read('/docs/images');
    const command = page.all('pre').map(textOf)[0] ?? '';
    const json = JSON.parse(/-d '(.*)'$/s.exec(command)?.[1] ?? '{}') as Record<string, unknown>;
    expect(Object.keys(json).sort()).toEqual(['model', 'prompt']);
    expect((await customer.client.post('/v1/images/generations', json)).body.error.code).toBe(
      'insufficient_credits',
    );
  });

  it('is plain HTML that is whole, in order, light, and says the same as Markdown', async () => {
    const first = await read('/docs');
    const chapters = new Set(
      first
        .values('href')
        .filter((href) => /^\/docs\/[a-z_]+(#|$)/.test(href) && href !== '/docs/console')
        .map((href) => href.replace(/#.*/, '')),
    );
    expect(chapters.size).toBeGreaterThan(10);
    for (const path of ['/docs', ...chapters]) {
      const page = await read(path);
      expect({ path, faults: page.faults }).toEqual({ path, faults: [] });
      const ids = page.values('id');
      expect(new Set(ids).size).toBe(ids.length);
      const captions = page.all('caption').map(textOf);
      expect(new Set(captions).size).toBe(captions.length);
      const twin = String((await service.client(null).get(`${path}.md`)).expect(200).body);
      for (const heading of page.all('h2')) expect(twin.replaceAll('\\', '')).toContain(textOf(heading));
      const anchors = first.values('href').filter((href) => href.startsWith(`${path}#`));
      for (const anchor of anchors) expect(ids).toContain(anchor.split('#')[1]);
    }
  });

  it('is not sent again while it is the same, and has no chapter that does not exist', async () => {
    const client = service.client(null);
    const etag = (await client.get('/docs/wallet')).expect(200).headers.get('etag') ?? '';
    (await client.get('/docs/wallet', { 'if-none-match': etag })).expect(304);
    (await client.get('/docs/nothing')).expect(404);
  });
});
