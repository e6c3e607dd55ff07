import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { applyDecorators, Header } from '@nestjs/common';
import { ApiOkResponse, ApiProduces } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import helmet from 'helmet';

export type Headers = Readonly<Record<string, string>>;

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

export function helmetHeaders(directives: Record<string, string[]>): Headers {
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
