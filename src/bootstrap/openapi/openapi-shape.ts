import type { OpenAPIObject } from '@nestjs/swagger';

type Paths = OpenAPIObject['paths'];
type Item = Paths[string];
type Schema = {
  type?: unknown;
  enum?: readonly unknown[];
  default?: unknown;
  description?: string;
  example?: unknown;
  properties?: Record<string, Schema>;
  required?: readonly string[];
};

const METHODS = ['get', 'post', 'put', 'patch', 'delete'] as const;
/** These come first in their chapter, because most readers look for them. */
const LEADING = ['/v1/images/generations', '/v1/images/edits', '/v1/models', '/v1/wallet', '/v1/top_ups'];

/** Marks every public operation as one that needs no authentication. Otherwise tools cannot distinguish it from one where this was forgotten. */
export function declarePublicOperations(document: OpenAPIObject): void {
  // A webhook that is sent to a customer's endpoint carries a signature, no key.
  for (const item of Object.values({ ...document.paths, ...getWebhooks(document) })) {
    for (const method of METHODS) {
      const operation = item[method];
      if (operation !== undefined) operation.security ??= [];
    }
  }
}

/** OpenAPI 3.1 has webhooks; the library's types describe 3.0. */
function getWebhooks(document: OpenAPIObject): Paths {
  return (document as { webhooks?: Paths }).webhooks ?? {};
}

/** Orders the paths by chapter, customers' routes before operators': viewers show operations in the order of the document. */
export function orderPaths(document: OpenAPIObject): void {
  const tags = (document.tags ?? []).map(({ name }) => name);
  const rank = (item: Item): readonly number[] => {
    const [operation] = METHODS.flatMap((method) => item[method] ?? []);
    const [scheme] = Object.keys(operation?.security?.[0] ?? {});
    return [tags.indexOf(operation?.tags?.[0] ?? ''), scheme === 'operator_key' ? 1 : 0];
  };
  const lead = (path: string): number => (LEADING.includes(path) ? LEADING.indexOf(path) : LEADING.length);
  const entries = Object.entries(document.paths).map(([path, item]) => ({
    path,
    item,
    key: [...rank(item), lead(path)],
  }));
  entries.sort((a, b) => compare(a.key, b.key) || (a.path < b.path ? -1 : 1));
  document.paths = Object.fromEntries(entries.map(({ path, item }) => [path, item]));
}

function compare(a: readonly number[], b: readonly number[]): number {
  const at = a.findIndex((value, index) => value !== b[index]);
  return at === -1 ? 0 : (a[at] ?? 0) - (b[at] ?? 0);
}

/**
 * Where null means the same as leaving a member out, the default is documented on the value next to null:
 * `anyOf: [{…, default}, {type: null}]`. Generators treat a member with a `default` of its own as always present
 * (openapi-typescript does by default), and then a request without it does not compile.
 */
export function keepDefaultsOptional(document: OpenAPIObject): void {
  const schemas = (document.components?.schemas ?? {}) as Record<string, Schema>;
  for (const { properties = {}, required = [] } of Object.values(schemas)) {
    for (const [name, member] of Object.entries(properties)) {
      const { type } = member;
      if (member.default === undefined || required.includes(name)) continue;
      if (!Array.isArray(type) || !type.includes('null')) {
        throw new Error(`${name} has a default and cannot be null: generated clients would have to send it`);
      }
      const { description, example, enum: words, ...rule } = member;
      const types = type.filter((one) => one !== 'null');
      const value = {
        ...rule,
        type: types.length === 1 ? (types[0] as unknown) : types,
        ...(words === undefined ? {} : { enum: words.filter((word) => word !== null) }),
      };
      properties[name] = {
        ...(description === undefined ? {} : { description }),
        ...(example === undefined ? {} : { example }),
        anyOf: [value, { type: 'null' }],
      } as Schema;
    }
  }
}
