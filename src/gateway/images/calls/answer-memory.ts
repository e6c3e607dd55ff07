import { Injectable } from '@nestjs/common';
import { Problem } from '../../../platform/errors/problem.js';

/** What all answers with images in them may hold in a process: below a gigabyte with all that the process needs besides. */
export const ANSWER_BYTES_MAX = 256 * 1_048_576;
/** Of one account, so that none can keep the others out: two hundred calls of an ordinary image at once. */
export const ANSWER_BYTES_PER_ACCOUNT_MAX = 64 * 1_048_576;
/** An answer that is read from the store while it is sent: one piece read, one encoded, one on its way to the socket. */
export const STREAM_BYTES = 192 * 1_024;

/** Too many answers with images are being made or sent. */
export class AnswersBusyError extends Problem {
  readonly code = 'concurrency_limit_exceeded';
  constructor() {
    super(
      "Too many answers with images in them ('b64_json') are being made or read at the moment. Nothing was charged; retry " +
        "when one of yours is read, or ask for 'url'.",
      { retryAfterSeconds: 2 },
    );
  }
}

/** The part of the memory that one answer has. */
export type AnswerReservation = {
  /**
   * Whether so many bytes more may be kept in memory until the answer has ended. Whoever is refused loses nothing: the images
   * are in the store, and the answer is read from there while it is sent.
   */
  readonly tryKeep: (bytes: number) => boolean;
  readonly release: () => void;
};

/**
 * Counts what the answers under way hold in memory, from before anything is set aside for their calls until they have been
 * sent. A call that is let in is never refused for it later.
 */
@Injectable()
export class AnswerMemory {
  private total = 0;
  private readonly ofAccounts = new Map<string, number>();

  /** Throws `AnswersBusyError` (429). */
  reserve(accountId: string): AnswerReservation {
    let held = 0;
    let isReleased = false;
    const tryKeep = (bytes: number): boolean => {
      if (isReleased || !this.hasRoom(accountId, bytes)) return false;
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

  /** What is held at the moment. */
  get bytes(): number {
    return this.total;
  }

  private hasRoom(accountId: string, bytes: number): boolean {
    const ofAccount = this.ofAccounts.get(accountId) ?? 0;
    return this.total + bytes <= ANSWER_BYTES_MAX && ofAccount + bytes <= ANSWER_BYTES_PER_ACCOUNT_MAX;
  }

  private add(accountId: string, bytes: number): void {
    this.total += bytes;
    const ofAccount = (this.ofAccounts.get(accountId) ?? 0) + bytes;
    if (ofAccount > 0) this.ofAccounts.set(accountId, ofAccount);
    else this.ofAccounts.delete(accountId);
  }
}
