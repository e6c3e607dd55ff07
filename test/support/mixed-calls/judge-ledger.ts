import { isByokCall, type HoldRow } from './books.js';
import type { Case } from './judge.js';
import type { LimitPeriod } from './plan.js';

/** The wallet, its holds and what each key spent, played again from the beginning. */
export function judgeLedger(one: Case): void {
  judgeHolds(one);
  judgeWallet(one);
  for (const [index, { limits }] of one.account.keys.entries()) {
    const keyId = one.account.secrets[index]?.id ?? '';
    for (const [period, limit] of Object.entries(limits))
      judgeLimit(one, keyId, period as LimitPeriod, limit);
  }
}

/** Every hold has come to its one end, and what was captured is in the ledger as it is on the receipt. */
function judgeHolds({ account, books, deeds, blame }: Case): void {
  const captures = new Map<string, bigint>();
  for (const { kind, reference, amount } of books.transfers) {
    if (kind === 'grant') continue;
    if (kind !== 'capture') blame(`an unexpected ${kind} under ${reference}`);
    captures.set(reference, (captures.get(reference) ?? 0n) + amount);
  }
  const receipts = new Map(
    books.generations.flatMap((row) => (row.holdId === null ? [] : [[row.holdId, row] as const])),
  );
  let byOutsideGateway = 0;
  for (const hold of books.holds) {
    const captured = captures.get(`capture:${hold.id}`) ?? 0n;
    captures.delete(`capture:${hold.id}`);
    if (hold.status === 'authorized') blame(`${hold.id} is still open`);
    if (captured !== hold.captured) blame(`${hold.id} captured ${hold.captured}, the ledger ${captured}`);
    if (!hold.reference.startsWith('generation:')) {
      byOutsideGateway += 1;
      if (captured > 0n) blame(`${hold.id} was captured, and its gateway had voided it`);
      continue;
    }
    const receipt = receipts.get(hold.id);
    receipts.delete(hold.id);
    if (captured !== (receipt?.charged ?? 0n)) {
      blame(`${hold.id} captured ${captured}, its receipt says ${receipt?.charged ?? 'nothing'}`);
    }
    if (receipt !== undefined && hold.amount !== BigInt(receipt.requested) * receipt.price) {
      blame(`${hold.id} held ${hold.amount} for ${receipt.requested} images`);
    }
  }
  for (const [reference] of captures) blame(`${reference} is in the ledger without a hold`);
  // A keyed call that was refused for want of credit has its row, and no hold: it delivered nothing.
  for (const { id, charged } of receipts.values())
    if (charged > 0n) blame(`${id} was charged without a hold`);
  if (byOutsideGateway !== (deeds.voidedHolds.get(account.id) ?? 0)) blame('holds of an outside gateway');
}

/** Credit is what was granted less what was captured, and at no time was more set aside than there was. */
function judgeWallet({ account, books, deeds, seen, blame }: Case): void {
  const sum = (amounts: readonly bigint[]): bigint => amounts.reduce((total, each) => total + each, 0n);
  const granted = account.grantMicros + (deeds.grantedMicros.get(account.id) ?? 0n);
  const captured = sum(books.transfers.filter(({ kind }) => kind === 'capture').map(({ amount }) => amount));
  if (books.posted !== granted - captured) {
    blame(`${books.posted} posted after ${granted} granted and ${captured} captured`);
  }
  if (books.held !== 0n) blame(`${books.held} still held`);
  if (books.transfers.some(({ postedAfter }) => postedAfter < 0n)) blame('posted below nothing');

  // What the clients read, and what no one heard because the connection was broken, make all of it.
  const answered = sum([...seen.values()].map(({ chargedMicros }) => chargedMicros ?? 0n));
  const unheard = sum(books.generations.filter(({ id }) => !seen.has(id)).map(({ charged }) => charged));
  if (answered + unheard !== captured)
    blame(`answered ${answered}, unheard ${unheard}, captured ${captured}`);
  const worth = sum(
    books.generations.filter((row) => !isByokCall(row)).map((row) => BigInt(row.delivered) * row.price),
  );
  if (worth !== captured) blame(`images for ${worth} delivered, ${captured} captured`);

  const grants = books.transfers.filter(({ kind }) => kind === 'grant');
  const changes = [
    ...grants.map(({ createdAtMs, amount }) => ({ atMs: createdAtMs, by: amount })),
    ...books.holds.flatMap(({ createdAtMs, amount }) => ({ atMs: createdAtMs, by: -amount })),
    ...books.holds.flatMap(returned),
  ];
  const lowest = extreme(changes, (total, low) => total < low);
  if (lowest < 0n) blame(`${lowest} available at some time`);
}

/** What a hold gave back when it was resolved. */
function returned({ resolvedAtMs, amount, captured }: HoldRow): { atMs: number; by: bigint }[] {
  return resolvedAtMs === null ? [] : [{ atMs: resolvedAtMs, by: amount - captured }];
}

/** Open holds count, as do captures: in the day and month of their authorization. */
function judgeLimit({ books, blame }: Case, keyId: string, period: LimitPeriod, limit: bigint): void {
  const own = books.holds.filter((hold) => hold.keyId === keyId);
  const spans = new Map<string, HoldRow[]>();
  for (const hold of own) {
    const span = spanOf(period, hold.createdAtMs);
    spans.set(span, [...(spans.get(span) ?? []), hold]);
  }
  for (const [span, holds] of spans) {
    const changes = holds.flatMap((hold) => [
      { atMs: hold.createdAtMs, by: hold.amount },
      ...returned(hold).map(({ atMs, by }) => ({ atMs, by: -by })),
    ]);
    const highest = extreme(changes, (total, high) => total > high, false);
    if (highest > limit) blame(`${keyId} used ${highest} of its ${limit} a ${period} (${span})`);
  }
}

function spanOf(period: LimitPeriod, timeMs: number): string {
  const day = new Date(timeMs).toISOString().slice(0, 10);
  return period === 'day' ? day : period === 'month' ? day.slice(0, 7) : 'ever';
}

/**
 * The lowest or highest sum on the way. Of changes in the same millisecond no one knows the order: those that make
 * room come first, so that what is found is certain.
 */
function extreme(
  changes: readonly { atMs: number; by: bigint }[],
  isMore: (total: bigint, found: bigint) => boolean,
  roomIsMore = true,
): bigint {
  const first = roomIsMore ? -1 : 1;
  const sorted = [...changes].sort(
    (a, b) => a.atMs - b.atMs || (a.by === b.by ? 0 : a.by > b.by ? first : -first),
  );
  let total = 0n;
  let found = 0n;
  for (const { by } of sorted) {
    total += by;
    if (isMore(total, found)) found = total;
  }
  return found;
}
