import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Logger } from 'pino';

/** Who sent the request, as far as the logs may know. Set by the authentication guard. */
type LoggedPrincipal = { readonly keyId?: string; readonly accountId?: string };

/**
 * One line a request, when its answer is sent or the client is gone. The line has the route's pattern and
 * never the URL: query strings carry signatures, and paths carry what a customer named.
 */
export function logRequests(fastify: FastifyInstance, log: Logger): void {
  fastify.decorateRequest('problem', null);
  fastify.addHook('onResponse', (request, reply, done) => {
    writeLine(log, request, reply);
    done();
  });
}

function writeLine(log: Logger, request: FastifyRequest, reply: FastifyReply): void {
  const { problem } = request;
  const isFault = problem !== null && problem.status >= 500;
  if (!isFault && !log.isLevelEnabled('info')) return;
  const principal = (request as { principal?: LoggedPrincipal }).principal;
  const line = {
    request: request.id,
    method: request.method,
    route: request.routeOptions.url ?? null,
    status: reply.statusCode,
    ms: Math.round(reply.elapsedTime * 10) / 10,
    account: principal?.accountId,
    key: principal?.keyId,
    code: problem?.code,
    // The answer was not sent whole: the client went away, or a stream broke.
    cut: reply.raw.writableFinished ? undefined : true,
  };
  // A problem of ours keeps what caused it; a refusal of the client's mistake does not.
  if (isFault) {
    log.error({ ...line, err: problem.cause ?? problem }, 'request failed');
    return;
  }
  log.info(line, 'request');
}
