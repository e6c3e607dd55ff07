import { Injectable } from '@nestjs/common';
import { Problem } from '../../../platform/errors/problem.js';

/** All answers with images in them may hold this much in one process, which keeps the whole process below a gigabyte. */
export const ANSWER_BYTES_MAX = 256 * 1_048_576;
/** The part that one account may hold, so that it cannot keep the others out. It is enough for two hundred typical calls at once. */
export const ANSWER_BYTES_PER_ACCOUNT_MAX = 64 * 1_048_576;
/** What an answer needs that is read from the store while it is sent: one piece is read, one encoded, one written to the socket. */
export const STREAM_BYTES = 192 * 1_024;

/** Too many answers with images are being made or sent. */
export class AnswersBusyError extends Problem {
  readonly code = 'concurrency_limit_exceeded';
  constructor() {
    super(
      "Too many answers with images in them ('b64_json') are being made or read at the moment. Nothing was charged. Retry " +
        "after you have read one of your answers, or ask for 'url'.",
      { retryAfterSeconds: 2 },
    );
  }
}

/** The memory that is reserved for one answer. */
export type AnswerReservation = {
  /**
   * Reserves this many more bytes until the answer has ended, and returns whether there was room. A caller that is refused loses
   * nothing: the images are in the store, and the answer is read from there while it is sent.
   */
  readonly tryKeep: (bytes: number) => boolean;
  readonly release: () => void;
};

/**
 * Counts the memory that answers hold, from before any credit is set aside for their calls until they have been sent. Because
 * the minimum is reserved first, a call that is admitted is never refused later for want of memory.
 */
@Injectable()
export class AnswerMemory {
  private total = 0;
  private readonly bytesByAccount = new Map<string, number>();

  /** Throws `AnswersBusyError` (429). */
  reserve(accountId: string): AnswerReservation {
    let held = 0;
    let isReleased = false;
    const tryKeep = (bytes: number): boolean => {
      if (isReleased || !this.hasCapacity(accountId, bytes)) return false;
      this.add(accountId, bytes);
      held += bytes;
      return true;
    };
    if (!tryKeep(STREAM_BYTES)) throw new AnswersBusyError();
    const release = (): void => {
      if (!isReleased) this.add(accountId, -held);
      isReleased = true;
    };
    return { tryKeep, release };
  }

  /** How many bytes are reserved at the moment. */
  get bytes(): number {
    return this.total;
  }

  private hasCapacity(accountId: string, bytes: number): boolean {
    const ofAccount = this.bytesByAccount.get(accountId) ?? 0;
    return this.total + bytes <= ANSWER_BYTES_MAX && ofAccount + bytes <= ANSWER_BYTES_PER_ACCOUNT_MAX;
  }

  private add(accountId: string, bytes: number): void {
    this.total += bytes;
    const ofAccount = (this.bytesByAccount.get(accountId) ?? 0) + bytes;
    if (ofAccount > 0) this.bytesByAccount.set(accountId, ofAccount);
    else this.bytesByAccount.delete(accountId);
  }
}
