import type { OpenAPIObject } from '@nestjs/swagger';
import { describeCodes, toErrorExample } from '../../platform/errors/api-problems.js';
import { PROBLEM_CATALOG, type ProblemCode } from '../../platform/errors/problem-catalog.js';
import { PROBLEM_KINDS } from '../../platform/errors/problem-kinds.js';

type Operation = NonNullable<OpenAPIObject['paths'][string]['get']>;
type Responses = Operation['responses'];
type Schema = NonNullable<NonNullable<OpenAPIObject['components']>['schemas']>[string];

/** OpenAI's error body; further members are added to its four. */
export const ERROR_SCHEMA: Schema = {
  type: 'object',
  description: 'OpenAI’s error body. Some codes add members of their own, such as `required_micros`.',
  required: ['error'],
  properties: {
    error: {
      type: 'object',
      description: 'What was refused, and why.',
      required: ['message', 'type', 'param', 'code'],
      additionalProperties: true,
      properties: {
        message: { type: 'string', description: 'What happened, what was charged and what to do next.' },
        type: {
          type: 'string',
          enum: [...new Set(Object.values(PROBLEM_KINDS).map(({ type }) => type))].sort(),
        },
        // OpenAPI 3.1 takes a list of types here; the library's types still describe 3.0.
        param: { type: ['string', 'null'] as unknown as string, description: 'The field at fault.' },
        code: { type: 'string', enum: Object.keys(PROBLEM_CATALOG), description: 'Branch on this.' },
      },
    },
  },
};

const EVERY_ROUTE: readonly ProblemCode[] = ['malformed_http', 'internal_error'];
/** No caller can be authenticated while the database is unavailable, so every route that needs a key answers this. */
const EVERY_KEY: readonly ProblemCode[] = ['database_unavailable'];
const EVERY_BODY: readonly ProblemCode[] = ['invalid_request'];
/** A body is read, or refused, before the service knows whether the route takes one. */
const EVERY_METHOD_WITH_BODY: readonly ProblemCode[] = [
  'malformed_body',
  'payload_too_large',
  'unsupported_media_type',
];
/** Input that is refused before there is a request, for any route, with the code `malformed_http` (`platform/http/connections.ts`). */
const BEFORE_ANY_ROUTE: readonly (readonly [status: string, name: string, summary: string])[] = [
  [
    '408',
    'RequestTooSlow',
    'The request was not sent in time. Nothing was done, and the connection is closed.',
  ],
  ['417', 'ExpectationFailed', 'The only expectation that is met is 100-continue. Nothing was done.'],
  ['431', 'HeadersTooLarge', 'The request line and headers are larger than 16 KiB. Nothing was done.'],
];
const METHODS = ['get', 'post', 'put', 'patch', 'delete'] as const;

/**
 * Completes the errors of every operation: it adds those that any route, or any body, can cause, and merges the
 * descriptions that several decorators gave for one status.
 */
export function documentProblems(document: OpenAPIObject): void {
  const refusals = BEFORE_ANY_ROUTE.map(([, name, summary]) => [name, describeRefusal(summary)] as const);
  document.components = { ...document.components, responses: Object.fromEntries(refusals) };
  for (const [path, item] of Object.entries(document.paths)) {
    for (const method of METHODS) {
      const operation = item[method];
      if (operation) operation.responses = completed(operation, path, method !== 'get');
    }
  }
}

function completed(operation: Operation, path: string, mayHaveBody: boolean): Responses {
  const responses: Responses = {};
  const codes = new Set<ProblemCode>(EVERY_ROUTE);
  if (path.includes('{')) codes.add('malformed_url');
  if (operation.security?.length) for (const code of EVERY_KEY) codes.add(code);
  if (mayHaveBody) for (const code of EVERY_METHOD_WITH_BODY) codes.add(code);
  if (operation.requestBody) for (const code of EVERY_BODY) codes.add(code);
  for (const [status, response] of Object.entries(operation.responses)) {
    const documented = findCodes(response);
    if (documented === null) responses[status] = response;
    else for (const code of documented) codes.add(code);
  }
  for (const [status, ofStatus] of byStatus(codes)) {
    responses[status] ??= {
      description: describeCodes(ofStatus),
      content: {
        'application/json': {
          schema: { $ref: '#/components/schemas/Error' },
          examples: Object.fromEntries(ofStatus.map((code) => [code, toErrorExample(code)])),
        },
      },
    };
  }
  for (const [status, name] of BEFORE_ANY_ROUTE) {
    responses[status] ??= { $ref: `#/components/responses/${name}` };
  }
  return responses;
}

function describeRefusal(summary: string): NonNullable<Responses[string]> {
  const code = 'malformed_http' satisfies ProblemCode;
  const { value } = toErrorExample(code);
  const example = { summary, value: { error: { ...value.error, message: summary } } };
  return {
    description: `\`${code}\`: ${summary}`,
    content: {
      'application/json': { schema: { $ref: '#/components/schemas/Error' }, examples: { [code]: example } },
    },
  };
}

/** Returns the codes of an error response that `@ApiProblems` wrote; null for any other response. */
function findCodes(response: Responses[string]): ProblemCode[] | null {
  if (response === undefined || '$ref' in response) return null;
  const examples = Object.values(response.content ?? {}).flatMap((media) =>
    Object.keys(media.examples ?? {}),
  );
  return examples.length > 0 && examples.every((name) => name in PROBLEM_CATALOG)
    ? (examples as ProblemCode[])
    : null;
}

function byStatus(codes: ReadonlySet<ProblemCode>): Map<string, ProblemCode[]> {
  const grouped = new Map<string, ProblemCode[]>();
  // The codes keep the catalogue's order, so that the document does not depend on the order of decorators.
  for (const code of Object.keys(PROBLEM_CATALOG) as ProblemCode[]) {
    if (!codes.has(code)) continue;
    const status = String(PROBLEM_KINDS[PROBLEM_CATALOG[code].kind].status);
    grouped.set(status, [...(grouped.get(status) ?? []), code]);
  }
  return grouped;
}
