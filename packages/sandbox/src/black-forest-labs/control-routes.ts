import type { FastifyInstance } from 'fastify';
import { ControlBodyError, readControlBody } from '../control-body.js';
import type { SandboxBlackForestLabsControl } from './control.js';

/** The control object over HTTP, for scripts: JSON in, JSON out, under `/_sandbox`. */
export function registerControlRoutes(app: FastifyInstance, control: SandboxBlackForestLabsControl): void {
  app.setErrorHandler((error, _request, reply) => {
    const isMistake = error instanceof ControlBodyError || error instanceof RangeError;
    return reply
      .status(isMistake ? 400 : 500)
      .send({ error: error instanceof Error ? error.message : String(error) });
  });

  app.post('/_sandbox/faults', (request) => {
    const { directive, times } = readControlBody(request.body, { directive: 'string', times: 'integer' });
    if (directive === undefined) throw new ControlBodyError('directive is required');
    control.fail(directive, times);
    return { ok: true };
  });

  app.delete('/_sandbox/faults', () => {
    control.clearFaults();
    return { ok: true };
  });

  app.post('/_sandbox/settings', (request) => {
    const body = readControlBody(request.body, { active_tasks_max: 'integer', latency_ms: 'integer' });
    if (body.active_tasks_max !== undefined) control.setActiveTasksMax(body.active_tasks_max);
    if (body.latency_ms !== undefined) control.setLatencyMs(body.latency_ms);
    return { ok: true };
  });

  app.post('/_sandbox/credits', (request) => {
    const { api_key: apiKey, credits } = readControlBody(request.body, {
      api_key: 'string',
      credits: 'integer',
    });
    if (apiKey === undefined || credits === undefined)
      throw new ControlBodyError('api_key and credits are required');
    control.setCredits(apiKey, credits);
    return { ok: true };
  });

  app.get('/_sandbox/counts', () => control.counts());
}
