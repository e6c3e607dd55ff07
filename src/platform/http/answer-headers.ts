import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import helmet from 'helmet';
import { applyDecorators, Header } from '@nestjs/common';
import { ApiOkResponse, ApiProduces } from '@nestjs/swagger';

type Headers = Readonly<Record<string, string>>;

/** An answer of the API is data: a browser that is led to open one may load and run nothing. */
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

/** For pages of plain HTML, without any script and with our own style sheet only. */
const STATIC_PAGE_POLICY = {
  defaultSrc: ["'none'"],
  styleSrc: ["'self'"],
  imgSrc: ["'self'"],
  formAction: ["'self'"],
  baseUri: ["'none'"],
  frameAncestors: ["'none'"],
};

const pageHeaders: Headers = helmetHeaders(PAGE_POLICY);
export const STATIC_PAGE_HEADERS: Headers = helmetHeaders(STATIC_PAGE_POLICY);

/** Allows what our own pages need, in an answer that a browser displays. */
export function asPage(reply: FastifyReply): FastifyReply {
  return reply.headers(pageHeaders);
}

/** Allows what a page without any script needs. */
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

/** A decorator for a route that answers with a page, which loads nothing but our style sheet. */
export function HtmlAnswer(): MethodDecorator {
  return applyDecorators(
    ...Object.entries(STATIC_PAGE_HEADERS).map(([name, value]) => Header(name, value)),
    Header('content-type', 'text/html; charset=utf-8'),
    ApiProduces('text/html'),
    ApiOkResponse({ schema: { type: 'string' } }),
  );
}
