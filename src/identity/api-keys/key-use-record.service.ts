import {
  type BeforeApplicationShutdown,
  Injectable,
  Logger,
  type OnApplicationBootstrap,
} from '@nestjs/common';
import { DataSource } from 'typeorm';
import { KeyUses } from '../auth/auth.guard.js';

const WRITE_EVERY_MS = 60_000;
/** Each statement takes a few milliseconds of the server's time. */
const KEYS_PER_STATEMENT = 1_000;

/**
 * Each key is written at most once a minute, for any number of processes. Locked rows, of keys that make another one or are
 * revoked, are left out: this statement waits for no other session. Their next use is written later.
 */
const WRITE = `
  UPDATE api_keys k SET last_used_at = due.used_at
    FROM (SELECT a.id, used.used_at FROM unnest($1::text[], $2::timestamptz[]) AS used (id, used_at)
            JOIN api_keys a ON a.id = used.id
           WHERE a.last_used_at IS NULL OR a.last_used_at <= used.used_at - interval '1 minute'
             FOR NO KEY UPDATE OF a SKIP LOCKED) AS due
   WHERE k.id = due.id`;

/** Records when keys were last used, once a minute and when the process ends. */
@Injectable()
export class KeyUseRecord implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly logger = new Logger('ApiKeys');
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly uses: KeyUses,
    private readonly dataSource: DataSource,
  ) {}

  onApplicationBootstrap(): void {
    this.timer = setInterval(() => void this.write(), WRITE_EVERY_MS).unref();
  }

  async beforeApplicationShutdown(): Promise<void> {
    clearInterval(this.timer);
    await this.write();
  }

  /** It never throws: a use that could not be written is written after the key's next use. */
  async write(): Promise<void> {
    const uses = [...this.uses.take()];
    try {
      for (let from = 0; from < uses.length; from += KEYS_PER_STATEMENT) {
        const batch = uses.slice(from, from + KEYS_PER_STATEMENT);
        const times = batch.map(([, usedAtMs]) => new Date(usedAtMs));
        await this.dataSource.query(WRITE, [batch.map(([id]) => id), times]);
      }
    } catch (error) {
      this.logger.warn(
        { event: 'key_uses.write_failed', err: error },
        'The last uses of API keys could not be written',
      );
    }
  }
}
