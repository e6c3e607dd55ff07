import type { OpenAPIObject } from '@nestjs/swagger';
import type { Scope } from '../auth/principal.js';
import { SCOPE_LIMITS } from './rate-limit-policies.js';

type Operation = NonNullable<OpenAPIObject['paths'][string]['get']>;

const METHODS = ['get', 'post', 'put', 'patch', 'delete'] as const;

/** Draft-ietf-httpapi-ratelimit-headers-11. `x-ratelimit-*` describes the closest limit with OpenAI's names. */
const HEADERS = {
  'RateLimit-Policy': {
    description: 'The limits that the request was counted against, of its key and of its account.',
    schema: { type: 'string' as const },
    example: '"reads-per-key";q=1200;w=60, "reads-per-account";q=2400;w=60',
  },
  RateLimit: {
    description: 'What is left of each, and the seconds until its count starts over.',
    schema: { type: 'string' as const },
    example: '"reads-per-key";r=1199;t=60, "reads-per-account";r=2399;t=60',
  },
  'Retry-After': {
    description: 'Seconds to wait before the request is sent again.',
    schema: { type: 'string' as const },
    example: '12',
  },
};

/** Adds the headers of limits to the answers of every counted route. */
export function documentLimits(document: OpenAPIObject): void {
  document.components = { ...document.components, headers: { ...document.components?.headers, ...HEADERS } };
  for (const path of Object.values(document.paths)) {
    for (const method of METHODS) {
      const operation = path[method];
      if (operation !== undefined && isCounted(operation)) addHeaders(operation);
    }
  }
}

function isCounted({ security = [] }: Operation): boolean {
  const [scope] = security.flatMap((requirement) => Object.values(requirement).flat()) as Scope[];
  return scope !== undefined && SCOPE_LIMITS[scope] !== null;
}

function addHeaders({ responses }: Operation): void {
  for (const [status, response] of Object.entries(responses)) {
    if (response === undefined || '$ref' in response) continue;
    const isRefusal = status === '429';
    if (!isRefusal && !status.startsWith('2')) continue;
    const names = isRefusal ? Object.keys(HEADERS) : ['RateLimit-Policy', 'RateLimit'];
    const references = names.map((name) => [name, { $ref: `#/components/headers/${name}` }] as const);
    response.headers = { ...response.headers, ...Object.fromEntries(references) };
  }
}
