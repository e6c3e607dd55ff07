import { systemClock, type Clock } from '../clock.js';
import { errorCode } from '../error-code.js';
import { createLoopbackServer, listenOnLoopback, noLog, type SandboxLog } from '../loopback-server.js';
import { UpstreamAccounts } from './accounts.js';
import type { UpstreamContext } from './context.js';
import { registerControlRoutes } from './control-routes.js';
import { SandboxBlackForestLabsControl } from './control.js';
import { FaultPlanner } from './faults.js';
import { problem, UpstreamHttpError } from './http-error.js';
import { PictureCache } from './picture-cache.js';
import { registerUpstreamRoutes } from './routes.js';
import { Tasks } from './tasks.js';

export type { SandboxBlackForestLabsControl } from './control.js';

/** Four reference images of 12 megapixels, base64. */
const BODY_LIMIT_BYTES = 64 * 1_048_576;
/** The real model takes about 3 s; a newcomer should see that it is not instant, and not wait. */
const LATENCY_DEFAULT_MS = 300;
/** What Black Forest Labs allows an account by default. */
const ACTIVE_TASKS_MAX_DEFAULT = 24;
/** A thousand dollars. */
const CREDITS_DEFAULT = 100_000;
/** How long the real service keeps a result. */
const RESULT_TTL_DEFAULT_MS = 600_000;

export type SandboxBlackForestLabsOptions = {
  /** 0, the default, picks a free one. */
  readonly port?: number;
  /** The only accepted key, besides those that the control object adds; by default any without `invalid` in it. */
  readonly apiKey?: string;
  /** From submit to ready; 300 by default. */
  readonly latencyMs?: number;
  /** Ready at the first poll; the same as a latency of 0. */
  readonly instant?: boolean;
  /** 24 by default; null is no limit. */
  readonly activeTasksMax?: number | null;
  /** What a new account has; 100,000 by default. */
  readonly credits?: number;
  /** How long a result can be downloaded; 600,000 by default. */
  readonly resultTtlMs?: number;
  /** False ignores unknown parameters, as the real service does; true, the default, finds our mistakes. */
  readonly refuseUnknownParameters?: boolean;
  /** How `Task not found` is answered: 200 by default, as the specification reads. */
  readonly taskNotFoundStatus?: 200 | 404;
  readonly clock?: Clock;
  readonly log?: SandboxLog;
};

export type SandboxBlackForestLabs = {
  /** For example `http://127.0.0.1:12112`. */
  readonly baseUrl: string;
  readonly control: SandboxBlackForestLabsControl;
  /** Stops serving; tasks are forgotten. */
  readonly close: () => Promise<void>;
};

/** Starts a server that speaks Black Forest Labs' HTTP on 127.0.0.1. Rejects when the port is taken. */
export async function startSandboxBlackForestLabs(
  options: SandboxBlackForestLabsOptions = {},
): Promise<SandboxBlackForestLabs> {
  let baseUrl = '';
  const context = createContext(options, () => baseUrl);
  const control = new SandboxBlackForestLabsControl(context);
  const app = createLoopbackServer(BODY_LIMIT_BYTES);
  app.setNotFoundHandler((_request, reply) => reply.status(404).send({ detail: 'Not Found' }));
  await app.register((scope, _options, done) => {
    scope.setErrorHandler((error, _request, reply) => {
      const refusal = refusalOf(context, error);
      if (refusal.retryAfterSeconds !== null) void reply.header('Retry-After', refusal.retryAfterSeconds);
      return reply.status(refusal.status).send({ detail: refusal.detail });
    });
    registerUpstreamRoutes(scope, context);
    done();
  });
  await app.register((scope, _options, done) => {
    registerControlRoutes(scope, control);
    done();
  });
  baseUrl = await listenOnLoopback(app, options.port ?? 0);
  let stopped: Promise<void> | null = null;
  return { baseUrl, control, close: () => (stopped ??= app.close()) };
}

function createContext(options: SandboxBlackForestLabsOptions, baseUrl: () => string): UpstreamContext {
  const acceptedKeys = options.apiKey === undefined ? null : new Set([options.apiKey]);
  return {
    accounts: new UpstreamAccounts(acceptedKeys, (options.credits ?? CREDITS_DEFAULT) * 1_000),
    baseUrl,
    clock: options.clock ?? systemClock,
    counts: { submits: 0, tasks: 0, polls: 0, downloads: 0, keysSentToDelivery: 0 },
    faults: new FaultPlanner(),
    log: options.log ?? noLog,
    pictures: new PictureCache(),
    refuseUnknownParameters: options.refuseUnknownParameters ?? true,
    resultTtlMs: options.resultTtlMs ?? RESULT_TTL_DEFAULT_MS,
    settings: {
      latencyMs: options.instant === true ? 0 : (options.latencyMs ?? LATENCY_DEFAULT_MS),
      activeTasksMax:
        options.activeTasksMax === undefined ? ACTIVE_TASKS_MAX_DEFAULT : options.activeTasksMax,
    },
    taskNotFoundStatus: options.taskNotFoundStatus ?? 200,
    tasks: new Tasks(),
  };
}

/** Whatever goes wrong is answered in FastAPI's words. */
function refusalOf({ log }: UpstreamContext, error: unknown): UpstreamHttpError {
  if (error instanceof UpstreamHttpError) return error;
  switch (errorCode(error)) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new UpstreamHttpError(413, 'Request Entity Too Large');
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new UpstreamHttpError(422, [
        problem(
          'model_attributes_type',
          ['body'],
          'Input should be a valid dictionary or object to extract fields from',
        ),
      ]);
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
    case 'FST_ERR_CTP_INVALID_JSON_BODY':
      return new UpstreamHttpError(422, [problem('json_invalid', ['body', 0], 'JSON decode error')]);
    default:
      log({ error: String(error) }, 'sandbox Black Forest Labs failed to answer a request');
      return new UpstreamHttpError(500, 'Internal Server Error');
  }
}
