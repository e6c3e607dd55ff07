import { NotFoundException } from '@nestjs/common';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { InvalidRequestError, MalformedHttpError } from '../errors/common.errors.js';

/** No route knows more than ten; a list of names may repeat one. */
export const QUERY_PARAMETERS_MAX = 50;

/**
 * What holds of every request, and is checked when its headers are read: no body is read, no key is looked up and no class
 * is filled in for a request that breaks it.
 */
export function refuseEarly(fastify: FastifyInstance): void {
  fastify.addHook('onRequest', (request, _reply, done) => {
    const error = faultOf(request);
    if (error === null) done();
    else done(error);
  });
}

function faultOf(request: FastifyRequest): Error | null {
  if (!hasOneHost(request)) {
    return new MalformedHttpError('The request must have exactly one Host header.');
  }
  if (hasManyParameters(request.raw.url ?? '')) {
    return new InvalidRequestError(
      `The query has more than ${QUERY_PARAMETERS_MAX} parameters. Nothing was charged.`,
    );
  }
  // As the handler of unmatched routes would say after it has read the body.
  return request.is404 ? new NotFoundException() : null;
}

/**
 * RFC 9112, 3.2. Two of them are read as one by us and as the other by some proxy before us. The server joins them with a
 * comma (`joinDuplicateHeaders`), which no host has.
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
