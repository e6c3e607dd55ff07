import type { SeededRandom } from '../seeded-random.js';

/** What an account is like; what may happen to its calls follows from it. */
export type AccountKind =
  | 'rich'
  /** Has credit for less than what is asked of it. */
  | 'thin'
  /** Begins with nothing and is granted credit while it is used. */
  | 'newcomer'
  /** Rich, and frozen for a while, again and again. */
  | 'frozen'
  | 'byok'
  /** Its provider key is taken away in the middle; from then on the wallet pays. */
  | 'byok_removed'
  | 'byok_refused'
  | 'byok_unfunded'
  /** Its own account at the provider has credit for some images. */
  | 'byok_running_dry'
  | 'byok_refused_falls_back'
  | 'byok_running_dry_falls_back';

export type LimitPeriod = 'day' | 'month' | 'total';

export type PlannedKey = {
  readonly limits: Readonly<Partial<Record<LimitPeriod, bigint>>>;
  /** Ended somewhere in the middle. */
  readonly isRevoked: boolean;
};

export type PlannedAccount = {
  readonly kind: AccountKind;
  readonly grantMicros: bigint;
  readonly keys: readonly PlannedKey[];
};

/** One request for a call; those of one call are sent at the same time, each after its own delay. */
export type PlannedSend = {
  readonly service: number;
  readonly afterMs: number;
  /** The client breaks the connection then, whether it has its answer or not. */
  readonly hangUpAfterMs: number | null;
};

export type PlannedCall = {
  /** Travels as OpenAI's `user`, and so is on every receipt of the call: how the judge finds it again. */
  readonly name: string;
  readonly account: number;
  readonly key: number;
  readonly model: string;
  readonly prompt: string;
  /** Reference images of an edit; 0 for a generation from text alone. */
  readonly references: number;
  /** OpenAI's `n`. */
  readonly images: number;
  readonly size: string;
  readonly responseFormat: 'url' | 'b64_json';
  readonly outputFormat: 'png' | 'jpeg' | 'webp';
  readonly idempotencyKey: string | null;
  /** Nothing is in its way: neither the provider nor the client. */
  readonly isSmooth: boolean;
  readonly isValid: boolean;
  readonly sends: readonly PlannedSend[];
  /**
   * Sent again after all of `sends`: until somebody says what became of it, or, as an SDK does it, without any key and
   * only if the connection broke.
   */
  readonly again: 'until_decided' | 'as_an_sdk_retry' | null;
};

/** What others do in the meantime, when so many calls have begun. */
export type PlannedEvent = { readonly atCall: number } & (
  | { readonly type: 'grant'; readonly account: number; readonly amountMicros: bigint }
  | { readonly type: 'freeze' | 'unfreeze' | 'remove_provider_key'; readonly account: number }
  | { readonly type: 'revoke'; readonly account: number; readonly key: number }
  /** An outside gateway holds credit of the account, and voids it. */
  | { readonly type: 'hold_and_void'; readonly account: number; readonly amountMicros: bigint }
  | { readonly type: 'change_price'; readonly amountMicros: bigint }
);

export type MixedPlan = {
  readonly accounts: readonly PlannedAccount[];
  readonly calls: readonly PlannedCall[];
  readonly events: readonly PlannedEvent[];
};

export type PlanOptions = {
  /** Requests, repeated ones included. */
  readonly requests: number;
  /** How many accounts of each kind. */
  readonly ofEachKind: number;
  /** Also faults that take the gateway seconds to get over. */
  readonly slowFaults: boolean;
};

export const PAID_MODEL = 'black-forest-labs/flux-2-klein-9b';
export const FREE_MODEL = 'black-forest-labs/flux-2-klein-4b';
export const FIRST_PRICE_MICROS = 40_000n;
export const SECOND_PRICE_MICROS = 45_500n;
/** The provider's account of `byok_running_dry`, in credits: some twenty images. */
export const RUNNING_DRY_CREDITS = 30;

const PLENTY_MICROS = 1_000_000_000_000n;
const SERVICES = 2;
const REFERENCES_MAX = 3;
const IMAGES_AVERAGE = 2;

const KINDS: readonly AccountKind[] = [
  'rich',
  'thin',
  'newcomer',
  'frozen',
  'byok',
  'byok_removed',
  'byok_refused',
  'byok_unfunded',
  'byok_running_dry',
  'byok_refused_falls_back',
  'byok_running_dry_falls_back',
];

const BUSY_KINDS: readonly AccountKind[] = ['rich', 'rich', 'thin', 'byok', 'byok_removed'];

/** `every=k` fails one image of several, so that some calls are delivered in part. */
const FAULTS = [
  'moderated',
  'content_moderated',
  'error',
  'error, every=3',
  'moderated, every=2',
  'not_image',
  'not_image, every=3',
  'truncated',
  'truncated, every=2',
  'wrong_size, every=2',
  'result_404, every=4',
  'submit=503',
  'submit=503, every=3',
  'submit=402, every=5',
  'submit=422',
  'submit=reset, every=3',
  'submit=lost',
  'submit=429, every=4',
  'poll=503, every=2',
  'poll=reset, every=3',
  'download=503, every=9',
  'slow=80',
  'slow=300, every=2',
] as const;
const SLOW_FAULTS = [
  'not_found',
  'download=reset',
  'download=503',
  'slow=2500',
  'submit=429, every=2',
] as const;

/** Few different prompts: the simulator draws a picture once and keeps it. */
const PICTURES = 4;
const SIZES = ['64x64', '64x64', '96x64', '64x128'] as const;

/** The same plan for the same random numbers. Pure. */
export function planMixedCalls(random: SeededRandom, options: PlanOptions): MixedPlan {
  const accounts = planAccounts(random, options);
  const calls = new CallPlanner(random, options).plan();
  return { accounts, calls, events: planEvents(random, accounts, calls.length) };
}

/** What an account has to pay with. */
function grantFor(kind: AccountKind, imagesShare: number): bigint {
  if (kind === 'newcomer') return 0n;
  return kind === 'thin' ? pay(imagesShare * 0.4) : PLENTY_MICROS;
}

const pay = (images: number): bigint => BigInt(Math.ceil(images)) * FIRST_PRICE_MICROS;

function planAccounts(random: SeededRandom, { requests, ofEachKind }: PlanOptions): PlannedAccount[] {
  const count = KINDS.length * ofEachKind;
  const imagesShare = (requests * IMAGES_AVERAGE) / count;
  return Array.from({ length: count }, (_, index) => {
    const kind = KINDS[index % KINDS.length] ?? 'rich';
    const period = random.pick(['day', 'month', 'total'] as const);
    // A third of what is asked of one of three keys.
    const limit = pay(imagesShare / 9) + BigInt(random.between(0, 39_999));
    const capped = { limits: { [period]: limit }, isRevoked: false };
    const plain = { limits: {}, isRevoked: false };
    return {
      kind,
      grantMicros: grantFor(kind, imagesShare),
      keys: [plain, capped, { limits: {}, isRevoked: random.next() < 0.3 }],
    };
  });
}

class CallPlanner {
  private readonly lastKey = new Map<number, string>();

  constructor(
    private readonly random: SeededRandom,
    private readonly options: PlanOptions,
  ) {}

  plan(): PlannedCall[] {
    const calls: PlannedCall[] = [];
    for (let requests = 0; requests < this.options.requests;) {
      const call = this.call(calls.length);
      calls.push(call);
      requests += call.sends.length + (call.again === null ? 0 : 1);
    }
    return calls;
  }

  private call(number: number): PlannedCall {
    const { random } = this;
    const account = this.account();
    const fault = this.fault();
    const way = this.way(account, number);
    const isValid = random.next() >= 0.02;
    const isFree = random.next() < 0.12;
    return {
      name: `call-${number}`,
      account,
      key: random.between(0, 2),
      model: isValid ? (isFree ? FREE_MODEL : PAID_MODEL) : random.pick(['no/such-model', PAID_MODEL]),
      references: random.next() < 0.1 ? random.between(1, REFERENCES_MAX) : 0,
      prompt: `picture ${random.between(1, PICTURES)}${fault === null ? '' : ` [sandbox:${fault}]`}`,
      images: isValid ? this.images() : 11,
      size: random.pick(SIZES),
      responseFormat: random.next() < 0.7 ? 'url' : 'b64_json',
      outputFormat: random.pick(['png', 'jpeg', 'webp']),
      isSmooth: fault === null && way.sends.every(({ hangUpAfterMs }) => hangUpAfterMs === null),
      isValid,
      ...way,
    };
  }

  /** Half of the calls are of accounts that have most of them made. */
  private account(): number {
    const { random } = this;
    const isAny = random.next() < 0.5;
    const kinds = isAny ? KINDS : BUSY_KINDS;
    const kind = KINDS.indexOf(random.pick(kinds));
    return kind + KINDS.length * random.between(0, this.options.ofEachKind - 1);
  }

  private images(): number {
    const { random } = this;
    return random.next() < 0.9 ? random.between(1, 3) : random.between(4, 10);
  }

  private fault(): string | null {
    const { random } = this;
    if (random.next() >= 0.3) return null;
    const isSlow = this.options.slowFaults && random.next() < 0.02;
    return random.pick<string>(isSlow ? SLOW_FAULTS : FAULTS);
  }

  /** How a call is sent: mostly once; with copies, with a broken connection, with the key of another call. */
  private way(account: number, number: number): Pick<PlannedCall, 'idempotencyKey' | 'sends' | 'again'> {
    const { random } = this;
    const send = (hangUpAfterMs: number | null = null, afterMs = 0): PlannedSend => ({
      service: random.between(0, SERVICES - 1),
      afterMs,
      hangUpAfterMs,
    });
    const chance = random.next();
    if (chance < 0.68) return { idempotencyKey: null, sends: [send()], again: null };
    if (chance < 0.74) return { idempotencyKey: null, sends: [send(random.between(0, 60))], again: null };
    if (chance < 0.78) {
      const sends = [send(random.between(0, 60))];
      return { idempotencyKey: null, sends, again: 'as_an_sdk_retry' };
    }
    const earlier = this.lastKey.get(account);
    if (chance < 0.82 && earlier !== undefined) {
      return { idempotencyKey: earlier, sends: [send()], again: null };
    }
    const idempotencyKey = `key-${number}`;
    this.lastKey.set(account, idempotencyKey);
    if (chance < 0.88) return { idempotencyKey, sends: [send()], again: null };
    if (chance < 0.94) {
      return { idempotencyKey, sends: [send(random.between(0, 60))], again: 'until_decided' };
    }
    const copies = Array.from({ length: random.between(2, 4) }, () => send(null, random.between(0, 40)));
    return { idempotencyKey, sends: copies, again: 'until_decided' };
  }
}

function planEvents(
  random: SeededRandom,
  accounts: readonly PlannedAccount[],
  calls: number,
): PlannedEvent[] {
  const at = (part: number): number => Math.floor(calls * part);
  const events: PlannedEvent[] = [
    { atCall: at(0.5), type: 'change_price', amountMicros: SECOND_PRICE_MICROS },
  ];
  for (const [account, { kind, keys }] of accounts.entries()) {
    for (const [key, { isRevoked }] of keys.entries()) {
      if (isRevoked) events.push({ atCall: at(0.3 + random.next() * 0.4), type: 'revoke', account, key });
    }
    if (kind === 'byok_removed') events.push({ atCall: at(0.5), type: 'remove_provider_key', account });
    if (kind === 'frozen') {
      for (const part of [0.2, 0.5, 0.8]) {
        events.push({ atCall: at(part), type: 'freeze', account });
        events.push({ atCall: at(part + 0.1), type: 'unfreeze', account });
      }
    }
    if (kind === 'thin' || kind === 'newcomer') {
      for (let grants = 0; grants < 8; grants += 1) {
        const amountMicros = BigInt(random.between(1, 400_000));
        events.push({ atCall: at(random.next()), type: 'grant', account, amountMicros });
      }
    }
    if (['rich', 'thin', 'newcomer'].includes(kind)) {
      for (let holds = 0; holds < 8; holds += 1) {
        const amountMicros = BigInt(random.between(1, 100_000));
        events.push({ atCall: at(random.next()), type: 'hold_and_void', account, amountMicros });
      }
    }
  }
  // Stable: what was planned for the same moment happens in the order above.
  return events.sort((one, other) => one.atCall - other.atCall);
}
