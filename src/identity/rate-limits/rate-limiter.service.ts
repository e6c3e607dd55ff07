import { Inject, Injectable, Optional } from '@nestjs/common';
import type { Principal } from '../auth/principal.js';
import { CLOCK, type MonotonicClock } from '../../platform/common/clock.js';
import {
  ACCOUNT_LIMITS,
  type AccountLimits,
  getLimitNumbers,
  type OwnLimits,
  RATE_LIMIT_POLICIES,
  type RateLimitName,
  type Meter,
  type Usage,
} from './rate-limit-policies.js';
import { CallSlots, WindowCounter } from './limit-counters.service.js';

/** One limit to count, for a key and its account. */
export type Cost = {
  readonly name: RateLimitName;
  /** The number of requests or images, or 1 for a slot; 0 only asks how much is left. */
  readonly cost: number;
};

/** The admission of a call that may run. */
export type Pass = {
  /** Frees the slots of a call that has ended and whose answer was sent. */
  release(): void;
  /** Takes the call out of the counts, because no provider was asked. It may be called once; returns how much is left. */
  giveBack(): Promise<readonly Usage[]>;
};

export type Admission = {
  readonly usages: readonly Usage[];
  /** Null when it was refused; one usage is exceeded and nothing was counted. */
  readonly pass: Pass | null;
};

type Counted = {
  readonly admitted: boolean;
  readonly usages: readonly Usage[];
  /** Takes the request out of the counts when it has ended or was refused. */
  giveBack(): Promise<readonly Usage[]>;
};

const KEY_PREFIX = 'coffer:limits';

/**
 * Counts by key and by account, against the limits in force. A request is counted for all of its limits or, when one is
 * exceeded, for none: a key over its own limit does not use up what the account's other keys still have.
 */
@Injectable()
export class RateLimiter {
  private readonly refusals: KnownRefusals;

  constructor(
    private readonly windows: WindowCounter,
    private readonly slots: CallSlots,
    @Inject(CLOCK) clock: MonotonicClock,
    @Optional() @Inject(ACCOUNT_LIMITS) private readonly accountLimits: AccountLimits | null = null,
  ) {
    this.refusals = new KnownRefusals(clock);
  }

  /**
   * Counts one request. When it is refused, one usage is exceeded.
   *
   * @param shown limits that are not counted here, but are returned as well.
   */
  async count(
    name: RateLimitName,
    principal: Principal,
    shown: readonly RateLimitName[] = [],
  ): Promise<readonly Usage[]> {
    const costs = [{ name, cost: 1 }, ...shown.map((other) => ({ name: other, cost: 0 }))];
    const meters = await this.createMeters(costs, principal);
    const known = this.refusals.find(meters);
    if (known !== null) return known;
    const { admitted, usages } = await this.take(meters, null);
    if (!admitted) this.refusals.remember(meters, usages);
    return usages;
  }

  /** Counts a call that takes some time, until it is released. */
  async enter(costs: readonly Cost[], principal: Principal): Promise<Admission> {
    const meters = await this.createMeters(costs, principal);
    const lease = this.slots.newLease();
    const counted = await this.take(meters, lease);
    const { usages } = counted;
    if (!counted.admitted) return { usages, pass: null };
    const release = (): void => this.slots.release(lease);
    return { usages, pass: { release, giveBack: () => counted.giveBack() } };
  }

  /**
   * Checks the key's own limits and the slots first, then the account's, so that a key over its limit never uses up the account's
   * shared limit, not even for a moment. With one check for all, a flood on one key could cause refusals for the others.
   */
  private async take(meters: readonly Meter[], lease: string | null): Promise<Counted> {
    const windows = meters.filter((meter) => !isSlot(meter));
    const [ofKey, slots] = await Promise.all([
      this.windows.count(windows.filter(({ per }) => per === 'key')),
      this.slots.take(meters.filter(isSlot), lease),
    ]);
    const ofAccountMeters = windows.filter(({ per }) => per === 'account');
    const goesOn = ofKey.admitted && (slots.admitted || lease === null);
    const ofAccount = await this.windows.count(goesOn ? ofAccountMeters : ofAccountMeters.map(onlyLook));
    const inOrder = (...usages: readonly Usage[]) => sortByMeters(meters, [...usages, ...slots.usages]);
    const giveBack = async (): Promise<readonly Usage[]> => {
      const given = await Promise.all([ofKey.giveBack(), ofAccount.giveBack()]);
      return inOrder(...given.flat());
    };
    if (goesOn && ofAccount.admitted) {
      return { admitted: true, usages: inOrder(...ofKey.usages, ...ofAccount.usages), giveBack };
    }
    if (lease !== null) this.slots.release(lease);
    return { admitted: false, usages: await giveBack(), giveBack };
  }

  private async createMeters(costs: readonly Cost[], principal: Principal): Promise<readonly Meter[]> {
    if (principal.kind === 'operator_key') {
      // The operator key belongs to no account, and has the default limits.
      return costs.map((cost) => toMeter(cost, 'key', principal.keyId, principal.keyId, null));
    }
    const { accountId, keyId } = principal;
    const found = this.accountLimits?.find(accountId) ?? null;
    const own = found instanceof Promise ? await found : found;
    return costs.flatMap((cost) => [
      toMeter(cost, 'key', keyId, accountId, own),
      toMeter(cost, 'account', accountId, accountId, own),
    ]);
  }
}

function toMeter(
  { name, cost }: Cost,
  per: 'key' | 'account',
  subject: string,
  owner: string,
  own: OwnLimits,
): Meter {
  const limit = `${name}-per-${per}`;
  const { perKey, perAccount } = getLimitNumbers(name, own);
  return {
    limit,
    unit: RATE_LIMIT_POLICIES[name].unit,
    per,
    // A cluster of Redis hashes the part in braces: the slots of a key and of its account must be on the same node.
    key: `${KEY_PREFIX}:{${owner}}:${limit}:${subject}`,
    max: per === 'key' ? perKey : perAccount,
    cost,
  };
}

function isSlot({ unit }: Meter): boolean {
  return unit === 'concurrent-requests';
}

function onlyLook(meter: Meter): Meter {
  return { ...meter, cost: 0 };
}

/** Returns the order of the headers: a limit of the key, then the same limit of its account. */
function sortByMeters(meters: readonly Meter[], usages: readonly Usage[]): readonly Usage[] {
  return meters.flatMap(({ limit }) => usages.filter((usage) => usage.limit === limit));
}

/** Long enough that a flood costs Redis almost nothing; short enough that a client that was refused narrowly is soon admitted. */
const REMEMBERED_MS = 1_000;
/** Each is a key over its limit; beyond this number, Redis is asked again. */
const REFUSALS_MAX = 10_000;

type Refusal = { readonly usages: readonly Usage[]; readonly untilMs: number };

/**
 * Refuses again, without counting, what was just refused. The library's `inMemoryBlockOnConsumed` knows neither what the
 * other limits of the request have left nor that an operator has raised this one.
 */
export class KnownRefusals {
  private readonly refusals = new Map<string, Refusal>();

  constructor(private readonly clock: MonotonicClock) {}

  find(meters: readonly Meter[]): readonly Usage[] | null {
    const refusal = this.refusals.size === 0 ? undefined : this.refusals.get(toKey(meters));
    return refusal !== undefined && this.clock.monotonicMs() < refusal.untilMs ? refusal.usages : null;
  }

  remember(meters: readonly Meter[], usages: readonly Usage[]): void {
    if (this.refusals.size >= REFUSALS_MAX) this.refusals.clear();
    const waitsMs = usages.filter(({ exceeded }) => exceeded).map(({ resetMs }) => resetMs ?? 0);
    const untilMs = this.clock.monotonicMs() + Math.min(REMEMBERED_MS, ...waitsMs);
    this.refusals.set(toKey(meters), { usages, untilMs });
  }
}

function toKey(meters: readonly Meter[]): string {
  return meters.map(({ key, max }) => `${key}=${max}`).join();
}
