import { Inject, Injectable, Optional } from '@nestjs/common';
import type { Principal } from '../auth/principal.js';
import { CLOCK, type MonotonicClock } from '../../platform/common/clock.js';
import { ACCOUNT_LIMITS, type AccountLimits, numbersOf, type OwnLimits } from './account-limits.js';
import { CallSlots } from './call-slots.service.js';
import { KnownRefusals } from './known-refusals.js';
import type { Meter } from './meter.js';
import { RATE_LIMIT_POLICIES, type RateLimitName } from './rate-limit-policies.js';
import type { Usage } from './usage.js';
import { WindowCounter } from './window-counter.service.js';

/** One limit to count, for a key and its account. */
export type Cost = {
  readonly name: RateLimitName;
  /** Requests or images, or 1 for a slot; 0 only asks how much is left. */
  readonly cost: number;
};

/** A call that may run. */
export type Pass = {
  /** The call is over and its answer was sent: frees its slots. */
  release(): void;
  /** No provider was asked: it counts for nothing. Once; answers how much is left of what it was counted for. */
  giveBack(): Promise<readonly Usage[]>;
};

export type Admission = {
  readonly usages: readonly Usage[];
  /** Null: refused; one usage is exceeded and nothing was counted. */
  readonly pass: Pass | null;
};

type Counted = {
  readonly admitted: boolean;
  readonly usages: readonly Usage[];
  /** The call is over, or was refused: as if it had not been counted. */
  giveBack(): Promise<readonly Usage[]>;
};

const KEY_PREFIX = 'coffer:limits';

/**
 * Counts by key and by account, against the limits in force. A request is counted for all of its limits or, when one has
 * no room, for none: a key over its own does not use up what the account's other keys still have.
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
   * Counts one request. Refused, one usage is exceeded.
   *
   * @param shown limits that are not counted here, but are answered as well.
   */
  async count(
    name: RateLimitName,
    principal: Principal,
    shown: readonly RateLimitName[] = [],
  ): Promise<readonly Usage[]> {
    const costs = [{ name, cost: 1 }, ...shown.map((other) => ({ name: other, cost: 0 }))];
    const meters = await this.metersOf(costs, principal);
    const known = this.refusals.find(meters);
    if (known !== null) return known;
    const { admitted, usages } = await this.take(meters, null);
    if (!admitted) this.refusals.remember(meters, usages);
    return usages;
  }

  /** Counts a call that takes its time, until it is released. */
  async enter(costs: readonly Cost[], principal: Principal): Promise<Admission> {
    const meters = await this.metersOf(costs, principal);
    const lease = this.slots.newLease();
    const counted = await this.take(meters, lease);
    const { usages } = counted;
    if (!counted.admitted) return { usages, pass: null };
    const release = (): void => this.slots.release(lease);
    return { usages, pass: { release, giveBack: () => counted.giveBack() } };
  }

  /**
   * First the key's limits and the slots, then the account's: what is refused for a limit of its key has not, not even for
   * a moment, taken anything from the other keys. One step for all would let a flood of one key refuse the others.
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
    const inOrder = (...usages: readonly Usage[]) => inOrderOf(meters, [...usages, ...slots.usages]);
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

  private async metersOf(costs: readonly Cost[], principal: Principal): Promise<readonly Meter[]> {
    if (principal.kind === 'operator_key') {
      // It belongs to no account, and its limits are those of everybody.
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
  const { perKey, perAccount } = numbersOf(name, own);
  return {
    limit,
    unit: RATE_LIMIT_POLICIES[name].unit,
    per,
    // In braces what a cluster of Redis hashes: the slots of a key and of its account must be at the same place.
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

/** As the headers name them: a limit of the key, then the same of its account. */
function inOrderOf(meters: readonly Meter[], usages: readonly Usage[]): readonly Usage[] {
  return meters.flatMap(({ limit }) => usages.filter((usage) => usage.limit === limit));
}
