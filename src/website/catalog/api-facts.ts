import type { OpenAPIObject } from '@nestjs/swagger';
import type { ApiSchema } from '../reference/api-document.js';
import { Schemas, type SchemaField } from '../reference/schema-fields.js';
import { PROBLEM_CATALOG, type ProblemCode } from '../../platform/errors/problem-catalog.js';
import { PROBLEM_KINDS } from '../../platform/errors/problem-kinds.js';

/** The facts that pages take from the OpenAPI document, so that they never promise something that the service does not do. */
export type ApiFacts = {
  readonly request: readonly ApiField[];
  readonly response: readonly ApiField[];
  readonly responseHeaders: readonly ApiField[];
  readonly errors: readonly ApiError[];
  /** Whether the service has the route. */
  readonly hasEdits: boolean;
  readonly hasProviderKeys: boolean;
};

export type ApiField = SchemaField;

export type ApiError = {
  readonly status: number;
  readonly type: string;
  readonly code: ProblemCode;
  readonly summary: string;
};

export const GENERATIONS_PATH = '/v1/images/generations';
export const EDITS_PATH = '/v1/images/edits';
const PROVIDER_KEYS_PATH = '/v1/provider_keys';

/** Reads the facts. Pure. Throws when the document has no images route, because the pages would have no subject. */
export function readApiFacts(document: OpenAPIObject): ApiFacts {
  const operation = document.paths[GENERATIONS_PATH]?.post;
  if (operation === undefined) throw new Error(`the API document lacks ${GENERATIONS_PATH}`);
  const { requestBody, responses } = operation;
  const answer = responses['200'];
  if (requestBody === undefined || '$ref' in requestBody || answer === undefined || '$ref' in answer) {
    throw new Error(`the API document describes no body of ${GENERATIONS_PATH}`);
  }
  const schemas = new Schemas(document);
  const toFields = (schema: unknown): ApiField[] => schemas.fields(schema as ApiSchema);
  const headers = Object.entries(answer.headers ?? {}).map(([name, header]): ApiField => {
    const description = 'description' in header ? (header.description ?? '') : '';
    return { name, type: 'string', isRequired: false, standard: null, description };
  });
  return {
    request: toFields(requestBody.content['application/json']?.schema),
    response: toFields(answer.content?.['application/json']?.schema),
    responseHeaders: headers,
    errors: Object.entries(responses).flatMap(([status, response]) => toErrors(status, response)),
    hasEdits: EDITS_PATH in document.paths,
    hasProviderKeys: Object.keys(document.paths).some((path) => path.startsWith(PROVIDER_KEYS_PATH)),
  };
}

function toErrors(status: string, response: unknown): ApiError[] {
  if (!/^[45]\d\d$/.test(status)) return [];
  const { content = {} } = response as { content?: Record<string, { examples?: Record<string, unknown> }> };
  return Object.keys(content['application/json']?.examples ?? {})
    .filter((code): code is ProblemCode => code in PROBLEM_CATALOG)
    .map((code) => {
      const { kind, summary } = PROBLEM_CATALOG[code];
      return { status: PROBLEM_KINDS[kind].status, type: PROBLEM_KINDS[kind].type, code, summary };
    });
}
