import type { LimitUnit } from './rate-limit-policies.js';

/** What one request needs of one limit of one subject. */
export type Meter = {
  /** The limit's name on the wire. */
  readonly limit: string;
  readonly unit: LimitUnit;
  readonly per: 'key' | 'account';
  /** Where it is counted; no other limit or subject has the same key. */
  readonly key: string;
  readonly max: number;
  /** The number of requests or images, or 1 for a slot; 0 only asks how much is left. */
  readonly cost: number;
};
