import type { FastifyInstance } from 'fastify';
import type { SandboxStripeControl } from './control.js';
import { ControlRefusedError, UnknownObjectError } from './control-errors.js';
import type { EventTampering } from './events.js';
import { isLoopbackUrl } from '../loopback-server.js';
import { readControlBody, ControlBodyError } from '../control-body.js';
import { registerMoneyControlRoutes } from './money-control-routes.js';

type IdParams = { readonly Params: { readonly id: string } };

/** The control object over HTTP, for scripts: JSON in, JSON out, under `/_sandbox`. */
export function registerControlRoutes(app: FastifyInstance, control: SandboxStripeControl): void {
  app.setErrorHandler((error, _request, reply) => {
    return reply
      .status(statusOf(error))
      .send({ error: error instanceof Error ? error.message : String(error) });
  });

  app.post('/_sandbox/webhook_endpoint', async (request) => {
    const body = readControlBody(request.body, {
      url: 'string',
      secret: 'string',
      enabled_events: 'strings',
    });
    const { url, secret, enabled_events: enabledEvents } = body;
    if (url === undefined || secret === undefined) throw new ControlBodyError('url and secret are required');
    if (!isLoopbackUrl(url)) throw new ControlBodyError('url must stay on this machine');
    await control.setWebhookEndpoint({
      url,
      secret,
      ...(enabledEvents === undefined ? {} : { enabledEvents }),
    });
    return { ok: true };
  });

  app.post('/_sandbox/webhook_faults', (request) => {
    const body = readControlBody(request.body, {
      copies: 'integer',
      delay_ms: 'integer',
      drop_next_attempts: 'integer',
      lose_events: 'boolean',
      only_types: 'strings',
      reorder: 'boolean',
    });
    control.setWebhookFaults({
      ...(body.copies === undefined ? {} : { copies: Math.max(1, body.copies) }),
      ...(body.delay_ms === undefined ? {} : { delayMs: body.delay_ms }),
      ...(body.drop_next_attempts === undefined ? {} : { dropNextAttempts: body.drop_next_attempts }),
      ...(body.lose_events === undefined ? {} : { loseEvents: body.lose_events }),
      ...(body.only_types === undefined ? {} : { onlyTypes: body.only_types }),
      ...(body.reorder === undefined ? {} : { reorder: body.reorder }),
    });
    return { ok: true };
  });

  app.post('/_sandbox/request_faults', (request) => {
    const body = readControlBody(request.body, {
      delay_ms: 'integer',
      lost: 'boolean',
      method: 'string',
      path_prefix: 'string',
      reset: 'boolean',
      should_retry: 'boolean',
      status: 'integer',
      times: 'integer',
    });
    const outcome = body.lost === true ? 'lost' : body.reset === true ? 'reset' : body.status;
    control.failRequests({
      ...(body.method === 'GET' || body.method === 'POST' ? { method: body.method } : {}),
      ...(body.path_prefix === undefined ? {} : { pathPrefix: body.path_prefix }),
      ...(body.times === undefined ? {} : { times: body.times }),
      ...(body.delay_ms === undefined ? {} : { delayMs: body.delay_ms }),
      ...(outcome === undefined ? {} : { outcome }),
      ...(body.should_retry === undefined ? {} : { shouldRetry: body.should_retry }),
    });
    return { ok: true };
  });

  app.delete('/_sandbox/faults', () => {
    control.clearFaults();
    return { ok: true };
  });

  registerObjectRoutes(app, control);
  registerMoneyControlRoutes(app, control);
}

function statusOf(error: unknown): number {
  if (error instanceof UnknownObjectError) return 404;
  return error instanceof ControlBodyError || error instanceof ControlRefusedError ? 400 : 500;
}

function registerObjectRoutes(app: FastifyInstance, control: SandboxStripeControl): void {
  app.get('/_sandbox/deliveries', () => ({ data: control.deliveries() }));

  app.post<IdParams>('/_sandbox/events/:id/send', async (request) => {
    const { times, secret } = readControlBody(request.body, { times: 'integer', secret: 'string' });
    const options = {
      ...(times === undefined ? {} : { times }),
      ...(secret === undefined ? {} : { secret }),
    };
    return { statuses: await control.sendEvent(request.params.id, options) };
  });

  app.post<IdParams>('/_sandbox/events/:id/tamper', (request) => {
    const { event, object } = readControlBody(request.body, { event: 'object', object: 'object' });
    const tampering: EventTampering = {
      ...(event === undefined ? {} : { event }),
      ...(object === undefined ? {} : { object }),
    };
    return control.emitTamperedEvent(request.params.id, tampering);
  });

  app.post<IdParams>('/_sandbox/checkout_sessions/:id/expire', (request) =>
    control.expireCheckoutSession(request.params.id),
  );

  app.post<IdParams>('/_sandbox/checkout_sessions/:id/override', (request) => {
    const { object = {} } = readControlBody(request.body, { object: 'object' });
    return control.overrideCheckoutSession(request.params.id, object);
  });
}
