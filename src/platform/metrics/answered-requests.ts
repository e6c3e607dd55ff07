import { Injectable } from '@nestjs/common';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import { Counter, Histogram } from 'prom-client';
import { MetricsRegistry } from './metrics-registry.js';

/**
 * Records each request in the log and in the metrics, when its answer was sent or its client is gone. Both have the pattern of the
 * route and never the URL: query strings contain signatures, and paths contain names that customers chose.
 */
export function recordRequests(fastify: FastifyInstance, log: Logger, metrics: RequestMetrics): void {
  fastify.decorateRequest('problem', null);
  fastify.addHook('onResponse', (request, reply, done) => {
    logRequest(log, request, reply);
    metrics.observe(request, reply);
    done();
  });
}

/** The sender of a request, as far as the log may name it. The authentication guard sets it. */
type LoggedPrincipal = { readonly keyId?: string; readonly accountId?: string };

function logRequest(log: Logger, request: FastifyRequest, reply: FastifyReply): void {
  const { problem } = request;
  const isFault = problem !== null && problem.status >= 500;
  if (!isFault && !log.isLevelEnabled('info')) return;
  const principal = (request as { principal?: LoggedPrincipal }).principal;
  const line = {
    event: isFault ? 'http.request_failed' : 'http.request_answered',
    request: request.id,
    method: request.method,
    route: request.routeOptions.url ?? null,
    status: reply.statusCode,
    ms: Math.round(reply.elapsedTime * 10) / 10,
    account: principal?.accountId,
    key: principal?.keyId,
    code: problem?.code,
    // It is set when the answer was not sent completely: the client disconnected, or a stream broke.
    cut: reply.raw.writableFinished ? undefined : true,
  };
  // An error of this service is logged with its cause; the refusal of a client's mistake is not.
  if (isFault) log.error({ ...line, err: problem.cause ?? problem }, 'A request failed');
  else log.info(line, 'A request was answered');
}

/** The buckets reach from a debit on an idle machine to a call that waited for a slow image. */
const DURATION_BUCKETS_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30, 120];

/** All paths that match no route are one series, so that a scan for paths cannot use up the memory. */
const UNMATCHED = 'unmatched';

@Injectable()
export class RequestMetrics {
  private readonly duration: Histogram;
  private readonly problems: Counter;

  constructor(registry: MetricsRegistry) {
    this.duration = new Histogram({
      name: 'coffer_http_request_duration_seconds',
      help: 'Requests by route, and how long their answers took.',
      labelNames: ['method', 'route', 'status'],
      buckets: DURATION_BUCKETS_SECONDS,
      registers: [registry],
    });
    this.problems = new Counter({
      name: 'coffer_http_problems_total',
      help: 'Refused requests by error code.',
      labelNames: ['code'],
      registers: [registry],
    });
  }

  observe(
    { method, routeOptions: { url: route = UNMATCHED }, problem }: FastifyRequest,
    reply: FastifyReply,
  ): void {
    this.duration.observe({ method, route, status: reply.statusCode }, reply.elapsedTime / 1_000);
    if (problem !== null) this.problems.inc({ code: problem.code });
  }
}
