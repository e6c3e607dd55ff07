import { Injectable } from '@nestjs/common';
import type { Principal } from '../auth/principal.js';
import { RATE_LIMIT_POLICIES, type RateLimitName, type RateLimitPolicy } from './rate-limit-policies.js';
import { RedisConnection } from './redis-connection.js';
import { RequestCounter } from './request-counter.js';
import type { Usage } from './usage.js';

type Counters = { readonly perKey: RequestCounter; readonly perAccount: RequestCounter };

@Injectable()
export class RateLimiter {
  private readonly counters: ReadonlyMap<string, Counters>;

  constructor(redis: RedisConnection) {
    const toCounters = ([name, policy]: [string, RateLimitPolicy]): [string, Counters] => [
      name,
      {
        perKey: new RequestCounter(`${name}-per-key`, policy.perKey, redis),
        perAccount: new RequestCounter(`${name}-per-account`, policy.perAccount, redis),
      },
    ];
    this.counters = new Map(Object.entries(RATE_LIMIT_POLICIES).map(toCounters));
  }

  /** Counts one request; the last usage is the exceeded one, if any. An operator key belongs to no account. */
  async count(name: RateLimitName, principal: Principal): Promise<readonly Usage[]> {
    const counters = this.counters.get(name);
    if (counters === undefined) throw new Error(`there is no rate limit '${name}'`);
    const ofKey = await counters.perKey.count(principal.keyId);
    // One key over its limit must not use up what the account's other keys still have.
    if (ofKey.exceeded || principal.kind === 'operator_key') return [ofKey];
    return [ofKey, await counters.perAccount.count(principal.accountId)];
  }
}
