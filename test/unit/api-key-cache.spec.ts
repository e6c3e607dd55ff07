import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { CredentialCache, type Credential, type Credentials } from '../../src/identity/auth/credentials.js';
import { eventually } from '../support/processes.js';
import { DatabaseUnavailableError } from '../../src/platform/errors/common.errors.js';

const GOOD_FOR_MS = 900;

function credential(keyId: string, revoked = false): Credential {
  return {
    principal: {
      kind: 'account_key',
      keyId,
      accountId: 'acct_1',
      scopes: new Set(),
      duplicateWindowSeconds: 0,
    },
    expiresAtMs: null,
    revoked,
  };
}

type Question = { readonly hashes: readonly string[]; answer(): void; fail(error: Error): void };

/** Implements the port: its answer is decided when it is asked, like the snapshot of a database. */
class StoredCredentials implements Credentials {
  readonly rows = new Map<string, Credential>();
  readonly questions: Question[] = [];
  /** Set: questions wait to be answered by the test. */
  held = false;

  findByHashes(hashes: readonly string[]): Promise<ReadonlyMap<string, Credential>> {
    const snapshot = new Map([...this.rows].filter(([hash]) => hashes.includes(hash)));
    return new Promise((resolve, reject) => {
      this.questions.push({ hashes, answer: () => resolve(snapshot), fail: reject });
      if (!this.held) resolve(snapshot);
    });
  }

  get asked(): number {
    return this.questions.length;
  }
}

/** Longer than any test runs: these tests count what is asked. */
const ONE_QUESTION = 10 * 60_000;

let nowMs: number;
let stored: StoredCredentials;
let cache: CredentialCache;

beforeEach(() => {
  nowMs = 1_000_000;
  stored = new StoredCredentials();
  stored.rows.set('good', credential('key_good'));
  cache = new CredentialCache(stored, { monotonicMs: () => nowMs }, 50, ONE_QUESTION);
});

afterEach(() => {
  stored.held = false; // What still waits is answered, so that nothing outlives its test.
});

async function settle(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

describe('what a process knows of a good key', () => {
  it('is used without asking again, and never for longer than 900 ms', async () => {
    await cache.find('good');
    nowMs += 400;
    expect(cache.peek('good')?.principal.keyId).toBe('key_good');
    expect(stored.asked).toBe(1);
    nowMs += GOOD_FOR_MS - 400 - 1;
    stored.held = true; // The refresh that this peek starts does not arrive in time.
    expect(cache.peek('good')).toBeDefined();
    nowMs += 1;
    expect(cache.peek('good')).toBeUndefined();
  });

  it('counts from before the database was asked, however long the answer took', async () => {
    stored.held = true;
    const found = cache.find('good');
    nowMs += GOOD_FOR_MS;
    stored.questions[0]?.answer();
    // A caller that asked before the key could have been revoked a second ago gets the answer ...
    expect((await found)?.principal.keyId).toBe('key_good');
    // ... and no later caller does.
    expect(cache.peek('good')).toBeUndefined();
  });

  it('is refreshed in the background before it expires, so that a key in use never waits', async () => {
    await cache.find('good');
    for (let step = 0; step < 50; step += 1) {
      nowMs += 300;
      expect(cache.peek('good')).toBeDefined();
      await settle();
    }
    expect(stored.asked).toBeLessThan(30);
  });

  it('asks once for any number of simultaneous requests', async () => {
    const found = await Promise.all(Array.from({ length: 100 }, () => cache.find('good')));
    expect(found.every((each) => each?.principal.keyId === 'key_good')).toBe(true);
    expect(stored.asked).toBe(1);
  });

  it('never answers from a look-up that was started too long before the request', async () => {
    stored.held = true;
    const early = cache.find('good');
    stored.rows.set('good', credential('key_good', true));
    nowMs += GOOD_FOR_MS;
    const late = cache.find('good');
    stored.held = false;
    stored.questions[0]?.answer();
    expect((await early)?.revoked).toBe(false);
    expect((await late)?.revoked).toBe(true);
    expect(cache.peek('good')?.revoked).toBe(true);
  });
});

describe('a revocation in this process', () => {
  it('is in force at once', async () => {
    await cache.find('good');
    stored.rows.set('good', credential('key_good', true));
    cache.forget('good');
    expect(cache.peek('good')).toBeUndefined();
    expect((await cache.find('good'))?.revoked).toBe(true);
  });

  it('is not undone by a look-up that was in progress', async () => {
    stored.held = true;
    const underWay = cache.find('good');
    stored.rows.set('good', credential('key_good', true));
    cache.forget('good');
    const after = cache.find('good');
    stored.held = false;
    stored.questions[0]?.answer();
    await underWay;
    expect((await after)?.revoked).toBe(true);
    expect(cache.peek('good')?.revoked).toBe(true);
  });
});

describe('a flood of bad keys', () => {
  it('holds one query at a time, of at most 500 keys', async () => {
    stored.held = true;
    const found = Array.from({ length: 1_201 }, (_, index) => cache.find(`bad_${index}`));
    for (let batch = 0; batch < 4; batch += 1) {
      expect(stored.asked).toBe(batch + 1);
      stored.questions[batch]?.answer();
      await settle();
    }
    expect(stored.questions.map(({ hashes }) => hashes.length)).toEqual([1, 500, 500, 200]);
    expect((await Promise.all(found)).every((each) => each === null)).toBe(true);
  });

  it('is remembered for a while: the same bad key is not looked up again', async () => {
    await cache.find('bad');
    expect(cache.peek('bad')).toBeNull();
    nowMs += 4_999;
    expect(cache.peek('bad')).toBeNull();
    nowMs += 1;
    expect(cache.peek('bad')).toBeUndefined();
  });

  it('displaces other bad keys and no good one, and memory stays bounded', async () => {
    await cache.find('good');
    await Promise.all(Array.from({ length: 10_001 }, (_, index) => cache.find(`bad_${index}`)));
    expect(cache.peek('good')).toBeDefined();
    expect(cache.peek('bad_0')).toBeUndefined();
    expect(cache.peek('bad_1')).toBeNull();
    expect(cache.peek('bad_10000')).toBeNull();
  });

  it('of more than 20,000 at once is refused, not queued', async () => {
    stored.held = true;
    const found = Array.from({ length: 20_002 }, (_, index) => cache.find(`bad_${index}`));
    found.forEach((each) => void each.catch(() => undefined));
    await expect(found[20_001]).rejects.toBeInstanceOf(DatabaseUnavailableError);
  });
});

describe('keys from an address that sends many bad ones', () => {
  beforeEach(() => {
    // So many keys take a slow machine longer than the other tests let a database take.
    cache = new CredentialCache(stored, { monotonicMs: () => nowMs }, 60_000, ONE_QUESTION);
  });

  it('never hold up keys from elsewhere, and a good one among them is still found', async () => {
    stored.held = true;
    stored.rows.set('late', credential('key_late'));
    stored.rows.set('other', credential('key_other'));
    const bad = Array.from({ length: 5_200 }, (_, index) => cache.find(`bad_${index}`, 'suspect'));
    bad.forEach((each) => void each.catch(() => undefined));
    // The first is looked up at once, and only a limited number waits after it.
    await expect(bad.at(-1)).rejects.toBeInstanceOf(DatabaseUnavailableError);
    stored.questions[0]?.answer();
    await settle();
    const elsewhere = cache.find('other');
    stored.questions[1]?.answer();
    await settle();
    expect(stored.questions[2]?.hashes[0]).toBe('other');
    stored.questions[2]?.answer();
    expect((await elsewhere)?.principal.keyId).toBe('key_other');
    const late = cache.find('late', 'suspect');
    stored.held = false;
    stored.questions.forEach((question) => question.answer());
    expect((await late)?.principal.keyId).toBe('key_late');
  });

  it('get their share of every question, however many keys from elsewhere are looked up', async () => {
    stored.held = true;
    void cache.find('first');
    const crowd = Array.from({ length: 2_000 }, (_, index) => cache.find(`key_${index}`));
    const suspects = Array.from({ length: 150 }, (_, index) => cache.find(`suspect_${index}`, 'suspect'));
    stored.questions[0]?.answer();
    await settle();
    const asked = stored.questions[1]?.hashes ?? [];
    expect(asked).toHaveLength(500);
    expect(asked.filter((hash) => hash.startsWith('suspect'))).toHaveLength(100);
    stored.held = false;
    stored.questions.forEach((question) => question.answer());
    await Promise.all([...crowd, ...suspects]);
  });
});

describe('many good keys', () => {
  it('are kept up to 20,000: beyond that, the one that was looked up longest ago is asked for again', async () => {
    for (let index = 0; index <= 20_000; index += 1)
      stored.rows.set(`key_${index}`, credential(`key_${index}`));
    await Promise.all(Array.from({ length: 20_000 }, (_, index) => cache.find(`key_${index}`)));
    await cache.find('key_0'); // Asked for again: now the youngest.
    await cache.find('key_20000');
    expect(cache.peek('key_0')).toBeDefined();
    expect(cache.peek('key_20000')).toBeDefined();
    expect(cache.peek('key_1')).toBeUndefined();
  });
});

describe('over a connection that is open and silent', () => {
  it.each(['a good key', 'a revoked key'])(
    '%s is looked up over another one, whatever becomes of the first',
    async (what) => {
      cache = new CredentialCache(stored, { monotonicMs: () => nowMs }, 60_000, 10);
      const revoked = what === 'a revoked key';
      stored.rows.set('asked', { ...credential('key_asked'), revoked });
      stored.held = true;
      const found = cache.find('asked');
      await eventually('the same is asked once more', () => Promise.resolve(stored.asked === 2));
      expect(stored.questions.map(({ hashes }) => hashes)).toEqual([['asked'], ['asked']]);
      stored.questions[0]?.fail(new Error('Query read timeout'));
      stored.questions[1]?.answer();
      expect((await found)?.revoked).toBe(revoked);
      stored.held = false;
      expect(await cache.find('other')).toBeNull();
    },
  );

  it('and over a second one as well: no key is accepted, and the next question is asked', async () => {
    cache = new CredentialCache(stored, { monotonicMs: () => nowMs }, 50, 10);
    stored.held = true;
    await expect(cache.find('good')).rejects.toBeInstanceOf(DatabaseUnavailableError);
    stored.held = false;
    expect((await cache.find('good'))?.principal.keyId).toBe('key_good');
  });
});

describe('without a database', () => {
  it('a known key works until its entry expires, then no key is accepted', async () => {
    await cache.find('good');
    stored.held = true;
    nowMs += GOOD_FOR_MS - 1;
    expect(cache.peek('good')).toBeDefined();
    stored.questions.at(-1)?.fail(new Error('connection refused'));
    await settle();
    nowMs += 1;
    expect(cache.peek('good')).toBeUndefined();
    const found = cache.find('good');
    stored.questions.at(-1)?.fail(new Error('connection refused'));
    await expect(found).rejects.toBeInstanceOf(DatabaseUnavailableError);
  });

  it('no caller waits for an answer that never comes, and the next question is asked', async () => {
    stored.held = true;
    await expect(cache.find('good')).rejects.toBeInstanceOf(DatabaseUnavailableError);
    stored.held = false;
    expect((await cache.find('good'))?.principal.keyId).toBe('key_good');
  });
});
