import { describe, expect, it } from '@jest/globals';
import {
  ProviderKeyCache,
  type LoadLiveKeys,
} from '../../src/gateway/provider-keys/provider-key-vault.service.js';
import type { SealedProviderKey } from '../../src/gateway/provider-keys/provider-key.js';
import { eventually } from '../support/processes.js';

const keyOf = (accountId: string, id: string): SealedProviderKey => ({
  accountId,
  id,
  provider: 'black_forest_labs',
  fallBackToWallet: false,
  sealed: { ciphertext: Buffer.of(1), wrappedKey: Buffer.of(2), masterKeyId: 'k' },
});

/** A database whose answers the test gives, and a clock that it moves. */
function stage(timeoutMs = 50) {
  let nowMs = 0;
  let stored: SealedProviderKey[] = [];
  let gate: Promise<void> | null = null;
  const asked: (readonly string[])[] = [];
  const load: LoadLiveKeys = async (accountIds) => {
    asked.push(accountIds);
    const read = stored.filter(({ accountId }) => accountIds.includes(accountId));
    await gate;
    return read;
  };
  const cache = new ProviderKeyCache(load, { monotonicMs: () => nowMs }, timeoutMs);
  return {
    cache,
    asked,
    store: (...keys: SealedProviderKey[]) => (stored = keys),
    wait: (ms: number) => (nowMs += ms),
    hold: () => {
      let open: () => void = () => undefined;
      gate = new Promise((resolve) => (open = resolve));
      return () => {
        gate = null;
        open();
      };
    },
    ids: async (accountId = 'a') => (await cache.find(accountId)).map(({ id }) => id),
  };
}

describe('what a process knows of provider keys', () => {
  it('never brings back a key that was replaced or removed elsewhere: each call reads the key that it uses', async () => {
    const { store, ids } = stage();
    store(keyOf('a', 'first'));
    expect(await ids()).toEqual(['first']);
    store(keyOf('a', 'second'));
    expect(await ids()).toEqual(['second']);
    store();
    expect(await ids()).toEqual([]);
  });

  it('is no key that a look-up had read before the call began', async () => {
    const { store, hold, ids } = stage();
    store(keyOf('a', 'removed'));
    const open = hold();
    const earlier = ids();
    await Promise.resolve();
    store();
    const later = ids();
    open();
    expect([await earlier, await later]).toEqual([['removed'], []]);
  });

  it('that there is none is believed for less than a second', async () => {
    const { store, wait, ids } = stage();
    expect(await ids()).toEqual([]);
    store(keyOf('a', 'first'));
    wait(899);
    expect(await ids()).toEqual([]);
    wait(1);
    expect(await ids()).toEqual(['first']);
  });

  it('is forgotten at once where the change was made, whatever a look-up under way has read before', async () => {
    const { cache, store, hold, ids } = stage();
    store(keyOf('a', 'old'));
    const open = hold();
    const reading = ids();
    store(keyOf('a', 'new'));
    cache.forget('a');
    open();
    await reading;
    expect(await ids()).toEqual(['new']);
  });

  it('is asked for in batches: a thousand calls of many accounts are two queries', async () => {
    const { asked, store, ids } = stage();
    store(keyOf('a7', 'seven'));
    const found = await Promise.all(Array.from({ length: 1_000 }, (_, index) => ids(`a${index % 100}`)));
    expect(asked.length).toBe(2);
    expect(found.filter((keys) => keys.length > 0)).toHaveLength(10);
  });

  it('is renewed in the background while it is used, so that no call waits for it', async () => {
    const { asked, wait, hold, ids } = stage();
    await ids();
    wait(500);
    const open = hold();
    expect(await ids()).toEqual([]);
    expect(asked).toHaveLength(2);
    open();
  });

  it('fails closed: with no answer from the database no caller learns that there is no key', async () => {
    const { hold, ids } = stage();
    const open = hold();
    await expect(ids()).rejects.toMatchObject({ code: 'database_unavailable' });
    open();
  });

  it('is asked for over another connection where the first one is silent, once more and no more', async () => {
    const { asked, hold, ids } = stage(60_000);
    const open = hold();
    const found = ids();
    await eventually('the same is asked once more', () => asked.length === 2);
    expect(asked).toEqual([['a'], ['a']]);
    open();
    expect(await found).toEqual([]);
  });
});
