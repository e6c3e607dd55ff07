import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { IDEMPOTENCY_TTL_MS, IdempotencyKeys } from 'coffer-sandbox/stripe/idempotency';
import { StateFile } from 'coffer-sandbox/stripe/state-file';
import { Table, type IdempotentResult } from 'coffer-sandbox/stripe/store';

describe('the state file', () => {
  let folder: string;
  let file: string;

  beforeEach(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'sandbox-state-'));
    file = path.join(folder, 'state.json');
  });

  afterEach(() => rm(folder, { recursive: true, force: true }));

  it('holds what was known when save was called, and writes once for many callers', async () => {
    let value = 0;
    let snapshots = 0;
    const state = new StateFile(file, () => {
      snapshots += 1;
      return value;
    });
    await Promise.all(
      Array.from({ length: 200 }, async () => {
        value += 1;
        const mine = value;
        await state.save();
        expect(Number(await readFile(file, 'utf8'))).toBeGreaterThanOrEqual(mine);
      }),
    );
    expect(await readFile(file, 'utf8')).toBe('200');
    expect(snapshots).toBeLessThan(20);
  });

  it('fails towards its caller when the disk refuses, and works again when it no longer does', async () => {
    const inTheWay = path.join(folder, 'sub');
    await writeFile(inTheWay, 'a file where a folder should be');
    const state = new StateFile(path.join(inTheWay, 'state.json'), () => 'saved');
    const [first, second] = await Promise.allSettled([state.save(), state.save()]);
    expect([first?.status, second?.status]).toEqual(['rejected', 'rejected']);
    await rm(inTheWay);
    await mkdir(inTheWay);
    await state.save();
    expect(await readFile(path.join(inTheWay, 'state.json'), 'utf8')).toBe('"saved"');
  });
});

describe('idempotency keys', () => {
  let nowMs = 1_000_000;
  const request = { apiKey: 'sk_test_a', key: 'k', path: '/v1/customers', fingerprint: '{}' };
  const answer = { status: 200, body: '{}', requestId: 'req_1' };

  function keysWithOneAnswer(): IdempotencyKeys {
    const keys = new IdempotencyKeys(new Table<IdempotentResult>(), { nowMs: () => nowMs });
    keys.begin(request);
    keys.finish(request, answer);
    keys.release(request);
    return keys;
  }

  it('are forgotten after a day, as Stripe may forget them', () => {
    const keys = keysWithOneAnswer();
    nowMs += IDEMPOTENCY_TTL_MS - 1;
    expect(keys.begin(request)).toMatchObject(answer);
    nowMs += 1;
    expect(keys.begin(request)).toBeNull();
  });

  it('belong to one API key: another one may use the same text', () => {
    const keys = keysWithOneAnswer();
    expect(keys.begin({ ...request, apiKey: 'sk_test_b' })).toBeNull();
  });

  it('stay free when the request ended without an answer', () => {
    const keys = keysWithOneAnswer();
    const other = { ...request, key: 'other' };
    expect(keys.begin(other)).toBeNull();
    expect(() => keys.begin(other)).toThrow('another in-progress request');
    keys.release(other);
    expect(keys.begin(other)).toBeNull();
  });
});
