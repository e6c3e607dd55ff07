import type { INestApplication } from '@nestjs/common';
import { DocumentBuilder, type OpenAPIObject, SwaggerModule } from '@nestjs/swagger';
import { documentWebhooks, WEBHOOK_VIEWS } from './openapi-webhooks.js';
import { declarePublicOperations, keepDefaultsOptional, orderPaths } from './openapi-shape.js';
import { ERROR_SCHEMA, documentProblems } from './problem-documentation.js';
import { documentLimits } from '../../identity/rate-limits/limit-documentation.js';

/** The address where a newcomer's service listens; the served document names the real one. */
const DEFAULT_SERVER = 'http://127.0.0.1:3000';

/** Ordered for customers, an outside gateway, finance, operators and machines; within each, what they need first. */
const TAGS: readonly (readonly [name: string, description: string])[] = [
  ['Images', 'The OpenAI-compatible images API: pay per delivered image, nothing for a failed call.'],
  ['Models', 'What can be generated with.'],
  ['Pricing', 'Versioned prices and quotes.'],
  ['Wallet', 'Available, held and posted credit, and every movement of it.'],
  ['Top-ups', 'Buying credit through Stripe Checkout. The platform fee is taken here and never per call.'],
  ['Alerts', 'When, and where, an account is notified that its credit runs out.'],
  ['API keys', 'Keys of the calling account.'],
  [
    'Provider keys',
    "The account's own keys for image providers (BYOK): calls over them cost the wallet nothing.",
  ],
  [
    'Webhook endpoints',
    'Where an account is notified of events, by Standard Webhooks, and the result of each delivery.',
  ],
  [
    'Debits',
    'For an outside gateway: charge per image, one by one or in batches, exactly once per reference.',
  ],
  ['Holds', 'For an outside gateway: reserve credit, then capture what was delivered and release the rest.'],
  ['Finance', 'The ledger as a file that proves itself, and the record of who did what.'],
  ['Accounts', 'Customers, their grants and their keys.'],
  [
    'Operator keys',
    'Keys of the platform itself: for its gateway, its administrators and its finance people.',
  ],
  ['Webhooks', 'What Stripe calls.'],
  ['Service', 'Health and metrics of this process.'],
];

const INFO = `Prepaid credit in front of an OpenAI-compatible image API.

**Money** is integer micro-dollars (a millionth of a US dollar) in strings named \`*_micros\`; \`"40000"\` is four cents.
Times are Unix seconds. Lists are newest first: \`limit\`, \`starting_after\` and \`ending_before\` take ids.

**Errors** have OpenAI's shape everywhere; branch on \`error.code\`, which never changes its meaning. An unknown field
in a body is an error, not a silence. Every answer carries \`x-request-id\`.

**Retrying is free.** Whatever moves money is named by a \`reference\` or an \`Idempotency-Key\` and happens once,
however often it is sent. \`x-should-retry: false\` says that another attempt cannot help.`;

/** Builds the API document. It needs no database: `app` may be a preview. */
export function buildOpenApiDocument(app: INestApplication, server = DEFAULT_SERVER): OpenAPIObject {
  const builder = new DocumentBuilder()
    .setOpenAPIVersion('3.1.0')
    .setTitle('Coffer')
    .setDescription(INFO)
    .setVersion('1')
    .setLicense('Apache-2.0', 'https://www.apache.org/licenses/LICENSE-2.0')
    .addServer(server)
    .addBearerAuth(
      { type: 'http', scheme: 'bearer', description: 'An account key: `sk-cof-…`.' },
      'account_key',
    )
    .addBearerAuth(
      { type: 'http', scheme: 'bearer', description: 'An operator key: `op-cof-…`.' },
      'operator_key',
    );
  for (const [name, description] of TAGS) builder.addTag(name, description);
  const document = SwaggerModule.createDocument(app, builder.build(), {
    extraModels: [...WEBHOOK_VIEWS],
  });
  const schemas = { ...document.components?.schemas, Error: ERROR_SCHEMA };
  document.components = { ...document.components, schemas: sorted(schemas) };
  nameWildcards(document);
  documentProblems(document);
  documentLimits(document);
  documentWebhooks(document);
  declarePublicOperations(document);
  keepDefaultsOptional(document);
  orderPaths(document);
  return document;
}

/** Ids that may contain a slash are served by a wildcard, which the framework documents as `{path}` and again as `*`. */
function nameWildcards(document: OpenAPIObject): void {
  for (const [path, item] of Object.entries(document.paths)) {
    if (!path.endsWith('/{path}') || item.get?.parameters === undefined) continue;
    const parameters = item.get.parameters.filter(
      (parameter) => !('name' in parameter && parameter.name === '*'),
    );
    item.get.parameters = parameters.map((parameter) =>
      'name' in parameter && parameter.name === 'path' ? { ...parameter, name: 'id' } : parameter,
    );
    Reflect.deleteProperty(document.paths, path);
    document.paths[path.replace(/\{path\}$/, '{id}')] = item;
  }
}

function sorted<T>(members: Record<string, T>): Record<string, T> {
  return Object.fromEntries(Object.entries(members).sort(([a], [b]) => (a < b ? -1 : 1)));
}
