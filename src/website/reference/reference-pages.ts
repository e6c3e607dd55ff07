import {
  code,
  link,
  paragraph,
  withCode,
  type Block,
  type PageDocument,
  type Section,
} from '../../platform/http/pages/document.js';
import {
  toOperations,
  type ApiDocument,
  type ApiOperation,
  type ApiResponse,
  type PlacedOperation,
} from './api-document.js';
import { curlFor } from './curl.js';
import { Schemas, type SchemaField } from './schema-fields.js';

/** The readers of each chapter. Chapters have the order of the document's tags, and those without readers come last. */
const AUDIENCES: readonly (readonly [heading: string, whose: string, tags: readonly string[]])[] = [
  [
    'For customers',
    'With an account key, `sk-cof-…`.',
    [
      'Images',
      'Models',
      'Pricing',
      'Wallet',
      'Top-ups',
      'Alerts',
      'API keys',
      'Provider keys',
      'Webhook endpoints',
    ],
  ],
  [
    'For an outside gateway',
    'With an operator key, `op-cof-…`, that has the scope `debits`.',
    ['Debits', 'Holds'],
  ],
  ['For finance', 'With an operator key that has the scope `finance`.', ['Finance']],
  ['For operators', 'With an operator key that has the scope `admin`.', ['Accounts', 'Operator keys']],
  ['For machines', 'Without a key.', ['Webhooks', 'Service']],
];

type Chapter = {
  readonly name: string;
  readonly path: string;
  readonly description: string;
  readonly operations: readonly PlacedOperation[];
};

/** Returns the pages of the reference, beginning with the table of contents. Pure: everything on them is in the document. */
export function referencePages(document: ApiDocument, publicUrl: string): PageDocument[] {
  const chapters = toChapters(document);
  return [contentsPage(document, chapters), ...chapters.map((one) => chapterPage(document, one, publicUrl))];
}

function toChapters(document: ApiDocument): Chapter[] {
  const operations = toOperations(document);
  return (document.tags ?? [])
    .map(({ name, description = '' }) => ({
      name,
      path: `/docs/${name.toLowerCase().replaceAll(/[^a-z0-9]+/g, '_')}`,
      description,
      operations: operations.filter(({ operation }) => operation.tags.includes(name)),
    }))
    .filter((chapter) => chapter.operations.length > 0);
}

function contentsPage({ info }: ApiDocument, chapters: readonly Chapter[]): PageDocument {
  const named = AUDIENCES.flatMap(([, , tags]) => tags);
  const others = chapters.map(({ name }) => name).filter((name) => !named.includes(name));
  const groups = [...AUDIENCES, ...(others.length === 0 ? [] : [['Other', '', others] as const])];
  return {
    path: '/docs',
    title: `${info.title} API reference`,
    description: 'Every route of the API with its fields, errors and an example.',
    eyebrow: [],
    heading: 'API reference',
    lead: 'Every route with its fields, its errors and a command to try it.',
    badges: [],
    opening: [
      ...toProse(info.description ?? ''),
      paragraph([
        'The same as one file: ',
        link('openapi.json', '/openapi.json'),
        ', OpenAPI 3.1, for generating clients. Calls can be tried out in the ',
        link('console', '/docs/console'),
        ', which needs JavaScript.',
      ]),
    ],
    sections: groups.map(([heading, whose, tags]): Section => ({
      id: toAnchor(heading),
      heading,
      blocks: [
        ...(whose === '' ? [] : [paragraph(withCode(whose))]),
        ...chapters.filter(({ name }) => tags.includes(name)).flatMap(toContents),
      ],
    })),
    jsonPath: '/openapi.json',
    area: 'api',
  };
}

function toContents({ name, path, description, operations }: Chapter): Block[] {
  return [
    { kind: 'heading', text: [link(name, path)] },
    paragraph(withCode(description)),
    {
      kind: 'list',
      items: operations.map(({ method, path: route, operation }) => [
        code(`${method.toUpperCase()} ${route}`),
        ' ',
        link(operation.summary, `${path}#${operation.operationId}`),
      ]),
    },
  ];
}

function chapterPage(document: ApiDocument, chapter: Chapter, publicUrl: string): PageDocument {
  const { name, path, description, operations } = chapter;
  const schemas = new Schemas(document);
  return {
    path,
    title: `${name}: API reference`,
    description: description.replaceAll('`', ''),
    eyebrow: [link('API reference', '/docs')],
    heading: name,
    lead: description.replaceAll('`', ''),
    badges: [],
    opening: [],
    sections: operations.map((placed) => operationSection(placed, schemas, publicUrl)),
    jsonPath: '/openapi.json',
    area: 'api',
  };
}

function operationSection(placed: PlacedOperation, schemas: Schemas, publicUrl: string): Section {
  const { method, path, operation } = placed;
  const { summary, description = '', operationId, parameters = [], requestBody, responses } = operation;
  const bodies = Object.entries(requestBody?.content ?? {});
  return {
    id: operationId,
    heading: summary,
    blocks: [
      paragraph([code(`${method.toUpperCase()} ${path}`), ' ', ...withCode(toPermission(operation))]),
      ...toProse(description),
      { kind: 'code', title: `curl: ${summary}`, language: 'sh', text: curlFor(placed, schemas, publicUrl) },
      ...toTable(
        `Parameters: ${summary}`,
        parameters.map(({ name, in: place, required = false, description: what = '', schema }) => {
          const [field] = schemas.fields({ properties: { [name]: schema ?? {} } });
          const type = `${field?.type ?? 'string'}, in the ${place}`;
          return { name, type, isRequired: required, standard: field?.standard ?? null, description: what };
        }),
      ),
      ...bodies.flatMap(([type, { schema }]) => toTable(`Body, ${type}: ${summary}`, schemas.fields(schema))),
      ...Object.entries(responses)
        .filter(([status]) => /^[23]/.test(status))
        .flatMap(([status, response]) => answerBlocks(status, response, summary, schemas)),
      ...errorTable(summary, responses),
    ],
  };
}

/** Says who may call the operation. */
function toPermission({ security = [] }: ApiOperation): string {
  const [asked] = security;
  const [[scheme, scopes] = []] = asked === undefined ? [] : [Object.entries(asked)[0] ?? []];
  if (scheme === undefined) return 'needs no key.';
  const key = scheme === 'operator_key' ? 'an operator key' : 'an account key';
  return scopes === undefined || scopes.length === 0
    ? `needs ${key}.`
    : `needs ${key} with ${scopes.map((scope) => `\`${scope}\``).join(' or ')}.`;
}

function answerBlocks(status: string, response: ApiResponse, summary: string, schemas: Schemas): Block[] {
  const { description = '', content = {} } = response;
  const words = description === '' ? [] : [paragraph([code(status), ' ', ...withCode(description)])];
  return [
    ...words,
    ...Object.entries(content).flatMap(([type, { schema }]): Block[] => {
      const fields = schemas.fields(schema);
      return fields.length > 0
        ? toTable(`Answer ${status}, ${type}: ${summary}`, fields, false)
        : [paragraph([code(status), ' answers ', code(type), '.'])];
    }),
    ...(Object.keys(content).length === 0 && words.length === 0
      ? [paragraph([code(status), ' has no body.'])]
      : []),
  ];
}

function toTable(caption: string, fields: readonly SchemaField[], isRequest = true): Block[] {
  if (fields.length === 0) return [];
  return [
    {
      kind: 'table',
      caption,
      head: isRequest ? ['Field', 'Type', 'Default', 'Meaning'] : ['Field', 'Type', 'Meaning'],
      rows: fields.map(({ name, type, isRequired, standard, description }) => [
        [code(name)],
        type,
        ...(isRequest ? [isRequired ? 'required' : (standard ?? '')] : []),
        withCode(description),
      ]),
    },
  ];
}

function errorTable(summary: string, responses: ApiOperation['responses']): Block[] {
  const rows = Object.entries(responses)
    .filter(([status]) => /^[45]/.test(status))
    .flatMap(([status, { content = {}, description = '' }]) => {
      const codes = Object.entries(content['application/json']?.examples ?? {});
      if (codes.length === 0) return [['–', status, withCode(description)]];
      return codes.map(([name, example]) => [[code(name)], status, withCode(example.summary ?? '')]);
    });
  if (rows.length === 0) return [];
  // Most routes have most errors in common, so they are folded and the differences are easier to see.
  const folded = rows.length === 1 ? '1 error' : `${rows.length} errors`;
  return [
    { kind: 'table', caption: `Errors: ${summary}`, head: ['Code', 'Status', 'Meaning'], rows, folded },
  ];
}

/** Descriptions are Markdown with paragraphs, code and bold words. Bold words are shown as plain text here. */
function toProse(text: string): Block[] {
  return text
    .split(/\n{2,}/)
    .map((part) => part.replaceAll('**', '').replace(/\s+/g, ' ').trim())
    .filter((part) => part !== '')
    .map((part) => paragraph(withCode(part)));
}

function toAnchor(heading: string): string {
  return heading.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-');
}
