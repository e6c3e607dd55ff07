import { setTimeout as sleep } from 'node:timers/promises';
import { Injectable, Logger } from '@nestjs/common';
import type { GenerationKey } from '../records/generation.js';
import { RetryClaims } from './retry-claims.service.js';
import type { RetryingClient } from './retrying-client.js';

/** A client may read a large answer slowly; the receipt does not wait for it any longer than this. */
const ANSWER_MS = 5_000;

/**
 * Writes down with a call's outcome whether its answer reached its client: in one write, which is made behind the answer
 * anyway. So a call costs no write more, and a retry finds every attempt whose answer was lost.
 */
@Injectable()
export class AnswerEndings {
  private readonly logger = new Logger(AnswerEndings.name);

  constructor(private readonly claims: RetryClaims) {}

  /** Resolves when the outcome is written. `write` must not reject. */
  async record(
    { generation, client }: { readonly generation: GenerationKey; readonly client: RetryingClient | null },
    write: (answered?: boolean) => Promise<void>,
  ): Promise<void> {
    if (client === null) return write();
    const patience = new AbortController();
    const late = sleep(ANSWER_MS, null, { signal: patience.signal, ref: false }).catch(() => null);
    const answered = await Promise.race([client.answered, late]);
    patience.abort();
    const written = answered === null ? write() : write(answered);
    if (answered === true) this.heed(generation, client, written);
    await written;
    if (answered !== null) return;
    void client.answered.then((ending) => {
      const recorded = this.try(generation, () => this.claims.endAnswer(generation, ending));
      if (ending) this.heed(generation, client, recorded);
    });
  }

  /** `after`: what has to be written before. */
  heed(generation: GenerationKey, client: RetryingClient, after: Promise<void>): void {
    client.onDoubt(() => void after.then(() => this.try(generation, () => this.claims.doubt(generation))));
  }

  private async try(generation: GenerationKey, write: () => Promise<void>): Promise<void> {
    try {
      await write();
    } catch (error) {
      this.logger.warn({ generation: generation.id, err: error }, 'The end of an answer was not recorded');
    }
  }
}
