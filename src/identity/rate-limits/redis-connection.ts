import { Inject, Injectable, Logger, type OnModuleDestroy } from '@nestjs/common';
import { Redis } from 'ioredis';
import { CLOCK, type MonotonicClock } from '../../platform/common/clock.js';
import { SETTINGS, type Settings } from '../../platform/config/settings.js';

/** A paid call must not take longer because Redis does, so it does not wait longer than this for a count. */
export const COMMAND_TIMEOUT_MS = 250;
const CONNECT_TIMEOUT_MS = 2_000;
/** At the end as well, a connection that is already lost delays the exit for at most this long. */
const DISCONNECT_TIMEOUT_MS = 100;
const RECONNECT_WAIT_MAX_MS = 5_000;
/** After a failed command, Redis is not asked for this long, so that it delays one request and not every one. */
export const SUSPENDED_MS = 2_000;

/**
 * Redis, if it is configured, lets all processes count together. Nothing depends on it: while it is unavailable, each
 * process counts for itself.
 */
@Injectable()
export class RedisConnection implements OnModuleDestroy {
  /** Null when no Redis is configured. */
  readonly client: Redis | null;
  private readonly logger = new Logger(RedisConnection.name);
  private suspendedUntilMs = 0;
  private away = false;

  constructor(
    @Inject(SETTINGS) { redisUrl, rateLimit }: Pick<Settings, 'redisUrl' | 'rateLimit'>,
    @Inject(CLOCK) private readonly clock: MonotonicClock,
  ) {
    this.client = redisUrl === null || !rateLimit ? null : this.connect(redisUrl);
  }

  get usable(): boolean {
    return this.client?.status === 'ready' && this.clock.monotonicMs() >= this.suspendedUntilMs;
  }

  /** Call this when a command failed. */
  suspend(error: unknown): void {
    this.suspendedUntilMs = this.clock.monotonicMs() + SUSPENDED_MS;
    this.reportUnavailable(error);
  }

  onModuleDestroy(): void {
    this.client?.disconnect();
  }

  private connect(url: string): Redis {
    const client = new Redis(url, {
      commandTimeout: COMMAND_TIMEOUT_MS,
      connectTimeout: CONNECT_TIMEOUT_MS,
      disconnectTimeout: DISCONNECT_TIMEOUT_MS,
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      retryStrategy: (attempt) => Math.min(attempt * 200, RECONNECT_WAIT_MAX_MS),
    });
    // An error event without a listener would end the process.
    client.on('error', (error: Error) => this.reportUnavailable(error));
    client.on('ready', () => this.noteReady());
    return client;
  }

  /** Logs once for each outage. */
  private reportUnavailable(error: unknown): void {
    if (this.away) return;
    this.away = true;
    const reason = error instanceof Error ? error.message : String(error);
    this.logger.warn(
      { event: 'redis.unavailable', reason },
      'Redis is unavailable; each process counts for itself',
    );
  }

  private noteReady(): void {
    if (this.away)
      this.logger.log({ event: 'redis.available' }, 'Redis is available again; the processes count together');
    this.away = false;
  }
}
