import { readFileSync } from 'node:fs';
import { JSON_MEMBERS_MAX } from '../../src/platform/http/request-bodies.js';

/* The largest and most intricate requests that can be sent, for every documented route: see that they cost little. */

type Operation = {
  readonly security?: readonly Record<string, readonly string[]>[];
  readonly responses: Route['responses'];
  readonly parameters?: readonly { readonly name: string; readonly in: string }[];
  readonly requestBody?: {
    readonly content: Readonly<Record<string, { readonly schema: { readonly $ref?: string } }>>;
  };
};
type Document = {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: {
    readonly schemas: Readonly<Record<string, { readonly properties?: Readonly<Record<string, unknown>> }>>;
  };
};

export type Route = {
  readonly method: string;
  /** Every parameter is `none`. */
  readonly path: string;
  /** With the names of its parameters. */
  readonly template: string;
  readonly queryNames: readonly string[];
  readonly headerNames: readonly string[];
  /** Whose key it wants; null: none. */
  readonly key: 'operator' | 'account' | null;
  /** The scope that it requires; empty: none. */
  readonly scope: string;
  readonly responses: Readonly<Record<string, { readonly headers?: object }>>;
  /** What its body may have; null: it takes none. */
  readonly members: readonly string[] | null;
};

/** Every route of the committed `openapi.json`. */
export function documentedRoutes(): readonly Route[] {
  const file = new URL('../../openapi.json', import.meta.url);
  const { paths, components } = JSON.parse(readFileSync(file, 'utf8')) as Document;
  return Object.entries(paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, { security = [], requestBody, responses, parameters = [] }]) => {
      const isOperator = security.some((scheme) => 'operator_key' in scheme);
      const schema = requestBody?.content['application/json']?.schema.$ref?.split('/').at(-1) ?? '';
      const namesIn = (place: string): string[] =>
        parameters.flatMap((parameter) => (parameter.in === place ? [parameter.name] : []));
      return {
        template: path,
        queryNames: namesIn('query'),
        headerNames: namesIn('header'),
        method: method.toUpperCase(),
        path: path.replace(/\{\w+\}/g, 'none'),
        key: isOperator ? 'operator' : security.length > 0 ? 'account' : null,
        scope: Object.values(security[0] ?? {}).flat()[0] ?? '',
        responses,
        members:
          requestBody === undefined
            ? null
            : Object.keys(components.schemas[schema]?.properties ?? { prompt: {} }),
      };
    }),
  );
}

const repeated = (count: number, text: (index: number) => string): string =>
  Array.from({ length: count }, (_each, index) => text(index)).join();

/** Beyond a bound of JSON, each almost as large as a body may be, but for the smallest that was once a fault of ours. */
export const COMPLEX_BODIES: Readonly<Record<string, string>> = {
  'a few levels of lists': '['.repeat(1_313) + ']'.repeat(1_313),
  'half a million levels of lists': '['.repeat(520_000) + ']'.repeat(520_000),
  'levels of objects': '{"a":'.repeat(200_000),
  'many members': `{${repeated(90_000, (index) => `"${index}":0`)}}`,
  'one member many times': `{${repeated(100_000, () => '"name":0')}}`,
  'a list of lists': `[${repeated(300_000, () => '[]')}]`,
  'members with escapes': `{${repeated(60_000, (index) => `"\\u0061${index}":0`)}}`,
};

const SOME = JSON_MEMBERS_MAX - 100;

/** Within the bounds of JSON and almost as large as those allow: what no route takes, in the place of this member. */
export function largeBodies(name: string): Readonly<Record<string, string>> {
  const member = (value: string): string => `{${JSON.stringify(name)}:${value}}`;
  return {
    'unknown members': `{${repeated(SOME, (index) => `"${index}":0`)}}`,
    'one member many times': `{${repeated(SOME, () => `${JSON.stringify(name)}:{}`)}}`.replaceAll('{}', '0'),
    'an object': member(`{${repeated(SOME, (index) => `"${index}":0`)}}`),
    'a list of words': member(`[${repeated(SOME, (index) => `"generate${index}"`)}]`),
    'a list of one word': member(`[${repeated(SOME, () => '"generate"')}]`),
    'a list of objects': member(`[${repeated(SOME / 2, () => '{"a":0}')}]`),
    'a text': member(`"${'x'.repeat(1_000_000)}"`),
    'a text of two bytes a character': member(`"${'ü'.repeat(500_000)}"`),
    blanks: member(`"${' '.repeat(1_000_000)}"`),
    escapes: member(`"${'\\u0000'.repeat(170_000)}"`),
    backslashes: member(`"${'\\\\'.repeat(500_000)}"`),
    digits: member('1'.repeat(1_000_000)),
    'digits in a text': member(`"${'1'.repeat(1_000_000)}"`),
    'a long name': `{"${'x'.repeat(1_000_000)}":0}`,
  };
}

/** `p0&p1&…` */
export function queryOf(parameters: number): string {
  return Array.from({ length: parameters }, (_each, index) => `p${index}`).join('&');
}

/** As long as Node lets a URL be, with a path before them. */
export const WIDE_QUERIES: Readonly<Record<string, string>> = {
  'parameters without a value': queryOf(2_500),
  'empty parameters': '&'.repeat(15_000),
  'one parameter many times': Array.from({ length: 1_800 }, () => 'limit=1').join('&'),
  escapes: `limit=${'%31'.repeat(5_000)}`,
  'a long name': 'x'.repeat(15_000),
};

/** Pages for people, which `openapi.json` does not have. */
export const PAGES: readonly Route[] = [
  '/',
  '/docs',
  '/docs.md',
  '/docs/none',
  '/docs/console',
  '/openapi.json',
  '/models',
  '/models.md',
  '/models/none/none',
  '/collections/none',
  '/compare',
  '/rankings',
  '/llms.txt',
  '/sitemap.xml',
  '/nowhere',
].map((path) => ({
  method: 'GET',
  path,
  template: path,
  queryNames: ['models', 'limit'],
  headerNames: ['accept', 'accept-encoding', 'if-none-match', 'cookie'],
  key: null,
  scope: '',
  responses: {},
  members: null,
}));

/** A little less than the 16 KiB that Node takes for a request line and its headers together. */
const HEAD_BYTES = 15_000;

/** As long as a value in the head of a request may be. */
const LONG_VALUES: Readonly<Record<string, string>> = {
  letters: 'x'.repeat(HEAD_BYTES),
  digits: '1'.repeat(HEAD_BYTES),
  commas: ','.repeat(HEAD_BYTES),
  'a list of words': 'a,'.repeat(HEAD_BYTES / 2),
  'a list of pairs': 'v1=0,'.repeat(HEAD_BYTES / 5),
  escapes: '%C3%BC'.repeat(HEAD_BYTES / 6),
  'broken escapes': '%'.repeat(HEAD_BYTES),
};

export type HostileHead = {
  readonly name: string;
  /** With its query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
};

/** Everything in the head of a request that a route reads, as long as it may be: its parameters, its headers, its key. */
export function hostileHeads(route: Route): readonly HostileHead[] {
  const { path, template, queryNames, headerNames, key } = route;
  const wide = Object.entries(WIDE_QUERIES).map(([name, query]) => ({
    name,
    path: `${path}?${query}`,
    headers: {},
  }));
  const values = Object.entries(LONG_VALUES).flatMap(([kind, value]): HostileHead[] => [
    ...queryNames.map((name) => ({
      name: `${kind} (query ${name})`,
      path: `${path}?${name}=${value.slice(0, HEAD_BYTES - path.length - name.length)}`,
      headers: {},
    })),
    ...parameterNames(template).map((name) => ({
      name: `${kind} (path ${name})`,
      path: template.replace(`{${name}}`, value.slice(0, 14_000)).replace(/\{\w+\}/g, 'none'),
      headers: {},
    })),
    ...[...headerNames, ...(key === null ? [] : ['authorization'])].map((name) => ({
      name: `${kind} (header ${name})`,
      path,
      headers: {
        [name.toLowerCase()]: name === 'authorization' ? `Bearer ${value.slice(0, 14_000)}` : value,
      },
    })),
  ]);
  const many = Object.fromEntries(Array.from({ length: 1_000 }, (_each, index) => [`x-${index}`, '0']));
  return [...wide, ...values, { name: 'a thousand headers', path, headers: many }];
}

function parameterNames(template: string): string[] {
  return [...template.matchAll(/\{(\w+)\}/g)].map(([, name]) => name ?? '');
}
