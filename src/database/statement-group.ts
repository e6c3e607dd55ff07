import type { PoolClient } from 'pg';
import type { DataSource } from 'typeorm';
import { isConnectionFailure } from './constraints.js';
import { runTogether, type StatementCall } from './pipeline.js';

/** More would hold the locks of the first rows longer without saving much more. */
const GROUP_MAX = 32;

type Row = Record<string, unknown>;

type Waiting = {
  readonly call: StatementCall;
  readonly resolve: (rows: Row[]) => void;
  readonly reject: (reason: unknown) => void;
};

/**
 * Statements of unrelated callers, each complete in itself, sent together: while one packet is under way the next
 * gathers, and a packet is one tx. It saves packets and commits, not work: each caller gets its own rows, and
 * when one statement makes the server refuse the packet, every statement is run again by itself, so nobody
 * pays for a neighbour. Statements must therefore be safe to repeat.
 */
export class StatementGroup {
  private waiting: Waiting[] = [];
  private sending = false;

  constructor(private readonly dataSource: DataSource) {}

  /** Resolves when the statement is committed. Rejects with what the database throws. */
  run(call: StatementCall): Promise<Row[]> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ call, resolve, reject });
      if (!this.sending) void this.drain();
    });
  }

  /** By itself, at once, beside whatever packet is under way. */
  async runAlone(call: StatementCall): Promise<Row[]> {
    const [rows = []] = await this.runAll([call]);
    return rows;
  }

  /** Never rejects: every caller gets its own answer. */
  private async drain(): Promise<void> {
    this.sending = true;
    while (this.waiting.length > 0) await this.send(this.waiting.splice(0, GROUP_MAX));
    this.sending = false;
  }

  private async send(group: readonly Waiting[]): Promise<void> {
    try {
      const results = await this.runAll(group.map(({ call }) => call));
      group.forEach(({ resolve }, index) => resolve(results[index] ?? []));
    } catch (error) {
      if (group.length > 1 && !isConnectionFailure(error)) {
        for (const waiting of group) await this.send([waiting]);
      } else {
        for (const { reject } of group) reject(error);
      }
    }
  }

  private async runAll(calls: readonly StatementCall[]): Promise<Row[][]> {
    const runner = this.dataSource.createQueryRunner();
    try {
      return await runTogether((await runner.connect()) as PoolClient, calls);
    } finally {
      await runner.release();
    }
  }
}
