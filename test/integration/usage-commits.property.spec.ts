import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import pg from 'pg';
import { newId } from '../../src/platform/common/ids.js';
import { generate } from '../fixtures/images.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import type { TestCustomer } from '../support/app/test-app.js';
import {
  FREE_MODEL,
  rollUp,
  startUsageServices,
  type UsageServices,
} from '../support/images/usage-events.js';
import { usageOf } from '../support/images/usage.js';
import { checkProperty } from '../support/property.js';

/** Connections that each keep one commit open. */
const WRITERS = 3;
const END_OPENED = ['commit', 'roll back'] as const;

let services: UsageServices;
let writers: pg.Client[] = [];
beforeAll(async () => {
  services = await startUsageServices();
  writers = Array.from(
    { length: WRITERS },
    () => new pg.Client({ connectionString: services.service.databaseUrl }),
  );
  await Promise.all(writers.map((writer) => writer.connect()));
});
afterAll(async () => {
  const { service, other } = services;
  await Promise.all(writers.map((writer) => writer.end()));
  try {
    await expectBooksToBalance(service.dataSource);
  } finally {
    await Promise.all([service.close(), other.close()]);
  }
});

/** One thing that happens; `writer` says on which connection. */
type Step =
  | { readonly kind: 'end a call'; readonly writer: number; readonly hoursAhead: number }
  | { readonly kind: (typeof END_OPENED)[number]; readonly writer: number }
  | { readonly kind: 'call' | 'add up' | 'add up twice at once' };

const aWriter = fc.nat({ max: WRITERS - 1 });
const aStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('end a call' as const),
      writer: aWriter,
      // Processes whose clocks are a day and an hour off, in both directions, and some that are right.
      hoursAhead: fc.constantFrom(-25, -1, 0, 0, 1, 25),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constantFrom(...END_OPENED), writer: aWriter }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constantFrom('call' as const, 'add up' as const, 'add up twice at once' as const),
    }),
  },
);

/** Counts what was committed; what is still open is in no database. */
class Run {
  committed = 1;
  private readonly open = new Map<number, number>();

  constructor(private readonly customer: TestCustomer) {}

  async do(step: Step): Promise<void> {
    switch (step.kind) {
      case 'end a call':
        return this.endCall(step.writer, step.hoursAhead);
      case 'commit':
      case 'roll back':
        return this.close(step.writer, step.kind === 'commit');
      case 'call':
        await failFree(this.customer);
        this.committed += 1;
        return;
      case 'add up':
        return rollUp(services.service);
      case 'add up twice at once':
        await Promise.all([rollUp(services.service), rollUp(services.other)]);
    }
  }

  /** A call like the customer's first one, ended by a process with its own clock, in a commit that may come much later. */
  private async endCall(writer: number, hoursAhead: number): Promise<void> {
    const client = writers[writer];
    if (!this.open.has(writer)) await client?.query('BEGIN');
    this.open.set(writer, (this.open.get(writer) ?? 0) + 1);
    await client?.query(
      `INSERT INTO generations
       SELECT (jsonb_populate_record(g, jsonb_build_object('id', $2::text,
                'finished_at', g.finished_at + make_interval(hours => $3)))).*
         FROM generations g WHERE g.account_id = $1 ORDER BY g.id LIMIT 1`,
      [this.customer.accountId, newId('generation'), hoursAhead],
    );
  }

  private async close(writer: number, keep: boolean): Promise<void> {
    const calls = this.open.get(writer);
    if (calls === undefined) return;
    await writers[writer]?.query(keep ? 'COMMIT' : 'ROLLBACK');
    this.open.delete(writer);
    if (keep) this.committed += calls;
  }

  async commitAll(): Promise<void> {
    for (const writer of this.open.keys()) await this.close(writer, true);
  }
}

/** Its row is written after the answer, and usage waits for that. */
async function failFree(customer: TestCustomer): Promise<void> {
  (await generate(customer, { model: FREE_MODEL, prompt: '[sandbox:error]' })).expect(500);
  await usageOf(customer);
}

async function countedCalls({ accountId }: TestCustomer): Promise<number> {
  const [row] = await services.service.dataSource.query<{ calls: number }[]>(
    'SELECT coalesce(sum(calls), 0)::integer AS calls FROM usage_days WHERE account_id = $1',
    [accountId],
  );
  return row?.calls ?? 0;
}

describe('a call that charged nothing', () => {
  it('is counted once it is committed, and once only, whatever clocks say and in whatever order commits come', async () => {
    await checkProperty(
      'usage counts every commit',
      fc.asyncProperty(fc.array(aStep, { minLength: 6, maxLength: 24 }), async (steps) => {
        const { service } = services;
        const customer = await service.createCustomer();
        await failFree(customer);
        const run = new Run(customer);
        try {
          for (const step of steps) {
            await run.do(step);
            expect(await countedCalls(customer)).toBeLessThanOrEqual(run.committed);
          }
        } finally {
          await run.commitAll();
        }
        await rollUp(service);
        expect(await countedCalls(customer)).toBe(run.committed);
        await rollUp(services.other);
        expect(await countedCalls(customer)).toBe(run.committed);
      }),
      { runs: 24 },
    );
  });
});
