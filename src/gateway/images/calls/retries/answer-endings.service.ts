import { setTimeout as sleep } from 'node:timers/promises';
import { Injectable, Logger } from '@nestjs/common';
import type { GenerationKey } from '../records/generation.js';
import { RetryClaims } from './retry-claims.service.js';
import type { RetryingClient } from './retrying-client.js';

/** A client may read a large answer slowly. The receipt is written after this time at the latest. */
const ANSWER_MS = 5_000;

/**
 * Records, together with a call's outcome, whether its answer reached the client. The outcome is written after the answer anyway,
 * so this costs no further write, and a retry finds every attempt whose answer was lost.
 */
@Injectable()
export class AnswerEndings {
  private readonly logger = new Logger(AnswerEndings.name);

  constructor(private readonly claims: RetryClaims) {}

  /** Writes the outcome once the answer has ended, or after `ANSWER_MS`. Resolves when it is written. `write` must not reject. */
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
    if (answered === true) this.watchConnection(generation, client, written);
    await written;
    if (answered !== null) return;
    void client.answered.then((ending) => {
      const recorded = this.try(generation, () => this.claims.endAnswer(generation, ending));
      if (ending) this.watchConnection(generation, client, recorded);
    });
  }

  /**
   * Marks the attempt as abandoned when the connection ends shortly after the answer. `after` is the write that has to be complete
   * before.
   */
  watchConnection(generation: GenerationKey, client: RetryingClient, after: Promise<void>): void {
    client.onDoubt(
      () => void after.then(() => this.try(generation, () => this.claims.markAbandoned(generation))),
    );
  }

  private async try(generation: GenerationKey, write: () => Promise<void>): Promise<void> {
    try {
      await write();
    } catch (error) {
      this.logger.warn(
        { event: 'generation.answer_end_not_recorded', generation: generation.id, err: error },
        'Whether an answer reached its client could not be recorded',
      );
    }
  }
}
