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
import { helmetHeaders, type Headers } from './pages/page-headers.js';
import {
  answerClientError,
  KEEP_ALIVE_TIMEOUT_MS,
  REQUEST_TIMEOUT_MS,
  TIMEOUT_CHECK_INTERVAL_MS,
} from './connections.js';
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

/** An answer of the API is data: a browser that is led to open one may load and run nothing. */
const API_POLICY = { defaultSrc: ["'none'"], frameAncestors: ["'none'"] };

/** Every security header that helmet sets. Most of them are for documents, and have no effect on data. */
const apiHeaders: Headers = helmetHeaders(API_POLICY);

const DATA_HEADERS = [
  'content-security-policy',
  'cross-origin-resource-policy',
  'strict-transport-security',
  'x-content-type-options',
];

/**
 * The headers of every answer. They never change, so helmet creates them once: for every request, it would cost more than the rest of
 * the pipeline. All twelve of its headers on every answer were a tenth of the service's work for a debit, so data has only the
 * four that protect data.
 */
export class AnswerHeaders {
  private readonly constant: Headers;

  constructor(further: Headers) {
    const forData = Object.entries(apiHeaders).filter(([name]) => DATA_HEADERS.includes(name));
    this.constant = { ...Object.fromEntries(forData), 'cache-control': 'no-store', ...further };
  }

  set(request: FastifyRequest, reply: FastifyReply): void {
    reply.headers(this.constant);
    reply.header('x-request-id', request.id);
  }

  addTo(fastify: FastifyInstance): void {
    fastify.addHook('onRequest', (request, reply, done) => {
      this.set(request, reply);
      done();
    });
  }
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
