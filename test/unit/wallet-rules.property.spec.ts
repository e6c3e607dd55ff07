import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import {
  isCustomerLedgerAccount,
  POSTING_RULES,
  type LedgerAccount,
  chainHash,
  GENESIS_HASH,
  toCanonicalFields,
  transferId,
  type Transfer,
} from '../../src/money/ledger/transfer.js';
import type { WalletCommand, Outcome, Rejection } from '../../src/money/wallets/rules/command.js';
import { checkProperty } from '../support/property.js';
import { MemoryStore } from '../support/wallet/memory-store.js';
import { ReferenceWallet } from '../support/wallet/reference-wallet.js';
import {
  keyScripts,
  SCRIPT_KEYS,
  SCRIPT_START_MS,
  walletScripts,
  type Step,
} from '../support/wallet/wallet-script.js';

const ACCOUNT = 'acct_01ARZ3NDEKTSV4RRFFQ69G5FAV';

/** Compares the stored limits and use of the keys with what the reference model says of the same day. */
function expectBudgets(store: MemoryStore, reference: ReferenceWallet): void {
  for (const keyId of SCRIPT_KEYS) {
    const budget = store.budgets.get(keyId);
    const limits = reference.limits.get(keyId) ?? { day: null, month: null, total: null };
    const isLimited = Object.values(limits).some((limit) => limit !== null);
    expect(`${keyId} ${budget !== undefined}`).toBe(`${keyId} ${isLimited}`);
    if (budget === undefined) continue;
    const { day, month, total } = budget.used;
    expect([day, month, total].map(Number)).toEqual(reference.used(keyId, Date.parse(budget.day)));
    expect(budget.limits).toEqual(
      Object.fromEntries(
        Object.entries(limits).map(([period, limit]) => [period, limit === null ? null : BigInt(limit)]),
      ),
    );
  }
}

function answerOf(
  result: { accepted: true; outcome: Outcome } | { accepted: false; rejection: Rejection },
): string {
  if (!result.accepted) return result.rejection.code;
  const { outcome } = result;
  if (outcome.type === 'already_resolved') return 'resolved';
  if (outcome.type === 'hold_not_due') return 'not_due';
  if (outcome.type === 'nothing_owed') return outcome.type;
  return 'replayed' in outcome && outcome.replayed ? 'again' : 'ok';
}

/** Ids collide in random histories where the product's cannot: such a step proves nothing. */
function collides(store: MemoryStore, command: WalletCommand): boolean {
  if ('lotId' in command && command.type !== 'reverseCredit') {
    return (
      !store.recorded.has(command.reference) && store.transfers.some((row) => row.lotId === command.lotId)
    );
  }
  if (command.type !== 'authorize') return false;
  return (
    store.holds.has(command.holdId) &&
    ![...store.holds.values()].some((hold) => hold.reference === command.reference)
  );
}

function expectInvariants(store: MemoryStore): void {
  const { wallet, transfers, holds } = store;
  const lots = wallet.lots.reduce((sum, lot) => sum + lot.remainingMicros, 0n);
  expect(wallet.postedMicros).toBe(lots - wallet.debtMicros);
  expect(
    wallet.lots.every((lot) => lot.remainingMicros >= 0n && lot.remainingMicros <= lot.grantedMicros),
  ).toBe(true);
  const held = [...holds.values()].reduce(
    (sum, hold) => sum + (hold.status === 'authorized' ? hold.amountMicros : 0n),
    0n,
  );
  expect(wallet.heldMicros).toBe(held);
  const reasons = [...store.freezes.values()].filter(({ liftedAtMs }) => liftedAtMs === null);
  expect(wallet.status).toBe(reasons.length > 0 ? 'frozen' : 'active');
  if (wallet.status === 'active') expect(wallet.postedMicros - wallet.heldMicros >= 0n).toBe(true);
  // Every row after every step: an `expect` of its own for each would take most of the test's time.
  const faults: string[] = [];
  let posted = 0n;
  let hash = GENESIS_HASH;
  let atMs = 0;
  const references = new Set<string>();
  transfers.forEach((row, index) => {
    if (isCustomerLedgerAccount(row.creditAccount)) posted += row.amountMicros;
    if (isCustomerLedgerAccount(row.debitAccount)) posted -= row.amountMicros;
    hash = chainHash(hash, toCanonicalFields(row));
    const kept: Record<string, boolean> = {
      seq: row.seq === index + 1,
      id: row.id === transferId(ACCOUNT, index + 1),
      postedAfterMicros: row.postedAfterMicros === posted,
      hash: row.hash === hash,
      amountMicros: row.amountMicros > 0n,
      createdAtMs: row.createdAtMs >= atMs,
      rule: POSTING_RULES[row.kind].some(
        ([debit, credit]) => debit === row.debitAccount && credit === row.creditAccount,
      ),
    };
    for (const what in kept) if (kept[what] !== true) faults.push(`row ${index + 1}: ${what}`);
    atMs = row.createdAtMs;
    references.add(`${row.reference}|${row.leg}`);
  });
  expect(faults).toEqual([]);
  expect(references.size).toBe(transfers.length);
  expect([wallet.postedMicros, wallet.seq, wallet.headHash]).toEqual([posted, transfers.length, hash]);
}

function play(steps: readonly Step[]): void {
  const store = new MemoryStore(ACCOUNT);
  const reference = new ReferenceWallet();
  let nowMs = SCRIPT_START_MS;
  for (const { afterMs, command } of steps) {
    nowMs += afterMs;
    if (collides(store, command)) continue;
    const before = { wallet: store.wallet, rows: store.transfers.length };
    const [result] = store.run([command], nowMs);
    if (result === undefined) throw new Error('no result');
    expect(`${command.type} ${answerOf(result)}`).toBe(`${command.type} ${reference.run(command, nowMs)}`);
    if (!result.accepted) expect({ wallet: store.wallet, rows: store.transfers.length }).toEqual(before);
    const { wallet } = store;
    expect([wallet.postedMicros, wallet.heldMicros, wallet.debtMicros, wallet.status].map(String)).toEqual(
      [reference.posted, reference.held, reference.debt, reference.status].map(String),
    );
    const left = reference.lots
      .filter((lot) => lot.left > 0)
      .map((lot) => `${lot.id} ${lot.left} ${lot.refundable}`);
    const lots = wallet.lots.filter((lot) => lot.remainingMicros > 0n);
    expect(lots.map((lot) => `${lot.id} ${lot.remainingMicros} ${lot.refundable}`).sort()).toEqual(
      left.sort(),
    );
    expectInvariants(store);
    expectBudgets(store, reference);
  }
  const { revenue, atStripe, losses } = reference;
  const booked = {
    revenue: 0 - balanceOf(store, 'usage_revenue'),
    atStripe: balanceOf(store, 'stripe_clearing'),
    losses: balanceOf(store, 'dispute_losses'),
  };
  expect(booked).toEqual({ revenue, atStripe, losses });
}

/** Debits less credits. */
function balanceOf({ transfers }: MemoryStore, ledgerAccount: LedgerAccount): number {
  const signed = ({ debitAccount, creditAccount, amountMicros }: Transfer): bigint =>
    (debitAccount === ledgerAccount ? amountMicros : 0n) -
    (creditAccount === ledgerAccount ? amountMicros : 0n);
  return Number(transfers.reduce((sum, row) => sum + signed(row), 0n));
}

describe('the wallet rules, over random histories', () => {
  it('agree with a naive reference model at every step, and every invariant holds after every step', async () => {
    await checkProperty(
      'rules agree with the reference model',
      fc.property(walletScripts(ACCOUNT, 60), play),
      { runs: 600 },
    );
  });

  it('never let a key spend beyond a limit of its day, its month or ever, and count what its holds give back', async () => {
    await checkProperty(
      'the budgets of keys agree with the reference model',
      fc.property(keyScripts(ACCOUNT, 60), play),
      { runs: 600 },
    );
  });

  it('decide the same whether commands arrive one by one or in one batch', async () => {
    const sameTime = fc
      .oneof(walletScripts(ACCOUNT, 40), keyScripts(ACCOUNT, 40))
      .map((steps) => steps.map((step) => ({ ...step, afterMs: 0 })));
    await checkProperty(
      'batching changes nothing',
      fc.property(sameTime, (steps) => {
        const single = new MemoryStore(ACCOUNT);
        const batched = new MemoryStore(ACCOUNT);
        const commands: WalletCommand[] = [];
        const oneByOne: string[] = [];
        for (const { command } of steps) {
          if (collides(single, command)) continue;
          commands.push(command);
          const [result] = single.run([command], SCRIPT_START_MS);
          if (result) oneByOne.push(answerOf(result));
        }
        expect(batched.run(commands, SCRIPT_START_MS).map(answerOf)).toEqual(oneByOne);
        expect(batched.transfers).toEqual(single.transfers);
        expect(batched.wallet.headHash).toBe(single.wallet.headHash);
        expect(batched.holds).toEqual(single.holds);
        expect(batched.freezes).toEqual(single.freezes);
        expect(batched.reliefs).toEqual(single.reliefs);
        expect(batched.budgets).toEqual(single.budgets);
      }),
      { runs: 200 },
    );
  });
});
