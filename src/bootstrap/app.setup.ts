import { type INestApplicationContext, NotFoundException } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import { AppModule } from '../app.module.js';
import { AuthGuard, authenticateBeforeBodies } from '../identity/auth/auth.guard.js';
import { readApiFacts } from '../website/catalog/api-facts.js';
import { CatalogReaderService } from '../gateway/catalog/catalog-reader.service.js';
import { addCatalogPages } from '../website/catalog/add-catalog-pages.js';
import { CLOCK, type Clock, type MonotonicClock } from '../platform/common/clock.js';
import { NestLogger } from '../platform/logging/logger.js';
import type { Settings } from '../platform/config/settings.js';
import { isAuditHeadLocked, isUnavailable } from '../platform/database/constraints.js';
import {
  AllowedMethods,
  createHttpAdapter,
  refuseEarly,
  AnswerHeaders,
} from '../platform/http/http-adapter.js';
import { EDITS_PATH } from '../gateway/images/calls/images.controller.js';
import { limitConnections } from '../platform/http/connections.js';
import { acceptJsonBodies, boundBodies, leaveBodiesUnread } from '../platform/http/request-bodies.js';
import { addPages } from '../website/add-pages.js';
import { sandboxSentence } from '../platform/http/pages/page.js';
import { recordRequests, RequestMetrics } from '../platform/metrics/answered-requests.js';
import { RequestValidationPipe } from '../platform/http/validation.pipe.js';
import { AuditLogLockedError, DatabaseUnavailableError } from '../platform/errors/common.errors.js';
import { ProblemFilter } from '../platform/errors/problem.filter.js';
import type { ErrorTranslator } from '../platform/errors/to-problem.js';
import { limitAddresses, limitBodies } from '../identity/rate-limits/rate-limit.guard.js';
import { localUrl } from '../platform/config/local-url.js';
import { buildOpenApiDocument } from './openapi/openapi.js';

export type AppOptions = {
  readonly settings: Settings;
  readonly log: Logger;
  /** The outside parts that are simulated; every answer and page names them. It is empty in production. */
  readonly simulated?: readonly string[];
};

/** Every answer lists the simulated parts in this header, so that play money is never mistaken for real money. */
const SANDBOX_HEADER = 'x-coffer-sandbox';

/** The whole service, ready for `listen`. Its database is up and migrated. */
export async function createApp(options: AppOptions): Promise<NestFastifyApplication> {
  const { log, simulated = [] } = options;
  const publicUrl = options.settings.publicUrl ?? new URL(localUrl(options.settings));
  const settings: Settings = { ...options.settings, publicUrl };
  const headers = new AnswerHeaders(simulated.length === 0 ? {} : { [SANDBOX_HEADER]: simulated.join(', ') });
  const adapter = createHttpAdapter(headers, settings.trustedProxies);
  const app = await NestFactory.create<NestFastifyApplication>(AppModule.with(settings, simulated), adapter, {
    logger: new NestLogger(log),
    bodyParser: false,
    rawBody: true,
    abortOnError: false,
  });
  const fastify = adapter.getInstance<FastifyInstance>();
  acceptJsonBodies(app);
  const { httpConnectionsMax: connectionsMax, trustedProxies } = settings;
  const clock = app.get<Clock & MonotonicClock>(CLOCK);
  limitConnections(fastify.server, { connectionsMax, trustedProxies, clock }, log);
  boundBodies(fastify.server);
  authenticateBeforeBodies(fastify, app.get(AuthGuard, { strict: false }));
  limitBodies(fastify, EDITS_PATH);
  leaveBodiesUnread(fastify, EDITS_PATH);
  headers.addTo(fastify);
  if (settings.rateLimit) limitAddresses(fastify, clock);
  refuseEarly(fastify);
  recordRequests(fastify, log, app.get(RequestMetrics));
  app.useGlobalPipes(new RequestValidationPipe());
  app.useGlobalFilters(new ProblemFilter([unmatched(fastify), databaseAway]));
  const server = publicUrl.href.replace(/\/$/, '');
  const document = onDemand(() => buildOpenApiDocument(app, server));
  addPages(fastify, { simulated, publicUrl: server, buildDocument: document });
  addCatalogPages(fastify, {
    reader: app.get(CatalogReaderService),
    publicUrl: server,
    sandbox: sandboxSentence(simulated),
    readApi: () => readApiFacts(document()),
  });
  await app.init();
  return app;
}

/** Jobs only: the same modules, no HTTP. */
export function createWorker({ settings, log }: AppOptions): Promise<INestApplicationContext> {
  return NestFactory.createApplicationContext(AppModule.with({ ...settings, runJobs: true }), {
    logger: new NestLogger(log),
    abortOnError: false,
  });
}

/** Makes the value at the first call only, because building the document takes a noticeable part of a start. */
function onDemand<T>(make: () => T): () => T {
  let made: { readonly value: T } | null = null;
  return () => (made ??= { value: make() }).value;
}

function unmatched(fastify: FastifyInstance): ErrorTranslator {
  const routes = new AllowedMethods(fastify);
  return (error, request) =>
    error instanceof NotFoundException ? routes.findProblem(toPath(request.url)) : null;
}

function toPath(url: string): string {
  return url.split('?', 1)[0] ?? url;
}

/** Other modules wrap the connection failures of their own outside party; every remaining one is the database's. */
const databaseAway: ErrorTranslator = (error) => {
  if (isAuditHeadLocked(error)) return new AuditLogLockedError(error);
  return isUnavailable(error) ? new DatabaseUnavailableError(error) : null;
};
