import { isByokCall, type AccountBooks, type PriceRow } from './books.js';
import type { Deeds } from './bystanders.js';
import type { SeenAnswer, Sighting } from './clients.js';
import { judgeAnswers } from './judge-answers.js';
import { judgeLedger } from './judge-ledger.js';
import type { MixedPlan, PlannedCall } from './plan.js';
import { fallsBack, isByok, isRefused, type CastAccount } from './stage.js';

/** All that the judge knows of an account: what was planned, what its clients saw, and what the database says. */
export type Case = {
  readonly account: CastAccount;
  readonly calls: ReadonlyMap<string, PlannedCall>;
  readonly sightings: ReadonlyMap<string, readonly Sighting[]>;
  readonly books: AccountBooks;
  readonly deeds: Deeds;
  readonly prices: readonly PriceRow[];
  /** The generations that some 200 was about, by id. */
  readonly seen: ReadonlyMap<string, SeenAnswer>;
  /** Names what is wrong. */
  readonly blame: (what: string) => void;
};

/** A copy of the price book is used for half as long; a busy machine may take as long again to begin the call. */
const PRICE_BELIEVED_MS = 10_000;
/** A process's estimate of the database's time may be a quarter of a second early (ADR 46), and prices go by it. */
const PRICE_EARLY_MS = 250;
/** A revoked key works for a second more; a busy machine may take as long again between check and call. */
const REVOKED_AFTER_MS = 3_000;
/** A request that was sent before the removal may begin after it, and a process may write an earlier time than the clients read. */
const REMOVED_AFTER_MS = 5_000;

/**
 * Judges one account by rules that share nothing with the product's code: no fault answers an empty list.
 * All calls must be over, and recovered. Pure.
 */
export function judgeAccount(
  plan: MixedPlan,
  index: number,
  account: CastAccount,
  facts: { sightings: readonly Sighting[]; books: AccountBooks; deeds: Deeds; prices: readonly PriceRow[] },
): string[] {
  const faults: string[] = [];
  const calls = new Map(plan.calls.filter((call) => call.account === index).map((call) => [call.name, call]));
  const sightings = new Map<string, Sighting[]>();
  const seen = new Map<string, SeenAnswer>();
  for (const sighting of facts.sightings) {
    const { name } = plan.calls[sighting.call] as PlannedCall;
    if (!calls.has(name)) continue;
    sightings.set(name, [...(sightings.get(name) ?? []), sighting]);
    const { answer } = sighting;
    // A first answer before its replays.
    if (answer?.status === 200 && (!answer.isReplay || !seen.has(String(answer.generationId)))) {
      seen.set(String(answer.generationId), answer);
    }
  }
  const { books, deeds, prices } = facts;
  const blame = (what: string): void => void faults.push(`${account.kind} ${account.id}: ${what}`);
  const one: Case = { account, calls, sightings, books, deeds, prices, seen, blame };
  judgeReceipts(one);
  judgeByok(one);
  judgeRemoval(one);
  judgeTimes(one);
  judgeLedger(one);
  judgeAnswers(one);
  return faults;
}

/** Delivered = charged = captured, on every receipt, at the price of its version. */
function judgeReceipts({ books, prices, blame }: Case): void {
  const delivered = new Map<string, number>();
  for (const { generationId, status } of books.tasks) {
    if (status === 'pending') blame(`${generationId} is over, and one of its tasks is not`);
    if (status !== 'delivered') continue;
    delivered.set(generationId, (delivered.get(generationId) ?? 0) + 1);
  }
  const versions = new Map(prices.map((price) => [price.id, price]));
  for (const row of books.generations) {
    const due = isByokCall(row) ? 0n : BigInt(row.delivered) * row.price;
    if (row.charged !== due) blame(`${row.id} charged ${row.charged} for ${row.delivered} images`);
    if (row.delivered !== (delivered.get(row.id) ?? 0)) {
      blame(`${row.id} says ${row.delivered} images, its tasks ${delivered.get(row.id) ?? 0}`);
    }
    if (row.delivered > row.requested) blame(`${row.id} delivered more than was asked for`);
    const wanted = row.delivered > 0 ? 'succeeded' : 'failed';
    if (row.status !== wanted) blame(`${row.id} is ${row.status} with ${row.delivered} images`);
    const version = versions.get(row.priceId);
    if (version?.amount !== row.price || version.model !== row.model) {
      blame(`${row.id} has price ${row.price}, which is not that of ${row.priceId}`);
    }
  }
}

/** No row of money for a call over the customer's own key, and no call of these accounts over any other way. */
function judgeByok({ account, books, blame }: Case): void {
  const holds = new Set(books.holds.map(({ reference }) => reference));
  const rows = new Map(books.generations.map((row) => [row.id, row]));
  for (const row of books.generations) {
    if (isByokCall(row)) {
      if (row.holdId !== null || holds.has(`generation:${row.id}`)) blame(`BYOK ${row.id} has a hold`);
      if (row.charged !== 0n || row.fellBackFrom !== null) blame(`BYOK ${row.id} was charged`);
      if (isRefused(account.kind) && row.delivered > 0) blame(`${row.id} delivered over a refused key`);
    }
    if (row.fellBackFrom === null) continue;
    const refused = rows.get(row.fellBackFrom);
    const isSame = refused?.name === row.name && refused.status === 'failed' && isByokCall(refused);
    if (!fallsBack(account.kind) || !isSame) blame(`${row.id} fell back from ${row.fellBackFrom}`);
  }
  if (!isByok(account.kind) && books.generations.some(isByokCall))
    blame('has no provider key, and BYOK calls');
  if (!isByok(account.kind) || account.kind === 'byok_removed') return;
  const paid = books.generations.filter((row) => !isByokCall(row));
  if (paid.some((row) => row.fellBackFrom === null)) blame('has a provider key, and calls without it');
  if (fallsBack(account.kind)) return;
  if (paid.length > 0) blame(`${paid.length} calls were not BYOK`);
  if (books.holds.length > 0) blame(`${books.holds.length} holds in a BYOK account`);
  if (books.transfers.some(({ kind }) => kind !== 'grant')) blame('money moved in a BYOK account');
}

/**
 * Until its removal was sent, the provider key served every call; after the answer, no call that began. In between, either is right.
 * `created_at` cannot decide this: it is a process's estimate of the database's time, which may be a quarter of a second early on
 * a busy machine (ADR 46). What is compared is what the clients sent and read, and what the database had when the removal was sent.
 */
function judgeRemoval({ account, books, calls, sightings, deeds, blame }: Case): void {
  const removal = deeds.providerKeyRemovals.get(account.id);
  if (removal === undefined) return;
  const answers = [...calls.keys()].flatMap((name) => sightings.get(name) ?? []);
  const holdsBefore = new Set(removal.holdIdsBefore);
  for (const { id } of books.holds) {
    if (holdsBefore.has(id)) blame(`${id} was authorized while a provider key was attached`);
  }
  for (const row of books.generations) {
    const heard = answers.filter(({ answer }) => answer?.generationId === row.id);
    const isOver = heard.some(({ endedAtMs }) => endedAtMs < removal.sentAtMs);
    if (!isByokCall(row) && isOver) blame(`${row.id} was paid, with a key there`);
    if (!isByokCall(row)) continue;
    const sends = sightings.get(row.name) ?? [];
    if (sends.length > 0 && sends.every(({ atMs }) => atMs > removal.answeredAtMs)) {
      blame(`${row.id} was asked for after its key had been removed`);
    }
    if (row.createdAtMs > removal.answeredAtMs + REMOVED_AFTER_MS) {
      blame(`${row.id} went over a key that had been removed`);
    }
  }
}

/**
 * What was frozen, revoked or priced again took effect at once. A price is compared with what the clients sent and read: an answer that
 * was read before the price took effect cannot have it, and a request that was sent long after another one did must have that.
 */
function judgeTimes({ account, books, sightings, deeds, prices, blame }: Case): void {
  const answers = [...sightings.values()].flat();
  for (const row of books.generations) {
    const revokedAtMs = deeds.revokedAtMs.get(row.keyId);
    if (revokedAtMs !== undefined && row.createdAtMs > revokedAtMs + REVOKED_AFTER_MS) {
      blame(`${row.id} was called with a key that had been revoked`);
    }
    const own = prices.find(({ id }) => id === row.priceId);
    const fromMs = own?.effectiveFromMs ?? Number.POSITIVE_INFINITY;
    const heard = answers.filter(({ answer }) => answer?.generationId === row.id);
    if (heard.some(({ endedAtMs }) => endedAtMs < fromMs - PRICE_EARLY_MS))
      blame(`${row.id} has a price to come`);
    const sends = sightings.get(row.name) ?? [];
    const newer = prices.filter(
      ({ model, effectiveFromMs }) => model === row.model && effectiveFromMs > fromMs,
    );
    const isOver = newer.some(({ effectiveFromMs }) =>
      sends.every(({ atMs }) => atMs > effectiveFromMs + PRICE_BELIEVED_MS),
    );
    if (isOver) blame(`${row.id} has a price that was over`);
  }
  for (const { account: frozen, fromMs, untilMs } of deeds.frozen) {
    if (frozen !== account.id) continue;
    const held = books.holds.find(({ createdAtMs }) => createdAtMs > fromMs && createdAtMs < untilMs);
    if (held !== undefined) blame(`${held.id} was authorized while the wallet was frozen`);
  }
}
