import { FastifyAdapter } from '@nestjs/platform-fastify';
import { NotFoundException } from '@nestjs/common';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { newId } from '../common/ids.js';
import { toProblem } from '../errors/to-problem.js';
import { sendProblem } from '../errors/problem.filter.js';
import {
  InvalidRequestError,
  MalformedHttpError,
  MethodNotAllowedError,
  RouteNotFoundError,
} from '../errors/common.errors.js';
import type { Problem } from '../errors/problem.js';
import type { AnswerHeaders } from './answer-headers.js';
import { answerClientError } from './connection-answers.js';
import { KEEP_ALIVE_TIMEOUT_MS, REQUEST_TIMEOUT_MS, TIMEOUT_CHECK_INTERVAL_MS } from './connections.js';
import { BODY_LIMIT_BYTES } from './request-bodies.js';

/** Ids have about thirty characters, and escaped model names are far shorter than this. */
const PATH_PARAMETER_LENGTH_MAX = 300;

/**
 * How Fastify is set up.
 *
 * @param trustedProxies addresses whose `X-Forwarded-For` is believed; from any other address it is ignored.
 */
export function createHttpAdapter(headers: AnswerHeaders, trustedProxies: readonly string[]): FastifyAdapter {
  return new FastifyAdapter({
    trustProxy: trustedProxies.length === 0 ? false : [...trustedProxies],
    bodyLimit: BODY_LIMIT_BYTES,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    http: {
      connectionsCheckingInterval: TIMEOUT_CHECK_INTERVAL_MS,
      // Node joins repeated headers, so a header that may occur once, such as Host or Authorization, becomes invalid when it is sent
      // twice. By default, Node uses the first one silently, and a proxy in front of this service may use the last.
      joinDuplicateHeaders: true,
      // `refuseEarly` refuses a request without a host; Node's own refusal has no body.
      requireHostHeader: false,
    },
    routerOptions: { maxParamLength: PATH_PARAMETER_LENGTH_MAX },
    // A client cannot choose this id, because it permanently identifies one request in logs and in support.
    genReqId: () => newId('request'),
    logger: false,
    // While the process stops, requests that arrive on open connections are served, and their clients reconnect after
    // `Connection: close`. Refusing them would turn every deployment into a burst of errors.
    return503OnClosing: false,
    clientErrorHandler: answerClientError,
    // The router finds these errors before any hook runs, such as a malformed URL.
    frameworkErrors: (error: Error, request: FastifyRequest, reply: FastifyReply) => {
      headers.set(request, reply);
      sendProblem(reply, toProblem(error, request));
    },
    // No Nest middleware is used, so its machinery would only cost time in every request.
    skipMiddie: true,
  });
}

/** No route has more than ten parameters; a parameter that takes a list may be repeated. */
export const QUERY_PARAMETERS_MAX = 50;

/**
 * Checks the rules of every request as soon as its headers are read. For a request that breaks one, no body is read, no key is
 * looked up and no DTO is instantiated.
 */
export function refuseEarly(fastify: FastifyInstance): void {
  fastify.addHook('onRequest', (request, _reply, done) => {
    const error = findFault(request);
    if (error === null) done();
    else done(error);
  });
}

function findFault(request: FastifyRequest): Error | null {
  if (!hasOneHost(request)) {
    return new MalformedHttpError('The request must have exactly one Host header.');
  }
  if (hasManyParameters(request.raw.url ?? '')) {
    return new InvalidRequestError(
      `The query has more than ${QUERY_PARAMETERS_MAX} parameters. Nothing was charged.`,
    );
  }
  // The handler of unmatched routes would give the same answer, but only after it has read the body.
  return request.is404 ? new NotFoundException() : null;
}

/**
 * RFC 9112, 3.2. Of two Host headers, this service might use one and a proxy in front of it the other. The server joins them with
 * a comma (`joinDuplicateHeaders`), which no host name contains.
 */
function hasOneHost({ raw }: FastifyRequest): boolean {
  const { host } = raw.headers;
  return host === undefined ? raw.httpVersion === '1.0' : !host.includes(',');
}

function hasManyParameters(url: string): boolean {
  let parameters = 0;
  for (let at = url.indexOf('?'); at !== -1; at = url.indexOf('&', at + 1)) {
    parameters += 1;
    if (parameters > QUERY_PARAMETERS_MAX) return true;
  }
  return false;
}

/** Knows every registered route, to distinguish a wrong method (405) from a wrong path (404). */
export class AllowedMethods {
  private readonly methods = new Map<string, Set<string>>();

  constructor(fastify: FastifyInstance) {
    fastify.addHook('onRoute', (route) => {
      const known = this.methods.get(route.url) ?? new Set<string>();
      for (const method of [route.method].flat()) known.add(method);
      this.methods.set(route.url, known);
    });
  }

  /** It is called only for requests that matched no route. */
  findProblem(path: string): Problem {
    const allowed = new Set<string>();
    for (const [pattern, methods] of this.methods) {
      if (matches(pattern, path)) for (const method of methods) allowed.add(method);
    }
    return allowed.size === 0 ? new RouteNotFoundError() : new MethodNotAllowedError([...allowed].sort());
  }
}

function matches(pattern: string, path: string): boolean {
  const expected = pattern.split('/');
  const actual = path.split('/');
  for (const [index, part] of expected.entries()) {
    if (part === '*') return true;
    if (part.startsWith(':') ? !actual[index] : part !== actual[index]) return false;
  }
  return expected.length === actual.length;
}
