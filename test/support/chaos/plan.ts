import type { SeededRandom } from '../seeded-random.js';

/** Which of the two service processes a request goes to. */
export type Target = 0 | 1;
/** One of the two to four times that an operation is sent. */
export type Copy = { readonly to: Target; readonly afterMs: number };
/** How a hold shall end: with an amount that is captured, or null for a void. Several of them race. */
export type HoldEnd = { readonly captureMicros: number | null; readonly copy: Copy };
/** An SDK's attempt: it hangs up after that many milliseconds, or waits for the answer. */
export type Attempt = { readonly to: Target; readonly hangUpAfterMs: number | null };

type Named = { readonly name: string; readonly account: number };
type Copied = { readonly copies: readonly Copy[] };
export type DebitItem = { readonly account: number; readonly amountMicros: number };
type Image = { readonly key: number; readonly images: number; readonly prompt: string };

export type Operation = Named &
  (
    | ({ readonly kind: 'debit' | 'grant' | 'adjustment'; readonly amountMicros: number } & Copied)
    | ({ readonly kind: 'batch'; readonly debits: readonly DebitItem[] } & Copied)
    | ({ readonly kind: 'hold'; readonly amountMicros: number; readonly ends: readonly HoldEnd[] } & Copied)
    | ({ readonly kind: 'keyed_image' } & Image & Copied)
    | ({ readonly kind: 'retried_image'; readonly attempts: readonly Attempt[] } & Image)
    | ({ readonly kind: 'top_up'; readonly creditCents: number } & Copied)
    | ({ readonly kind: 'freeze' } & Copied)
    | ({ readonly kind: 'budget'; readonly key: number; readonly raiseMicros: number } & Copied)
  );

export type OperationOf<Kind extends Operation['kind']> = Extract<Operation, { readonly kind: Kind }>;

/** Six wallets with little credit: most of the operations compete for what is left in one of them. */
export const ACCOUNTS = 6;
/** Of each account; the last one has a limit, which `budget` operations raise. */
export const KEYS = 3;
export const LIMITED_KEY = KEYS - 1;
export const FIRST_GRANT_MICROS = 1_000_000;
export const FIRST_LIMIT_MICROS = 400_000;

/** Of a thousand operations. A top-up brings in what hundreds of others spend, so there are few. */
const SHARES: Readonly<Record<Operation['kind'], number>> = {
  debit: 350,
  batch: 80,
  hold: 230,
  keyed_image: 150,
  retried_image: 70,
  grant: 60,
  adjustment: 30,
  freeze: 15,
  budget: 12,
  top_up: 3,
};

const CHARGE_MAX_MICROS = 60_000;
const BATCH_MAX = 10;

/** What the operations are; only what is killed when, and so what each comes to, differs between runs of one seed. */
export function planOperations(random: SeededRandom, count: number): Operation[] {
  const kinds = Object.entries(SHARES).flatMap(([kind, share]) =>
    Array.from({ length: Math.ceil((share * count) / 1_000) }, () => kind as Operation['kind']),
  );
  return shuffled(random, kinds)
    .slice(0, count)
    .map((kind, index) => planOperation(random, kind, index));
}

function planOperation(random: SeededRandom, kind: Operation['kind'], index: number): Operation {
  const named = { name: `${kind}-${index}`, account: random.between(0, ACCOUNTS - 1) };
  const copies = planCopies(random);
  switch (kind) {
    case 'debit':
      return { ...named, kind, copies, amountMicros: anyCharge(random) };
    case 'grant':
      return { ...named, kind, copies, amountMicros: random.between(1, 300_000) };
    case 'adjustment':
      return { ...named, kind, copies, amountMicros: random.pick([-1, 1]) * random.between(1, 200_000) };
    case 'batch':
      return { ...named, kind, copies, debits: planBatch(random) };
    case 'hold':
      return { ...named, kind, copies, ...planHold(random) };
    case 'keyed_image':
      return { ...named, kind, copies, ...planImage(random, index) };
    case 'retried_image':
      return { ...named, kind, attempts: planAttempts(random), ...planImage(random, index) };
    case 'top_up':
      return { ...named, kind, copies, creditCents: random.between(500, 800) };
    case 'freeze':
      return { ...named, kind, copies };
    case 'budget':
      return { ...named, kind, copies, key: LIMITED_KEY, raiseMicros: random.between(1, 400_000) };
  }
}

/** Two to four, over both processes, most of them together and some of them long after the first. */
function planCopies(random: SeededRandom): Copy[] {
  return Array.from({ length: random.between(2, 4) }, () => ({
    to: random.pick([0, 1]),
    afterMs: random.next() < 0.9 ? random.between(0, 20) : random.between(20, 400),
  }));
}

function anyCharge(random: SeededRandom): number {
  return random.between(1, CHARGE_MAX_MICROS);
}

function planBatch(random: SeededRandom): DebitItem[] {
  return Array.from({ length: random.between(2, BATCH_MAX) }, () => ({
    account: random.between(0, ACCOUNTS - 1),
    amountMicros: anyCharge(random),
  }));
}

/** One in ten is left open, as by a gateway that dies; the others are ended two to four times at once. */
function planHold(random: SeededRandom): Pick<OperationOf<'hold'>, 'amountMicros' | 'ends'> {
  const amountMicros = anyCharge(random);
  if (random.next() < 0.1) return { amountMicros, ends: [] };
  const ends = planCopies(random).map((copy) => ({
    copy,
    captureMicros: random.pick([null, amountMicros, random.between(1, amountMicros)]),
  }));
  return { amountMicros, ends };
}

/** Some of several images fail, or all of them; some take their time. */
function planImage(random: SeededRandom, index: number): Image {
  const trouble = random.pick([
    '',
    '',
    '',
    '',
    ' [sandbox:error, every=2]',
    ' [sandbox:error]',
    ' [sandbox:slow=200]',
  ]);
  const key = random.between(0, KEYS - 1);
  return { key, images: random.pick([1, 1, 1, 2, 3]), prompt: `fox ${index}${trouble}` };
}

/** Before, while and after its credit is set aside and its images are made. */
const HANG_UP_WITHIN_MS = [60, 600] as const;

/** The last one waits for its answer. */
function planAttempts(random: SeededRandom): Attempt[] {
  return planCopies(random).map(({ to }, index, all) => ({
    to,
    hangUpAfterMs:
      index === all.length - 1 || random.next() < 0.3
        ? null
        : random.between(1, random.pick(HANG_UP_WITHIN_MS)),
  }));
}

export function shuffled<T>(random: SeededRandom, items: readonly T[]): T[] {
  const left = [...items];
  for (let last = left.length - 1; last > 0; last -= 1) {
    const other = random.between(0, last);
    [left[last], left[other]] = [left[other] as T, left[last] as T];
  }
  return left;
}
