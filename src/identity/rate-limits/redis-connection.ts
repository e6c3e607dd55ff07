import { Inject, Injectable, Logger, type OnModuleDestroy } from '@nestjs/common';
import { Redis } from 'ioredis';
import { CLOCK, type MonotonicClock } from '../../platform/common/clock.js';
import { SETTINGS, type Settings } from '../../platform/config/settings.js';

/** A count is not worth waiting for: a paid call must not take longer because Redis does. */
export const COMMAND_TIMEOUT_MS = 250;
const CONNECT_TIMEOUT_MS = 2_000;
/** Nothing is worth waiting for at the end either: a connection that is gone already would hold up the exit this long. */
const DISCONNECT_TIMEOUT_MS = 100;
const RECONNECT_WAIT_MAX_MS = 5_000;
/** After a failed command Redis is left alone for this long, so that it delays one request and not each. */
export const SUSPENDED_MS = 2_000;

/**
 * Redis, if there is one, so that all processes count together. Nothing depends on it: while it is away each
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

  /** Call when a command failed. */
  suspend(error: unknown): void {
    this.suspendedUntilMs = this.clock.monotonicMs() + SUSPENDED_MS;
    this.noteAway(error);
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
    // Without a listener an error event would end the process.
    client.on('error', (error: Error) => this.noteAway(error));
    client.on('ready', () => this.noteReady());
    return client;
  }

  /** Says it once an outage. */
  private noteAway(error: unknown): void {
    if (this.away) return;
    this.away = true;
    const reason = error instanceof Error ? error.message : String(error);
    this.logger.warn(`Redis is away, each process counts for itself: ${reason}`);
  }

  private noteReady(): void {
    if (this.away) this.logger.log('Redis is back, the processes count together again.');
    this.away = false;
  }
}
