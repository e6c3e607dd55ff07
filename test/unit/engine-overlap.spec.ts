import { beforeEach, describe, expect, it } from '@jest/globals';
import type { Result } from '../../src/money/wallets/rules/batch.js';
import type { WalletCommand } from '../../src/money/wallets/rules/command.js';
import { silentObserver, WalletEngine } from '../../src/money/wallets/wallet-engine.js';
import type { WalletStore } from '../../src/money/wallets/store/wallet-store.js';
import { nextTurn } from '../support/processes.js';

/** Longer than a batch gathers at most. */
const TURNS = 30;

type Batch = { readonly references: readonly string[]; readonly commit: () => void };

/** Keeps every batch until the test commits it: what is asserted is when the engine lets a batch go, not what becomes of it. */
class HeldStore {
  readonly batches: Batch[] = [];

  run(commands: readonly WalletCommand[]): Promise<readonly Result[]> {
    return new Promise((resolve) => {
      const results = commands.map(
        () => ({ accepted: true, outcome: { type: 'applied' } }) as unknown as Result,
      );
      this.batches.push({
        references: commands.map((command) => (command as { reference: string }).reference),
        commit: () => resolve(results),
      });
    });
  }
}

describe('batches of the engine that overlap', () => {
  let store: HeldStore;
  let engine: WalletEngine;
  let answered: string[];

  beforeEach(() => {
    store = new HeldStore();
    answered = [];
    engine = new WalletEngine(store as unknown as WalletStore, silentObserver, { lanes: 1, overlapFrom: 3 });
  });

  /** `a1` is the first command of wallet `a`. */
  async function send(...references: string[]): Promise<void> {
    for (const reference of references) {
      const command = { accountId: reference.charAt(0), reference } as WalletCommand;
      void engine.execute(command).then(() => answered.push(reference));
    }
    await settle();
  }

  async function settle(): Promise<void> {
    for (let turn = 0; turn < TURNS; turn += 1) await nextTurn();
  }

  async function commit(which: number): Promise<void> {
    store.batches[which]?.commit();
    await settle();
  }

  const begun = (): (readonly string[])[] => store.batches.map(({ references }) => references);

  it('begin where a long queue waits, and not for a few commands', async () => {
    await send('a1');
    await send('b1', 'c1');
    expect(begun()).toEqual([['a1']]);
    await send('d1');
    expect(begun()).toEqual([['a1'], ['b1', 'c1', 'd1']]);
    await commit(1);
    expect(answered).toEqual(['b1', 'c1', 'd1']);
    await commit(0);
    expect(answered).toEqual(['b1', 'c1', 'd1', 'a1']);
  });

  it('begin with no fewer commands than the first batch has', async () => {
    await send('a1', 'b1', 'c1', 'd1', 'e1');
    await send('f1', 'g1', 'h1', 'i1');
    expect(begun()).toHaveLength(1);
    await send('j1');
    expect(begun()).toEqual([
      ['a1', 'b1', 'c1', 'd1', 'e1'],
      ['f1', 'g1', 'h1', 'i1', 'j1'],
    ]);
  });

  it('keep the order of a wallet: its next command waits until its first is committed', async () => {
    await send('a1', 'b1');
    await send('a2', 'c1', 'd1', 'e1', 'a3');
    expect(begun()).toEqual([
      ['a1', 'b1'],
      ['c1', 'd1', 'e1'],
    ]);
    await commit(1);
    expect(begun()).toHaveLength(2);
    await commit(0);
    expect(begun().slice(2)).toEqual([['a2', 'a3']]);
  });

  it('are two at most', async () => {
    await send('a1');
    await send('b1', 'c1', 'd1');
    await send('e1', 'f1', 'g1', 'h1');
    expect(begun()).toHaveLength(2);
    await commit(0);
    expect(begun().slice(2)).toEqual([['e1', 'f1', 'g1', 'h1']]);
  });

  it('all end, with what they held back, before the engine has stopped', async () => {
    await send('a1');
    await send('b1', 'c1', 'd1', 'a2', 'b2');
    let stopped = false;
    void engine.onApplicationShutdown().then(() => (stopped = true));
    await commit(0);
    await commit(1);
    expect(stopped).toBe(false);
    for (let batch = 2; batch < store.batches.length; batch += 1) await commit(batch);
    expect(stopped).toBe(true);
    expect([...answered].sort()).toEqual(['a1', 'a2', 'b1', 'b2', 'c1', 'd1']);
  });
});
