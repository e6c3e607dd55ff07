import type { LimitUnit } from './rate-limit-policies.js';

/** What one request asks of one limit of one subject. */
export type Meter = {
  /** The limit's name on the wire. */
  readonly limit: string;
  readonly unit: LimitUnit;
  readonly per: 'key' | 'account';
  /** Where it is counted; of no other limit and no other subject. */
  readonly key: string;
  readonly max: number;
  /** Requests or images, or 1 for a slot; 0 only asks how much is left. */
  readonly cost: number;
};
