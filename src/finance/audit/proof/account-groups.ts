import { compareBytes } from '../../../money/ledger/byte-order.js';
import type { TextRow } from '../../../platform/database/snapshot.js';

/**
 * Reads a stream that is sorted by account, whose id is the first column, one account at a time next to
 * another such stream: a merge join that holds one batch.
 */
export class AccountGroups {
  private batch: readonly TextRow[] = [];
  private at = 0;
  private ended = false;

  constructor(private readonly batches: AsyncGenerator<readonly TextRow[]>) {}

  /** The account of the next row; null at the end. */
  async peek(): Promise<string | null> {
    while (this.at === this.batch.length && !this.ended) {
      const next = await this.batches.next();
      this.batch = next.done === true ? [] : next.value;
      this.ended = next.done === true;
      this.at = 0;
    }
    return this.batch[this.at]?.[0] ?? null;
  }

  /** The rows of `accountId`; those of accounts before it are left out. */
  async takeUpTo(accountId: string): Promise<TextRow[]> {
    for (;;) {
      const next = await this.peek();
      if (next === null || compareBytes(next, accountId) >= 0) return this.take(accountId);
      await this.take(next);
    }
  }

  /** The next rows as long as they are of `accountId`. */
  async take(accountId: string): Promise<TextRow[]> {
    const rows: TextRow[] = [];
    while ((await this.peek()) === accountId) {
      rows.push(this.batch[this.at] as TextRow);
      this.at += 1;
    }
    return rows;
  }
}
