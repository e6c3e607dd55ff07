import type { ServerResponse } from 'node:http';
import { onAnswerEnd } from '../../platform/http/connection-answers.js';
import { AccountBusyError } from './rate-limit.errors.js';

/** A client that sends this many requests at once does not wait for answers. */
export const WAITING_PER_ACCOUNT_MAX = 100;

type Turns = {
  working: number;
  /** They are in the order in which they came. */
  readonly waiting: Set<() => void>;
};

/**
 * Limits how many requests of one account this process works on at the same time: further ones wait for those of their own
 * account, so for any number of requests of one account, the others can still use the connections to the database. A slot is held until
 * the answer was sent or its connection has ended.
 */
export class AccountTurns {
  private readonly accounts = new Map<string, Turns>();

  constructor(private readonly workingMax: number) {}

  /**
   * Returns true at once, or as soon as this request has a slot; never, when its client leaves before. Throws
   * `AccountBusyError` (429) when too many wait.
   */
  enter(accountId: string, response: ServerResponse): true | Promise<true> {
    const turns = this.getSlots(accountId);
    if (turns.working < this.workingMax) {
      turns.working += 1;
      onAnswerEnd(response, () => this.leave(accountId, turns));
      return true;
    }
    if (turns.waiting.size >= WAITING_PER_ACCOUNT_MAX) throw new AccountBusyError(WAITING_PER_ACCOUNT_MAX);
    return new Promise((resolve) => {
      const begin = (): void => resolve(true);
      turns.waiting.add(begin);
      onAnswerEnd(response, () => {
        if (!turns.waiting.delete(begin)) this.leave(accountId, turns);
      });
    });
  }

  /** Gives the slot to the first waiting request, after every request of the closed connection has been notified of its end. */
  private leave(accountId: string, turns: Turns): void {
    queueMicrotask(() => {
      const [next] = turns.waiting;
      if (next !== undefined) {
        turns.waiting.delete(next);
        next();
        return;
      }
      turns.working -= 1;
      if (turns.working === 0) this.accounts.delete(accountId);
    });
  }

  private getSlots(accountId: string): Turns {
    const known = this.accounts.get(accountId);
    if (known !== undefined) return known;
    const turns = { working: 0, waiting: new Set<() => void>() };
    this.accounts.set(accountId, turns);
    return turns;
  }
}
