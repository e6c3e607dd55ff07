import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import helmet from 'helmet';

type Headers = Readonly<Record<string, string>>;

/** An answer of the API is data: if a browser is ever made to open one, it may load and run nothing. */
const API_POLICY = { defaultSrc: ["'none'"], frameAncestors: ["'none'"] };

/** Our own pages use only what this service serves itself. */
const PAGE_POLICY = {
  defaultSrc: ["'none'"],
  scriptSrc: ["'self'"],
  // Swagger UI sets style attributes from its script.
  styleSrc: ["'self'", "'unsafe-inline'"],
  imgSrc: ["'self'", 'data:'],
  connectSrc: ["'self'"],
  formAction: ["'self'"],
  baseUri: ["'none'"],
  frameAncestors: ["'none'"],
};

/** Every security header that helmet sets. Most of them are about documents, and mean nothing on data. */
const apiHeaders: Headers = helmetHeaders(API_POLICY);

const OF_DATA = [
  'content-security-policy',
  'cross-origin-resource-policy',
  'strict-transport-security',
  'x-content-type-options',
];

/**
 * Headers that every answer carries. They never change, so helmet is asked for them once: asking it for every request would
 * cost more than the rest of the pipeline. All twelve of its headers on every answer were a tenth of the service's work for a
 * debit, so data carries the four that protect data.
 */
export class AnswerHeaders {
  private readonly constant: Headers;

  constructor(further: Headers) {
    const ofData = Object.entries(apiHeaders).filter(([name]) => OF_DATA.includes(name));
    this.constant = { ...Object.fromEntries(ofData), 'cache-control': 'no-store', ...further };
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

/** Pages of plain HTML: no script at all, and no style but that of our own file. */
const STATIC_PAGE_POLICY = {
  defaultSrc: ["'none'"],
  styleSrc: ["'self'"],
  imgSrc: ["'self'"],
  formAction: ["'self'"],
  baseUri: ["'none'"],
  frameAncestors: ["'none'"],
};

const pageHeaders: Headers = helmetHeaders(PAGE_POLICY);
/** Of a page without any script. */
export const STATIC_PAGE_HEADERS: Headers = helmetHeaders(STATIC_PAGE_POLICY);

/** For an answer that a browser shows: loosens the policy of the API to what our own pages need. */
export function asPage(reply: FastifyReply): FastifyReply {
  return reply.headers(pageHeaders);
}

/** For a page without any script. */
export function asStaticPage(reply: FastifyReply): FastifyReply {
  return reply.headers(STATIC_PAGE_HEADERS);
}

function helmetHeaders(directives: Record<string, string[]>): Headers {
  const response = new ServerResponse(new IncomingMessage(new Socket()));
  helmet({ contentSecurityPolicy: { useDefaults: false, directives } })(
    response.req,
    response,
    () => undefined,
  );
  return Object.fromEntries(
    Object.entries(response.getHeaders()).map(([name, value]) => [name, String(value)]),
  );
}
