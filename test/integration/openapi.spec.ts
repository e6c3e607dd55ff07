/* eslint-disable @typescript-eslint/no-explicit-any -- documents are inspected as plain JSON */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from '@jest/globals';
import { Validator } from '@seriousme/openapi-schema-validator';
import type { FastifyInstance } from 'fastify';
import { renderOpenApiFile } from '../../src/bootstrap/openapi/openapi-file.js';
import { PROBLEM_CATALOG, type ProblemCode } from '../../src/platform/errors/problem-catalog.js';
import { PROBLEM_KINDS } from '../../src/platform/errors/problem-kinds.js';
import { sharedApp } from '../fixtures/shared-app.js';
import type { TestApp } from '../support/app/test-app.js';

/** Pages and their files: for browsers, not part of the API. */
const PAGES = [
  /^\/$/,
  /^\/docs(\/|\.md|$)/,
  /^\/(favicon\.ico|robots\.txt|sitemap\.xml)$/,
  /^\/openapi\.json$/,
  /^\/(models|compare|collections|rankings|pricing|assets|llms\.txt)/,
];

type Operation = {
  readonly operationId?: string;
  readonly tags?: readonly string[];
  readonly summary?: string;
  readonly security?: readonly Record<string, readonly string[]>[];
  readonly parameters?: readonly { readonly name: string; readonly in: string }[];
  readonly responses: Record<string, { content?: Record<string, { examples?: Record<string, unknown> }> }>;
};

const METHODS = ['get', 'post', 'put', 'patch', 'delete'];

let document: any;
let committed: string;
let service: TestApp;
let registered: string[];

beforeAll(async () => {
  committed = await readFile(fileURLToPath(new URL('../../openapi.json', import.meta.url)), 'utf8');
  document = JSON.parse(await renderOpenApiFile());
  service = await sharedApp();
  registered = routesOf(service.app.getHttpAdapter().getInstance());
});

describe('openapi.json', () => {
  it('begins with making an image, and has the chapters of customers before those of operators', () => {
    expect(operations()[0]?.name).toBe('POST /v1/images/generations');
    const tags = [...new Set(operations().map(({ operation }) => operation.tags?.[0] ?? ''))];
    expect(tags).toEqual(document.tags.map(({ name }: { name: string }) => name));
  });

  it('says of every operation whether it asks for a key, and of its errors at least one that is the caller’s', () => {
    const webhooks = Object.values<any>(document.webhooks).map(({ post }) => post);
    for (const { operation, name } of operations()) {
      expect({ name, says: Array.isArray(operation.security) }).toEqual({ name, says: true });
      const statuses = Object.keys(operation.responses);
      expect({ name, has4xx: statuses.some((status) => status.startsWith('4')) }).toEqual({
        name,
        has4xx: true,
      });
    }
    expect(webhooks.every(({ security }) => Array.isArray(security))).toBe(true);
  });

  it('lets a client leave out what has a default: no member of a body has one of its own', () => {
    const members = Object.values<any>(document.components.schemas).flatMap(({ properties = {} }) =>
      Object.entries<any>(properties),
    );
    expect(members.filter(([, member]) => 'default' in member).map(([name]) => name)).toEqual([]);
    expect(document.components.schemas.CreateImageRequest.properties.n.anyOf).toEqual([
      { type: 'integer', minimum: 1, maximum: 10, default: 1 },
      { type: 'null' },
    ]);
  });

  it('is what the code says: run `npm run openapi` when this fails', async () => {
    expect(committed).toBe(await renderOpenApiFile());
  });

  it('is valid OpenAPI 3.1', async () => {
    const result = await new Validator().validate(structuredClone(document));
    expect(result.errors ?? []).toEqual([]);
    expect(document.openapi).toMatch(/^3\.1\./);
  });

  it('has every route of the running service, and no other', () => {
    const documented = operations().map(({ method, path }) => `${method.toUpperCase()} ${path}`);
    const served = registered.filter((route) => !PAGES.some((page) => page.test(route.split(' ')[1] ?? '')));
    expect(documented.sort()).toEqual(served.sort());
  });

  it('names every operation once, for generated clients, and puts it under a described tag', () => {
    const names = operations().map(({ operation }) => operation.operationId ?? '');
    expect(names.filter((name) => !/^[a-z][a-zA-Z0-9]+$/.test(name))).toEqual([]);
    expect(new Set(names).size).toBe(names.length);
    const tags = new Set(document.tags.map((tag: { name: string }) => tag.name));
    for (const { operation, name } of operations()) {
      expect({ name, tags: operation.tags }).toEqual({ name, tags: [expect.any(String)] });
      expect(tags).toContain(operation.tags?.[0]);
      expect({ name, summary: operation.summary }).toEqual({ name, summary: expect.any(String) });
    }
  });

  it('describes exactly the parameters that a path has', () => {
    for (const { path, operation, name } of operations()) {
      const inPath = [...path.matchAll(/\{([^}]+)\}/g)].map(([, parameter]) => parameter);
      const described = (operation.parameters ?? []).filter((parameter) => parameter.in === 'path');
      expect({ name, path: described.map((parameter) => parameter.name).sort() }).toEqual({
        name,
        path: inPath.sort(),
      });
    }
  });

  it('says what every operation answers when it goes well, with a schema', () => {
    for (const { operation, name } of operations()) {
      const good = Object.entries(operation.responses).filter(([status]) => /^2/.test(status));
      const withSchema = good.filter(([, { content = {} }]) => {
        const media = Object.values(content);
        return media.length > 0 && media.every((one) => 'schema' in one);
      });
      expect({ name, statuses: withSchema.map(([status]) => status) }).toEqual({
        name,
        statuses: good.map(([status]) => status),
      });
      expect({ name, answers: good.length > 0 }).toEqual({ name, answers: true });
    }
  });

  it('gives every object of the answers an example or a description for each of its members', () => {
    const mute = Object.entries<any>(document.components.schemas).flatMap(([schema, { properties = {} }]) =>
      Object.entries<any>(properties)
        .filter(([, member]) => !('description' in member) && !('example' in member) && !('$ref' in member))
        .map(([member]) => `${schema}.${member}`),
    );
    expect(mute).toEqual([]);
  });

  it('lists only errors of the catalogue, each under its own status and with an example', () => {
    for (const { operation, name } of operations()) {
      for (const [status, response] of Object.entries(operation.responses)) {
        if (!/^[45]/.test(status) || (name === 'GET /health/ready' && status === '503')) continue;
        // What no route refuses: below.
        if ('$ref' in response) continue;
        // A page says it in words.
        if (Object.keys(response.content ?? {}).join() === 'text/html') continue;
        const codes = Object.keys(response.content?.['application/json']?.examples ?? {});
        const strangers = codes.filter((code) => !(code in PROBLEM_CATALOG));
        expect({ name, status, codes: codes.length > 0, strangers }).toEqual({
          name,
          status,
          codes: true,
          strangers: [],
        });
        for (const code of codes as ProblemCode[]) {
          const actual = String(PROBLEM_KINDS[PROBLEM_CATALOG[code].kind].status);
          expect({ name, code, status: actual }).toEqual({ name, code, status });
        }
      }
    }
  });

  it('says of every operation what is refused before there is a request', () => {
    const refusals = Object.entries<any>(document.components.responses);
    for (const [name, { content }] of refusals) {
      const codes = Object.keys(content['application/json'].examples);
      expect([name, ...codes]).toEqual([name, 'malformed_http']);
    }
    const references = refusals.map(([name]) => `#/components/responses/${name}`).sort();
    for (const { operation, name } of operations()) {
      // Edits that come too slowly have an error of their own.
      expect([name, Object.keys(operation.responses)]).toEqual([
        name,
        expect.arrayContaining(['408', '417', '431']),
      ]);
      const referred = ['417', '431'].map((status) => Object.values(operation.responses[status] ?? {})[0]);
      expect(references).toEqual(expect.arrayContaining(referred));
    }
  });

  it('asks for a key exactly where the service refuses a call without one', async () => {
    for (const { method, path, operation, name } of operations()) {
      const answer = await service.client(null).send(method.toUpperCase(), path.replace(/\{[^}]+\}/g, 'x'));
      const refused = answer.status === 401;
      const asks = (operation.security ?? []).length > 0;
      expect({ name, asks }).toEqual({ name, asks: refused });
    }
  });
});

function operations(): { method: string; path: string; name: string; operation: Operation }[] {
  return Object.entries<any>(document.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => method in item).map((method) => ({
      method,
      path,
      name: `${method.toUpperCase()} ${path}`,
      operation: item[method] as Operation,
    })),
  );
}

/** `POST /v1/holds/{id}/void`, as the document writes it. Fastify adds HEAD to every GET by itself. */
function routesOf(fastify: FastifyInstance): string[] {
  const routes: string[] = [];
  let path: string[] = [];
  for (const line of fastify.printRoutes({ commonPrefix: false }).split('\n')) {
    const match = /^(?<indent>[│ ]*)[├└]── (?<part>\S*)(?: \((?<methods>[^)]+)\))?/u.exec(line);
    if (!match?.groups) continue;
    const depth = (match.groups['indent'] ?? '').length / 4;
    path = [...path.slice(0, depth), match.groups['part'] ?? ''];
    const url = path
      .join('')
      .replace(/:([a-z_]+)/g, '{$1}')
      .replace(/\/?\*$/, '/{id}')
      .replace(/(?<=.)\/$/, '');
    for (const method of match.groups['methods']?.split(', ') ?? []) {
      if (method !== 'HEAD') routes.push(`${method} ${url}`);
    }
  }
  return routes;
}
