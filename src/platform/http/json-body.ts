import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { FastifyRequest } from 'fastify';
import { MalformedBodyError, UnsupportedMediaTypeError } from '../errors/common.errors.js';
import { refuseComplexJson } from './json-bounds.js';

/**
 * Largest body of an ordinary route: 1 MiB takes a batch of 1,000 debits and Stripe's largest events several
 * times over. A route that takes more registers its own content type parser.
 */
export const BODY_LIMIT_BYTES = 1_048_576;

type Done = (error: Error | null, body?: unknown) => void;

/**
 * JSON and nothing else: a body of another type is answered 415 instead of reaching a handler as text.
 * Webhooks verify a signature over the bytes that came in, so those stay on `request.rawBody`.
 */
export function acceptJsonBodies(app: NestFastifyApplication): void {
  app.getHttpAdapter().getInstance().removeAllContentTypeParsers();
  app.useBodyParser('application/json', { bodyLimit: BODY_LIMIT_BYTES }, parseJson);
  for (const type of FORM_TYPES) app.useBodyParser(type, { bodyLimit: FORM_LIMIT_BYTES }, dropForm);
}

/** Where the buttons of our own pages lead, and the one-click request of mail programs (RFC 8058). */
const FORM_ROUTES = '/alerts/';
/** Browsers send the one, mail programs either: RFC 8058 prefers multipart. */
const FORM_TYPES = ['application/x-www-form-urlencoded', 'multipart/form-data'];
/** `List-Unsubscribe=One-Click` is the longest that is sent. */
const FORM_LIMIT_BYTES = 1_024;

/** All that such a form says stands in its address; nothing of its body reaches a handler. */
function dropForm(request: FastifyRequest, _body: unknown, done: Done): void {
  if (request.url.startsWith(FORM_ROUTES)) done(null, undefined);
  else done(new UnsupportedMediaTypeError());
}

function parseJson(_request: FastifyRequest, body: unknown, done: Done): void {
  let value: unknown;
  try {
    value = readJson(body as Buffer);
  } catch (error) {
    return done(error as Error);
  }
  done(null, value);
}

/**
 * Undefined for no text at all: many clients name the type also where there is nothing to say.
 *
 * @throws MalformedBodyError, BodyTooComplexError
 */
export function readJson(body: Buffer): unknown {
  refuseComplexJson(body);
  const text = body.toString();
  if (text === '') return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new MalformedBodyError();
  }
  // A `__proto__` member would become an ordinary property here and somebody's prototype after a copy.
  if (MAY_NAME_PROTO.some((hint) => text.includes(hint)) && hasProtoMember(value))
    throw new MalformedBodyError();
  return value;
}

/** Spelled out, or with escapes; looking at every member of every body would be slower. */
const MAY_NAME_PROTO = ['__proto__', '\\u'];

function hasProtoMember(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return Object.hasOwn(value, '__proto__') || Object.values(value).some(hasProtoMember);
}
