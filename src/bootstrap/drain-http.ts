import { setTimeout as sleep } from 'node:timers/promises';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { Logger } from 'pino';
import { Lifecycle } from '../platform/common/lifecycle.js';

/**
 * An image call may wait this long for its provider. A call that is still running then is cut, and the recovery
 * job settles it as it would after a crash.
 */
const DRAIN_TIMEOUT_MS = 130_000;

const IDLE_SWEEP_MS = 50;

/**
 * Makes readiness fail, waits until the load balancer has had time to notice, stops accepting connections and
 * resolves when every accepted request is answered or, at the end of the time limit, cut.
 */
export async function drainHttp(
  app: NestFastifyApplication,
  delaySeconds: number,
  log: Logger,
): Promise<void> {
  app.get(Lifecycle).drain();
  if (delaySeconds > 0) await sleep(delaySeconds * 1_000);
  const fastify = app.getHttpAdapter().getInstance();
  const cut = setTimeout(() => {
    log.warn({ event: 'http.drain_timed_out' }, 'Requests are still running; their connections are cut');
    fastify.server.closeAllConnections();
  }, DRAIN_TIMEOUT_MS);
  // A connection whose last answer was being sent when the stop came would otherwise idle until its keep-alive ends.
  const sweep = setInterval(() => fastify.server.closeIdleConnections(), IDLE_SWEEP_MS);
  try {
    await fastify.close();
  } finally {
    clearTimeout(cut);
    clearInterval(sweep);
  }
}
