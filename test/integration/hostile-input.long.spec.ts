import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { newId, type IdKind } from '../../src/platform/common/ids.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';
import type { TestAnswer, TestClient } from '../support/app/test-client.js';

/* Whatever is sent as any parameter of any documented route is refused or accepted, and never fails as a fault of ours. */

type Schema = {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly example?: unknown;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly items?: Schema;
  readonly minimum?: number;
};
type Parameter = {
  readonly name: string;
  readonly in: 'path' | 'query' | 'header';
  readonly required?: boolean;
  readonly schema?: Schema;
};
type Response = { readonly content?: Readonly<Record<string, { readonly examples?: object }>> };
type Operation = {
  readonly security?: readonly Record<string, unknown>[];
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: Schema }>> };
  readonly responses: Readonly<Record<string, Response>>;
};
type Document = {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> };
};
type Case = { readonly method: string; readonly path: string; readonly operation: Operation };

/** Values as a URL spells them. */
const IN_URLS = [
  '%00',
  'a%00b',
  '%ED%A0%80',
  '%F0%9F%A6%8A',
  '%',
  '%2e%2e%2f%2e%2e%2f',
  '__proto__',
  'constructor',
  '%27OR%201=1',
  '-1',
  '1e9',
  '99999999999999999999',
  'NaN',
  '0001-01-01',
  '9999-12-31',
  '294277-01-01',
  'x'.repeat(3_000),
  '[]',
  '%F0%9F%A6%8A'.repeat(64),
];
/** Values in a JSON body. */
const IN_BODIES: readonly unknown[] = [
  '\u0000',
  'a\u0000b',
  'half \ud83e',
  '\u202e\u200b',
  '',
  ' ',
  '__proto__',
  "'OR 1=1",
  '🦊',
  'x'.repeat(40_000),
  'NaN',
  '-0',
  '1e3',
  '999999999',
  0,
  -1,
  1.5,
  2 ** 31,
  2 ** 53,
  Number.MAX_VALUE,
  null,
  true,
  [],
  [null],
  [['a']],
  ['\u0000'],
  {},
  { toString: 'x' },
  { constructor: { name: 'x' } },
];
const ID_KINDS: readonly IdKind[] = ['account', 'apiKey', 'generation', 'hold', 'topUp', 'webhookEndpoint'];

let document: Document;
let service: TestApp;
let customer: TestCustomer;
/** What exists, for the parameters that are not being tried. */
let known: Readonly<Record<string, string>>;
/** Keys with a right that hardly any route asks for. */
let weakKey: string;
let weakOperatorKey: string;

beforeAll(async () => {
  const file = fileURLToPath(new URL('../../openapi.json', import.meta.url));
  document = JSON.parse(await readFile(file, 'utf8')) as Document;
  service = await startTestApp({ stripe: true, blackForestLabs: true });
  customer = await service.createCustomer({ grantMicros: 100_000_000n });
  const image = { model: 'black-forest-labs/flux-2-klein-9b', prompt: 'a fox' };
  const generation = (await customer.client.post('/v1/images/generations', image)).expect(200);
  const hold = { account: customer.accountId, reference: 'a-hold', amount_micros: '40000' };
  const endpoint = { url: 'https://example.com/hook', events: ['wallet.low'] };
  const apiKey = { name: 'another', scopes: ['generate'] };
  const weak = { name: 'weak', scopes: ['keys:write'] };
  weakKey = String((await customer.client.post('/v1/api_keys', weak)).expect(201).body.secret);
  const weakOperator = { name: 'weak', scopes: ['finance'] };
  weakOperatorKey = String(
    (await service.operator.post('/v1/operator_keys', weakOperator)).expect(201).body.secret,
  );
  known = {
    accounts: customer.accountId,
    generations: String(generation.headers.get('x-generation-id')),
    holds: idOf(await service.operator.post('/v1/holds', hold)),
    webhook_endpoints: idOf(await customer.client.post('/v1/webhook_endpoints', endpoint)),
    api_keys: idOf(await customer.client.post('/v1/api_keys', apiKey)),
    top_ups: idOf(await customer.client.post('/v1/top_ups', { credit_cents: 1_000 })),
  };
});
afterAll(() => service.close());

function idOf(answer: TestAnswer): string {
  const { id } = answer.body as { id: unknown };
  if (typeof id !== 'string') throw new Error(`no id in ${JSON.stringify(answer.body)}`);
  return id;
}

function cases(): Case[] {
  return Object.entries(document.paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, operation]) => ({ method, path, operation })),
  );
}

function clientOf({ security = [] }: Operation): TestClient {
  if (security.length === 0) return service.client(null);
  return security.some((scheme) => 'operator_key' in scheme) ? service.operator : customer.client;
}

/** `/v1/holds/{id}/void` becomes the path of the hold that there is. */
function pathWith(template: string, parameters: Readonly<Record<string, string>> = {}): string {
  return template.replace(/([^/]*)\/\{(\w+)\}/g, (_all, resource: string, name: string) => {
    return `${resource}/${parameters[name] ?? known[resource] ?? 'none'}`;
  });
}

function resolved(schema: Schema): Schema {
  const name = schema.$ref?.split('/').at(-1);
  return name === undefined ? schema : (document.components.schemas[name] ?? schema);
}

function sampleOf(schema: Schema): unknown {
  const { type, example, properties, required = [], items, minimum } = resolved(schema);
  if (example !== undefined) return example;
  if (properties !== undefined) {
    return Object.fromEntries(required.map((name) => [name, sampleOf(properties[name] ?? {})]));
  }
  if (items !== undefined) return [sampleOf(items)];
  return type === 'integer' ? (minimum ?? 1) : type === 'boolean' ? false : 'a text';
}

/** The body as it should be, with a hostile value in one place. */
function bodiesOf(schema: Schema): unknown[] {
  const { properties = {} } = resolved(schema);
  const sample = {
    ...(sampleOf(schema) as object),
    ...('account' in properties ? { account: known['accounts'] } : {}),
  };
  return Object.entries(properties).flatMap(([name, property]) => [
    ...IN_BODIES.map((value) => ({ ...sample, [name]: value })),
    ...nested(property).map((value) => ({ ...sample, [name]: value })),
  ]);
}

function nested(schema: Schema): unknown[] {
  const { items, properties } = resolved(schema);
  if (items !== undefined)
    return [...IN_BODIES.map((value) => [value]), ...nested(items).map((value) => [value])];
  return properties === undefined ? [] : bodiesOf(schema);
}

/** The path with what exists, and a good value for every query that the operation wants; `tried` is left out. */
function addressOf({ path, operation }: Case, tried = ''): string {
  const query = (operation.parameters ?? [])
    .filter(
      (parameter) => parameter.in === 'query' && parameter.required === true && parameter.name !== tried,
    )
    .map(({ name, schema }) => `${name}=${encodeURIComponent(String(sampleOf(schema ?? {})))}`);
  return `${pathWith(path)}?${query.join('&')}`;
}

/** Of other routes than the one that is tried: a value in a path may lead there. */
const ELSEWHERE = ['route_not_found', 'method_not_allowed'];

/** An answer is a fault of ours when it says so, or when the document does not say that the operation gives it. */
function faultsIn(answer: TestAnswer, { method, operation }: Case, what: string): string[] {
  const error = (answer.body as { error?: { code?: unknown } } | undefined)?.error;
  const code = typeof error?.code === 'string' ? error.code : '';
  if (ELSEWHERE.includes(code)) return [];
  const answered = `${method} ${what.slice(0, 300)}: ${answer.status} ${code}`;
  const documented = operation.responses[String(answer.status)];
  if (documented === undefined) return [`${answered} is not documented`];
  if (answer.status < 400) return [];
  if (answer.status >= 500 || code === 'internal_error') return [answered];
  const codes =
    '$ref' in documented
      ? ['malformed_http']
      : Object.keys(documented.content?.['application/json']?.examples ?? {});
  // A page has no code.
  if ('text/html' in (documented.content ?? {})) return [];
  return codes.includes(code) ? [] : [`${answered} is not documented`];
}

async function faultsOf(one: Case, path: string, body?: unknown): Promise<string[]> {
  const { method, operation } = one;
  const options = body === undefined ? {} : { body };
  const answer = await clientOf(operation).send(method.toUpperCase(), path, options);
  return faultsIn(answer, one, `${path.slice(0, 200)} ${JSON.stringify(body)?.slice(0, 200) ?? ''}`);
}

describe('hostile input', () => {
  it('in any part of a path is refused, or names nothing', async () => {
    const faults: string[] = [];
    for (const one of cases()) {
      const { path, operation } = one;
      for (const { name } of (operation.parameters ?? []).filter((parameter) => parameter.in === 'path')) {
        const strange = [...IN_URLS, ...ID_KINDS.map((kind) => newId(kind)), `${newId('generation')}%00`];
        for (const value of strange) {
          const body = operation.requestBody?.content['application/json'];
          const sample = body === undefined ? undefined : sampleOf(body.schema);
          faults.push(...(await faultsOf(one, pathWith(path, { [name]: value }), sample)));
        }
      }
    }
    expect(faults).toEqual([]);
  });

  it('in any query is refused, or finds nothing', async () => {
    const faults: string[] = [];
    for (const one of cases()) {
      const queried = (one.operation.parameters ?? []).filter((parameter) => parameter.in === 'query');
      for (const { name } of queried) {
        const queries = IN_URLS.flatMap((value) => [`${name}=${value}`, `${name}[a]=${value}`]);
        for (const query of [...queries, `${name}=1&${name}=2`, `${name}`, `${name}=&stranger=1`]) {
          faults.push(...(await faultsOf(one, `${addressOf(one, name)}&${query}`)));
        }
      }
    }
    expect(faults).toEqual([]);
  });

  it('in any place of a body is refused, or taken for what it is', async () => {
    const faults: string[] = [];
    for (const one of cases()) {
      const schema = one.operation.requestBody?.content['application/json']?.schema;
      if (schema === undefined) continue;
      for (const body of [...IN_BODIES, ...bodiesOf(schema)]) {
        faults.push(...(await faultsOf(one, addressOf(one), body)));
      }
    }
    expect(faults).toEqual([]);
    await expectBooksToBalance(service.dataSource);
  });

  it('in headers, another key, a body of another type or size: every answer is one that the document lists', async () => {
    const faults: string[] = [];
    const keys: readonly Record<string, string>[] = [
      {},
      { authorization: 'Bearer nonsense' },
      { authorization: `Bearer ${customer.apiKey}` },
      { authorization: `Bearer ${weakKey}` },
      { authorization: `Bearer ${weakOperatorKey}` },
    ];
    for (const one of cases()) {
      const { method, operation } = one;
      const type = { 'content-type': 'application/json' };
      const tries: [headers: Record<string, string>, body?: string][] = [
        ...keys.map((key): [Record<string, string>] => [key]),
        [{ 'idempotency-key': 'x'.repeat(300) }],
        [{ 'idempotency-key': 'a key' }],
        [{ 'x-coffer-tag': 'x'.repeat(200) }],
        [{ 'if-none-match': '*' }],
        [{ accept: 'application/xml' }],
        ...(method === 'get'
          ? []
          : ([
              [type, '{'],
              [type, '[[[['.repeat(2_000)],
              [type, `{"a":"${'x'.repeat(1_100_000)}"}`],
              [{ 'content-type': 'text/plain' }, 'text'],
              [{ 'content-type': 'multipart/form-data; boundary=x' }, '--x--'],
            ] as [Record<string, string>, string][])),
      ];
      for (const [headers, body] of tries) {
        const client = keys.includes(headers) ? service.client(null) : clientOf(operation);
        const options = body === undefined ? { headers } : { headers, body };
        const answer = await client.send(method.toUpperCase(), addressOf(one), options);
        faults.push(
          ...faultsIn(answer, one, `${one.path} ${JSON.stringify(headers)} ${body?.slice(0, 40) ?? ''}`),
        );
      }
    }
    expect(faults).toEqual([]);
  });
});
