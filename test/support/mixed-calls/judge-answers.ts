import { isByokCall, type AccountBooks, type GenerationRow } from './books.js';
import type { SeenAnswer, Sighting } from './clients.js';
import type { Case } from './judge.js';
import { PAID_MODEL, type PlannedCall } from './plan.js';
import { isByok } from './stage.js';

/** Judges that every answer was true, and that every charge was answered to its client, or its client had hung up. */
export function judgeAnswers(one: Case): void {
  const rows = new Map(one.books.generations.map((row) => [row.id, row]));
  for (const [name, call] of one.calls) {
    const sightings = one.sightings.get(name) ?? [];
    if (sightings.length === 0) one.blame(`${name} was never sent`);
    for (const sighting of sightings) {
      if (sighting.answer === null) {
        if (!sighting.hungUp) one.blame(`${name} got no answer, and had not hung up`);
        continue;
      }
      if (sighting.answer.status === 200) judgeSuccess(one, call, sighting.answer, rows);
      else judgeError(one, call, sighting.answer, rows);
    }
  }
  judgeCounts(one);
}

function judgeSuccess(
  { blame, seen }: Case,
  call: PlannedCall,
  answer: SeenAnswer,
  rows: ReadonlyMap<string, GenerationRow>,
): void {
  const row = rows.get(answer.generationId ?? '');
  const fault = (what: string): void => blame(`${call.name} (${answer.generationId}): ${what}`);
  if (row === undefined) return fault('answered without a receipt');
  if (row.name !== call.name) fault(`answered with the images of ${row.name}`);
  if (!call.isValid) fault('was not valid, and was answered');
  if (answer.pictures.length !== row.delivered || row.requested !== call.images) {
    fault(
      `${answer.pictures.length} of ${call.images} images, the receipt says ${row.delivered} of ${row.requested}`,
    );
  }
  if (answer.chargedMicros !== row.charged) fault(`answered ${answer.chargedMicros}, charged ${row.charged}`);
  const mode = isByokCall(row) ? 'byok' : row.price === 0n ? 'free' : 'wallet';
  if (answer.billingMode !== mode) fault(`answered ${answer.billingMode}, was ${mode}`);
  if (answer.fellBackFrom !== row.fellBackFrom)
    fault(`answered that it fell back from ${answer.fellBackFrom}`);
  if (answer.isReplay && call.idempotencyKey === null && call.again !== 'as_an_sdk_retry')
    fault('was a replay');
  if (answer.digest !== seen.get(row.id)?.digest) fault('was answered twice, and differently');
}

/** Why a call may be refused, by code; the others are explained by a fault of the provider alone. */
const REASONS: Readonly<Record<string, (one: Case, call: PlannedCall) => boolean>> = {
  invalid_request: (_, call) => !call.isValid || call.prompt.includes('submit=422'),
  too_many_images: (_, call) => !call.isValid,
  model_not_found: (_, call) => !call.isValid,
  revoked_api_key: ({ account }, call) => account.keys[call.key]?.isRevoked === true,
  invalid_api_key: ({ account }, call) => account.keys[call.key]?.isRevoked === true,
  insufficient_credits: ({ account }) => account.kind === 'thin' || account.kind === 'newcomer',
  key_limit_reached: ({ account }, call) => Object.keys(account.keys[call.key]?.limits ?? {}).length > 0,
  wallet_frozen: ({ account }) => account.kind === 'frozen',
  byok_key_rejected: ({ account }) => account.kind === 'byok_refused',
  byok_upstream_insufficient_credits: ({ account: { kind } }, call) =>
    kind === 'byok_unfunded' || kind === 'byok_running_dry' || (isByok(kind) && call.prompt.includes('=402')),
  idempotency_in_progress: (_, call) => call.idempotencyKey !== null || call.again === 'as_an_sdk_retry',
  idempotency_key_reused: (_, call) => call.idempotencyKey !== null,
};

/** What only the provider's trouble, or its account's, explains. */
const FAULT_CODES = [
  'content_policy_violation',
  'upstream_failed',
  'upstream_unavailable',
  'concurrency_limit_exceeded',
];

/** No one could have done anything else: the day's free images are used up, or the machine is. */
const ALWAYS = ['free_images_used_up', 'engine_saturated', 'wallet_locked'];

function judgeError(
  one: Case,
  call: PlannedCall,
  answer: SeenAnswer,
  rows: ReadonlyMap<string, GenerationRow>,
): void {
  const { status, code, chargedMicros, generationId, isPending } = answer;
  const fault = (what: string): void => one.blame(`${call.name}: ${status} ${code}: ${what}`);
  const isExplained =
    REASONS[code ?? '']?.(one, call) ??
    (ALWAYS.includes(code ?? '') || (FAULT_CODES.includes(code ?? '') && call.prompt.includes('[sandbox:')));
  if (!isExplained) fault('for no reason');
  if (isSureToSucceed(one, call)) fault('although nothing was against it');
  if (isPending) return;
  if (chargedMicros !== null && chargedMicros !== 0n) fault(`answered ${chargedMicros}`);
  const row = generationId === null ? undefined : rows.get(generationId);
  if (row === undefined) return;
  if (row.name !== call.name) fault(`is about ${row.name}`);
  if (row.delivered > 0 || row.charged > 0n)
    fault(`but ${row.id} delivered ${row.delivered} for ${row.charged}`);
  if (row.errorCode !== code) fault(`but ${row.id} says ${row.errorCode}`);
}

/** A service that refuses everything would otherwise be without fault. */
function isSureToSucceed({ account: { kind, keys } }: Case, call: PlannedCall): boolean {
  const key = keys[call.key];
  const isFree = key !== undefined && !key.isRevoked && Object.keys(key.limits).length === 0;
  const isFit = (kind === 'rich' || kind === 'byok') && isFree && call.model === PAID_MODEL;
  return isFit && call.isSmooth && call.isValid && call.idempotencyKey === null && call.again === null;
}

/** How often a call ran, and how often it was charged. */
function judgeCounts({ books, calls, sightings, seen, blame }: Case): void {
  const keyed = new Map<string, string>();
  const ran = new Map<string, { unheard: number; succeeded: number }>();
  for (const row of books.generations) {
    if (!calls.has(row.name)) blame(`${row.id} belongs to no call`);
    if (row.status !== 'succeeded') continue;
    const before = ran.get(row.name) ?? { unheard: 0, succeeded: 0 };
    const unheard = before.unheard + (seen.has(row.id) ? 0 : 1);
    ran.set(row.name, { unheard, succeeded: before.succeeded + 1 });
    if (row.idempotencyKey === null) continue;
    const other = keyed.get(row.idempotencyKey);
    if (other !== undefined) blame(`${row.id} and ${other} both ran under ${row.idempotencyKey}`);
    keyed.set(row.idempotencyKey, row.id);
  }
  for (const [name, { unheard, succeeded }] of ran) {
    const sent = sightings.get(name) ?? [];
    const call = calls.get(name);
    if (unheard > sent.filter(isUnheard).length)
      blame(`${name}: charged, and its client was answered otherwise`);
    const most = call === undefined ? 0 : mostRuns(books, call, sent);
    if (succeeded > most) {
      const begun = books.generations
        .filter((row) => row.name === name)
        .map(({ createdAtMs }) => createdAtMs);
      const sentAt = sent.map(({ atMs }) => atMs);
      blame(`${name} ran ${succeeded} times: sent at ${sentAt.join(', ')}, begun at ${begun.join(', ')}`);
    }
  }
}

/** From the time that is on a row until every process sees the row. */
const WRITTEN_WITHIN_MS = 500;

/**
 * Under an idempotency key a call runs once. Without any key each request runs, but for the retries of an SDK: one that
 * comes after the earlier attempt was written down anywhere, as a hold or as a task, takes that attempt. One that comes
 * before, because the machine is so busy, cannot know of it.
 */
function mostRuns(books: AccountBooks, call: PlannedCall, sent: readonly Sighting[]): number {
  if (call.idempotencyKey !== null) return 1;
  if (call.again !== 'as_an_sdk_retry') return sent.length;
  const runs = books.generations.filter((row) => row.name === call.name);
  const ids = new Set(runs.map(({ id }) => id));
  const holdIds = new Set(runs.map(({ holdId }) => holdId));
  const writtenAtMs = [
    ...books.holds.filter(({ id }) => holdIds.has(id)).map(({ createdAtMs }) => createdAtMs),
    ...books.tasks.filter((task) => ids.has(task.generationId)).map(({ createdAtMs }) => createdAtMs),
  ];
  const firstMs = Math.min(...writtenAtMs) + WRITTEN_WITHIN_MS;
  const [, ...retries] = sent;
  return 1 + retries.filter(({ atMs }) => atMs < firstMs).length;
}

function isUnheard({ answer }: Sighting): boolean {
  return answer === null || answer.isPending;
}
