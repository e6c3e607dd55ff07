import type { OpenAPIObject } from '@nestjs/swagger';
import { PROBLEM_CATALOG, type ProblemCode } from '../problems/problem-catalog.js';
import { PROBLEM_KINDS } from '../problems/problem-kinds.js';

/** What the pages take from the OpenAPI document, so that they cannot promise what the service does not do. */
export type ApiFacts = {
  readonly request: readonly ApiField[];
  readonly response: readonly ApiField[];
  readonly responseHeaders: readonly ApiField[];
  readonly errors: readonly ApiError[];
  /** Whether the service has the route. */
  readonly hasEdits: boolean;
  readonly hasProviderKeys: boolean;
};

export type ApiField = {
  readonly name: string;
  readonly type: string;
  readonly isRequired: boolean;
  readonly standard: string | null;
  readonly description: string;
};

export type ApiError = {
  readonly status: number;
  readonly type: string;
  readonly code: ProblemCode;
  readonly summary: string;
};

type Schema = {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly enum?: readonly unknown[];
  readonly default?: unknown;
  readonly description?: string;
  readonly items?: Schema;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly minimum?: number;
  readonly maximum?: number;
};

export const GENERATIONS_PATH = '/v1/images/generations';
export const EDITS_PATH = '/v1/images/edits';
const PROVIDER_KEYS_PATH = '/v1/provider_keys';

/** Pure. Throws when the document has no images route: then there is nothing to sell. */
export function readApiFacts(document: OpenAPIObject): ApiFacts {
  const operation = document.paths[GENERATIONS_PATH]?.post;
  if (operation === undefined) throw new Error(`the API document lacks ${GENERATIONS_PATH}`);
  const { requestBody, responses } = operation;
  const answer = responses['200'];
  if (requestBody === undefined || '$ref' in requestBody || answer === undefined || '$ref' in answer) {
    throw new Error(`the API document describes no body of ${GENERATIONS_PATH}`);
  }
  const schemas = (document.components?.schemas ?? {}) as Readonly<Record<string, Schema>>;
  const fieldsOf = (schema: unknown): ApiField[] => readFields(schemas, schema as Schema, '');
  const headers = Object.entries(answer.headers ?? {}).map(([name, header]): ApiField => {
    const description = 'description' in header ? (header.description ?? '') : '';
    return { name, type: 'string', isRequired: false, standard: null, description };
  });
  return {
    request: fieldsOf(requestBody.content['application/json']?.schema),
    response: fieldsOf(answer.content?.['application/json']?.schema),
    responseHeaders: headers,
    errors: Object.entries(responses).flatMap(([status, response]) => errorsOf(status, response)),
    hasEdits: EDITS_PATH in document.paths,
    hasProviderKeys: Object.keys(document.paths).some((path) => path.startsWith(PROVIDER_KEYS_PATH)),
  };
}

function readFields(schemas: Readonly<Record<string, Schema>>, schema: Schema, prefix: string): ApiField[] {
  const { properties = {}, required = [] } = resolve(schemas, schema);
  return Object.entries(properties).flatMap(([name, member]) => {
    const field = {
      name: `${prefix}${name}`,
      type: typeOf(member),
      isRequired: required.includes(name),
      standard: member.default === undefined ? null : JSON.stringify(member.default),
      description: member.description ?? '',
    };
    const below = member.items === undefined ? [] : readFields(schemas, member.items, `${field.name}[].`);
    return [field, ...below];
  });
}

function resolve(schemas: Readonly<Record<string, Schema>>, schema: Schema): Schema {
  return schema.$ref === undefined
    ? schema
    : (schemas[schema.$ref.replace('#/components/schemas/', '')] ?? {});
}

function typeOf({ type, enum: words, minimum, maximum }: Schema): string {
  if (words !== undefined)
    return words
      .filter((word) => word !== null)
      .map(String)
      .join(' | ');
  const name =
    typeof type === 'string' ? type : (type?.filter((one) => one !== 'null').join(' | ') ?? 'object');
  if (minimum !== undefined && minimum === maximum) return String(minimum);
  return minimum === undefined || maximum === undefined ? name : `${name}, ${minimum} to ${maximum}`;
}

function errorsOf(status: string, response: unknown): ApiError[] {
  if (!/^[45]\d\d$/.test(status)) return [];
  const { content = {} } = response as { content?: Record<string, { examples?: Record<string, unknown> }> };
  return Object.keys(content['application/json']?.examples ?? {})
    .filter((code): code is ProblemCode => code in PROBLEM_CATALOG)
    .map((code) => {
      const { kind, summary } = PROBLEM_CATALOG[code];
      return { status: PROBLEM_KINDS[kind].status, type: PROBLEM_KINDS[kind].type, code, summary };
    });
}
