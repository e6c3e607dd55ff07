import type { Logger } from '@nestjs/common';
import { describe, expect, it } from '@jest/globals';
import {
  GenerationJournal,
  type GenerationRecordsService,
} from '../../src/gateway/images/calls/records/generation-records.service.js';
import type { Generation, KnownTask } from '../../src/gateway/images/calls/records/generation.js';
import { nextTurn } from '../support/processes.js';

const HOUR_MS = 3_600_000;

const taskAt = (position: number): KnownTask => ({
  position,
  attempt: 1,
  provider: 'black_forest_labs',
  task: { taskId: `task-${position}`, pollingUrl: 'http://127.0.0.1/', costMicros: null },
});

/** A database that answers each write when the test says so. */
function openJournal() {
  const writes: { readonly positions: readonly number[]; readonly end: (failure?: Error) => void }[] = [];
  const begin: GenerationRecordsService['begin'] = (_generation, _authorizedAtMs, tasks) =>
    new Promise((resolve, reject) => {
      const end = (failure?: Error): void => (failure === undefined ? resolve(true) : reject(failure));
      writes.push({ positions: tasks.map(({ position }) => position), end });
    });
  const journal = new GenerationJournal(
    { begin } as GenerationRecordsService,
    { id: 'gen_test' } as Generation,
    0,
    { nowMs: () => 0 },
    { warn: () => undefined } as unknown as Logger,
    HOUR_MS,
  );
  return { journal, writes };
}

describe('what is known of a call that is about to be charged', () => {
  it('is written first: also tasks that became known while an earlier write was under way', async () => {
    const { journal, writes } = openJournal();
    for (const position of [0, 1, 2]) journal.add(taskAt(position));
    const closed = journal.close(true);
    writes[0]?.end();
    await nextTurn();
    expect(writes.map(({ positions }) => positions)).toEqual([[0], [1, 2]]);
    writes[1]?.end();
    expect(await closed).toBe(true);
  });

  it('is written first: also tasks whose own write failed', async () => {
    const { journal, writes } = openJournal();
    journal.add(taskAt(0));
    writes[0]?.end(new Error('the database is away'));
    await nextTurn();
    const closed = journal.close(true);
    await nextTurn();
    expect(writes.map(({ positions }) => positions)).toEqual([[0], [0]]);
    writes[1]?.end();
    expect(await closed).toBe(true);
  });

  it('that brought no image is not waited for', async () => {
    const { journal, writes } = openJournal();
    for (const position of [0, 1]) journal.add(taskAt(position));
    const closed = journal.close(false);
    writes[0]?.end();
    expect(await closed).toBe(true);
    expect(writes.map(({ positions }) => positions)).toEqual([[0]]);
  });
});
