import { FastifyAdapter } from '@nestjs/platform-fastify';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { newId } from '../common/ids.js';
import { toProblem } from '../errors/to-problem.js';
import { sendProblem } from '../errors/problem.filter.js';
import type { AnswerHeaders } from './answer-headers.js';
import { answerClientError } from './client-error.js';
import { KEEP_ALIVE_TIMEOUT_MS, REQUEST_TIMEOUT_MS, TIMEOUT_CHECK_INTERVAL_MS } from './connection-limits.js';
import { BODY_LIMIT_BYTES } from './json-body.js';

/** Ids are some thirty characters; model names, escaped, stay far below this. */
const PATH_PARAMETER_LENGTH_MAX = 300;

/** @param trustedProxies addresses whose `X-Forwarded-For` is believed; from anyone else it is a claim. */
export function createHttpAdapter(headers: AnswerHeaders, trustedProxies: readonly string[]): FastifyAdapter {
  return new FastifyAdapter({
    trustProxy: trustedProxies.length === 0 ? false : [...trustedProxies],
    bodyLimit: BODY_LIMIT_BYTES,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    http: {
      connectionsCheckingInterval: TIMEOUT_CHECK_INTERVAL_MS,
      // A header that may stand once, such as Host or Authorization, is refused when it stands twice. Node would take the first
      // one in silence, and a proxy before us perhaps the last.
      joinDuplicateHeaders: true,
      // A request without a host is refused by us (`request-rules.ts`); Node's refusal says nothing.
      requireHostHeader: false,
    },
    routerOptions: { maxParamLength: PATH_PARAMETER_LENGTH_MAX },
    // Ours, never the client's: it names one request for ever in logs and in support, so nobody may choose it.
    genReqId: () => newId('request'),
    logger: false,
    // While stopping, a request that still arrives on an open connection is served and told to reconnect
    // (`Connection: close`); refusing it would turn every deployment into a burst of errors.
    return503OnClosing: false,
    clientErrorHandler: answerClientError,
    // Faults that the router finds before any hook runs, such as a malformed URL.
    frameworkErrors: (error: Error, request: FastifyRequest, reply: FastifyReply) => {
      headers.set(request, reply);
      sendProblem(reply, toProblem(error, request));
    },
    // No Nest middleware is used; leaving its machinery out spares every request a walk through it.
    skipMiddie: true,
  });
}
