import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { Inject, Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { InvalidSettingsError } from '../config/environment-reader.js';
import { SETTINGS, type Settings } from '../config/settings.js';
import { systemClock } from '../common/clock.js';
import { boundConnections, StalledPeers } from '../http/connections.js';
import { mayReadMetrics } from './metrics-access.js';
import { MetricsRegistry } from './metrics-registry.js';

/** A scraper sends a few hundred bytes and waits for some ten kilobytes. */
const REQUEST_TIMEOUT_MS = 10_000;
const CONNECTIONS_MAX = 20;

/** Serves the metrics on the port that `METRICS_PORT` names, also in a process that only runs jobs. */
@Injectable()
export class MetricsServer implements OnApplicationBootstrap, OnApplicationShutdown {
  private server: Server | null = null;

  constructor(
    private readonly registry: MetricsRegistry,
    @Inject(SETTINGS) private readonly settings: Pick<Settings, 'metrics'>,
  ) {}

  /** The port on which it listens; null when the metrics have no port of their own. */
  get port(): number | null {
    const address = this.server?.address();
    return typeof address === 'object' && address !== null ? address.port : null;
  }

  /** @throws InvalidSettingsError when it cannot listen there. */
  async onApplicationBootstrap(): Promise<void> {
    const { host, port, token } = this.settings.metrics;
    if (port === null) return;
    this.server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS }, (request, response) => {
      void this.answer(request, token).then(({ status, body }) =>
        response.writeHead(status, { 'content-type': this.registry.contentType }).end(body),
      );
    });
    boundConnections(this.server, {
      connectionsMax: CONNECTIONS_MAX,
      trustedProxies: [],
      clock: systemClock,
    });
    new StalledPeers(this.server);
    this.server.listen(port, host);
    await once(this.server, 'listening').catch((error: unknown) => {
      this.server = null;
      const code = (error as { readonly code?: string }).code ?? 'unknown';
      throw new InvalidSettingsError([`METRICS_PORT cannot be listened on (${host}:${port}, ${code}).`]);
    });
  }

  onApplicationShutdown(): void {
    this.server?.close();
    this.server?.closeAllConnections();
  }

  private async answer(
    { method, url, headers }: IncomingMessage,
    token: string | null,
  ): Promise<{ readonly status: number; readonly body: string }> {
    if (method !== 'GET' || url !== '/metrics') return { status: 404, body: '' };
    if (!mayReadMetrics(token, headers.authorization)) return { status: 401, body: '' };
    return this.registry.metrics().then(
      (body) => ({ status: 200, body }),
      () => ({ status: 500, body: '' }),
    );
  }
}
