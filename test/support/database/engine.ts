import { DataSource } from 'typeorm';
import type { Clock } from '../../../src/platform/common/clock.js';
import { newId } from '../../../src/platform/common/ids.js';
import { micros } from '../../../src/platform/common/money.js';
import { DatabaseClock } from '../../../src/platform/database/ledger-clock.js';
import { engineDataSourceOptions } from '../../../src/platform/database/data-source.js';
import {
  silentObserver,
  WalletEngine,
  type EngineOptions,
} from '../../../src/money/wallets/wallet-engine.js';
import { WalletStore } from '../../../src/money/wallets/store/wallet-store.js';
import { HoldNotFoundError } from '../../../src/money/wallets/wallet.errors.js';
import { asService } from './test-database.js';

/** The next batch never waits for the one that commits: what the tests prove of money has to hold with overlap. */
export const OVERLAPPING: EngineOptions = { lanes: 1, overlapFrom: 1 };

export type EngineProcess = { readonly engine: WalletEngine; readonly dataSource: DataSource };

/** A wallet engine with connections of its own, as another service process would have. */
export async function startEngine(url: string, clock?: Clock): Promise<EngineProcess> {
  const dataSource = await new DataSource(engineDataSourceOptions(asService(url), 6)).initialize();
  return {
    engine: new WalletEngine(
      new WalletStore(dataSource, databaseClock(dataSource, clock)),
      silentObserver,
      OVERLAPPING,
    ),
    dataSource,
  };
}

/** The database's own, or one that says what the test's says. */
export function databaseClock(dataSource: DataSource, clock?: Clock): DatabaseClock {
  const own = new DatabaseClock(dataSource);
  if (clock !== undefined) own.read = () => clock.nowMs();
  return own;
}

export async function createAccount(dataSource: DataSource): Promise<string> {
  const id = newId('account');
  await dataSource.query(`INSERT INTO accounts (id, name, created_at) VALUES ($1, 'Test', now())`, [id]);
  return id;
}

/** An API key's row, for tests that only need a key to spend with. Answers its id. */
export async function createKey(dataSource: DataSource, accountId: string): Promise<string> {
  const id = newId('apiKey');
  await dataSource.query(
    `INSERT INTO api_keys (id, account_id, name, hint, secret_hash, scopes, created_at)
     VALUES ($1::text, $2, 'Test', 'sk-cof-…', sha256(convert_to($1::text, 'UTF8')), '{generate}', now())`,
    [id, accountId],
  );
  return id;
}

/** Paid credit without a payment, for tests that only need something to spend. */
export async function addCredit(
  engine: WalletEngine,
  accountId: string,
  amountMicros: number,
): Promise<void> {
  const id = newId('topUp');
  await engine.execute({
    type: 'credit',
    cause: 'top_up',
    accountId,
    actor: 'test',
    reference: `top_up:${id}`,
    fingerprint: '',
    memo: null,
    lotId: newId('creditLot'),
    amountMicros: micros(BigInt(amountMicros)),
    feeMicros: micros(0n),
    taxMicros: micros(0n),
    expiresAtMs: null,
  });
}

/** The outcome's type, or the code of the problem: what a history is compared by. */
export async function answerOf(outcome: ReturnType<WalletEngine['execute']>): Promise<string> {
  try {
    const settled = await outcome;
    if (settled.type === 'already_resolved') return 'resolved';
    if (settled.type === 'hold_not_due') return 'not_due';
    if (settled.type === 'nothing_owed') return settled.type;
    return 'replayed' in settled && settled.replayed ? 'again' : 'ok';
  } catch (error) {
    if (error instanceof HoldNotFoundError) return 'hold_not_found';
    return error instanceof Error && 'code' in error ? String(error.code) : String(error);
  }
}
