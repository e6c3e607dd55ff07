import { setTimeout as sleep } from 'node:timers/promises';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { errorCode } from '../error-code.js';
import { authenticate } from './authentication.js';
import type { SandboxContext } from './context.js';
import { internalError, invalidRequest, StripeApiError, unrecognizedUrl } from './errors.js';
import { expandObject } from './expansion.js';
import { canonicalForm, decodeForm } from './form-encoding.js';
import type { IdempotencyKeys, IdempotentRequest } from './idempotency.js';
import { requestId } from './ids.js';
import { API_VERSION } from './objects.js';
import type { Operation, PreparedOperation } from './operation.js';
import type { RequestFault, RequestFaults } from './request-faults.js';

const JSON_TYPE = 'application/json; charset=utf-8';
const FORM_TYPE = 'application/x-www-form-urlencoded';

export type ApiParts = {
  readonly context: SandboxContext;
  readonly operations: readonly Operation[];
  readonly idempotencyKeys: IdempotencyKeys;
  readonly requestFaults: RequestFaults;
  readonly apiKey: string | null;
  /** Called when the effects of a request are on disk, so that its webhooks may be sent. */
  readonly onCommitted: () => void;
};

type Answer = { readonly status: number; readonly body: string };
/** One request in the simulator. */
type Call = {
  readonly requestId: string;
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly objectId: string;
  readonly apiKey: string;
  readonly idempotencyKey: string | null;
  /** The query string of a GET, the body of a POST. */
  readonly encoded: string;
  readonly fault: RequestFault | null;
};

/** Serves `/v1`: authentication, version, parameters, idempotency, expansion and Stripe's error bodies. */
export function registerApiRoutes(app: FastifyInstance, parts: ApiParts): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(FORM_TYPE, { parseAs: 'string' }, (_request, body, done) => done(null, body));
  app.addContentTypeParser('*', (_request, payload, done) => {
    payload.resume();
    done(wrongContentType());
  });
  app.addHook('onRequest', (request, reply, done) => {
    const version = request.headers['stripe-version'];
    void reply.header('Request-Id', requestId());
    void reply.header('Stripe-Version', typeof version === 'string' ? version : API_VERSION);
    done();
  });
  app.setErrorHandler((error, _request, reply) => send(reply, refusal(parts.context, error)));
  app.setNotFoundHandler((request, reply) =>
    send(reply, refusal(parts.context, unrecognizedUrl(request.method, pathOf(request)))),
  );
  for (const operation of parts.operations) {
    app.route({
      method: operation.method,
      url: operation.path,
      handler: (request, reply) => handle(parts, operation, request, reply),
    });
  }
}

async function handle(
  parts: ApiParts,
  operation: Operation,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<unknown> {
  const call = readCall(parts, operation, request, reply);
  if (call.fault?.shouldRetry !== undefined) {
    void reply.header('Stripe-Should-Retry', String(call.fault.shouldRetry));
  }
  const answer = await answerTo(parts, operation, call, reply);
  if (call.fault?.outcome !== 'lost' && call.fault?.outcome !== 'reset') return send(reply, answer);
  reply.hijack();
  request.raw.socket.destroy();
  return undefined;
}

async function answerTo(
  parts: ApiParts,
  operation: Operation,
  call: Call,
  reply: FastifyReply,
): Promise<Answer> {
  const form = decodeForm(call.encoded);
  if (call.method === 'GET') return execute(parts, operation.prepare(form), call);
  if (call.idempotencyKey === null) return executeDurably(parts, operation.prepare(form), call);
  const keys = parts.idempotencyKeys;
  const idempotent: IdempotentRequest = {
    apiKey: call.apiKey,
    key: call.idempotencyKey,
    path: call.path,
    fingerprint: canonicalForm(form),
  };
  void reply.header('Idempotency-Key', call.idempotencyKey);
  const earlier = keys.begin(idempotent);
  if (earlier !== null) {
    void reply.header('Idempotent-Replayed', 'true').header('Original-Request', earlier.requestId);
    return earlier;
  }
  try {
    // Parameters are checked before execution begins: their errors leave the key unused.
    const prepared = operation.prepare(form);
    const keep = (answer: Answer): void => keys.finish(idempotent, { ...answer, requestId: call.requestId });
    return await executeDurably(parts, prepared, call, keep);
  } finally {
    keys.release(idempotent);
  }
}

/** Executes, stores the answer together with its effects, and answers only when both are on disk. */
async function executeDurably(
  parts: ApiParts,
  prepared: PreparedOperation,
  call: Call,
  keep: (answer: Answer) => void = () => undefined,
): Promise<Answer> {
  const answer = await execute(parts, prepared, call, keep);
  await parts.context.store.flush();
  parts.onCommitted();
  return answer;
}

async function execute(
  parts: ApiParts,
  prepared: PreparedOperation,
  call: Call,
  keep: (answer: Answer) => void = () => undefined,
): Promise<Answer> {
  const { delayMs, outcome } = call.fault ?? {};
  if (delayMs !== undefined) await sleep(delayMs);
  if (outcome === 'reset') return injectedError(500);
  if (typeof outcome === 'number') return injectedError(outcome);
  const answer = run(parts.context, prepared, call);
  keep(answer);
  return answer;
}

function injectedError(status: number): Answer {
  const message = 'An error that the sandbox was asked for.';
  return { status, body: serialize({ error: { message, type: 'api_error' } }) };
}

function run(context: SandboxContext, prepared: PreparedOperation, call: Call): Answer {
  const cause = { requestId: call.requestId, idempotencyKey: call.idempotencyKey };
  try {
    const object = prepared.run(context, { id: call.objectId, cause });
    return { status: 200, body: serialize(expandObject(context, object, prepared.expand)) };
  } catch (error) {
    if (!(error instanceof StripeApiError)) throw error;
    return { status: error.status, body: serialize({ error: error.body }) };
  }
}

function readCall(parts: ApiParts, operation: Operation, request: FastifyRequest, reply: FastifyReply): Call {
  const apiKey = authenticate(request.headers.authorization, parts.apiKey);
  assertVersion(request.headers['stripe-version']);
  const [path = '', query = ''] = (request.raw.url ?? '').split('?', 2);
  if (operation.method === 'POST' && query !== '') {
    throw invalidRequest('The sandbox reads the parameters of a POST from its body only.');
  }
  const { id: objectId = '' } = request.params as { id?: string };
  const idempotencyKey = request.headers['idempotency-key'];
  return {
    requestId: String(reply.getHeader('Request-Id')),
    method: operation.method,
    path,
    objectId,
    apiKey,
    idempotencyKey: typeof idempotencyKey === 'string' && idempotencyKey !== '' ? idempotencyKey : null,
    encoded: operation.method === 'GET' ? query : typeof request.body === 'string' ? request.body : '',
    fault: parts.requestFaults.take(operation.method, path),
  };
}

function assertVersion(version: string | readonly string[] | undefined): void {
  if (version === undefined || version === API_VERSION) return;
  throw invalidRequest(
    `Invalid Stripe API version: ${String(version)}. The sandbox speaks only ${API_VERSION}.`,
  );
}

function refusal(context: SandboxContext, error: unknown): Answer {
  if (error instanceof StripeApiError)
    return { status: error.status, body: serialize({ error: error.body }) };
  if (errorCode(error) === 'FST_ERR_CTP_BODY_TOO_LARGE') {
    return refusal(context, invalidRequest('Request entity is too large.', { status: 413 }));
  }
  context.log({ error: String(error) }, 'sandbox Stripe failed to answer a request');
  return { status: 500, body: serialize({ error: internalError('The sandbox failed; see its log.').body }) };
}

function wrongContentType(): StripeApiError {
  return invalidRequest(`Invalid request (check that your POST content type is ${FORM_TYPE}).`);
}

/** Stripe indents its JSON, so a client that signs or stores a re-serialised copy fails here as well. */
function serialize(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

function send(reply: FastifyReply, answer: Answer): FastifyReply {
  return reply.status(answer.status).header('Content-Type', JSON_TYPE).send(answer.body);
}

function pathOf(request: FastifyRequest): string {
  const [path = ''] = (request.raw.url ?? '').split('?', 1);
  return path;
}
