import type { Clock } from '../clock.js';
import type { SandboxLog } from '../loopback-server.js';
import type { UpstreamAccounts } from './accounts.js';
import type { FaultPlanner } from './faults.js';
import type { PictureCache } from './picture-cache.js';
import type { Tasks } from './tasks.js';

/** The settings that tests and scripts may change while the simulator runs. */
export type UpstreamSettings = {
  latencyMs: number;
  /** Tasks that one account may have working at the same time; null is no limit. */
  activeTasksMax: number | null;
};

/** What happened so far, over all keys. */
export type UpstreamCounts = {
  /** Submits with an accepted key, refused ones included. */
  submits: number;
  /** Submits that made a task, and cost credits. */
  tasks: number;
  polls: number;
  /** Whole pictures sent. */
  downloads: number;
  /** Downloads that carried `x-key`, which the delivery host has no business to see. */
  keysSentToDelivery: number;
};

export type UpstreamContext = {
  readonly accounts: UpstreamAccounts;
  readonly baseUrl: () => string;
  readonly clock: Clock;
  readonly counts: UpstreamCounts;
  readonly faults: FaultPlanner;
  readonly log: SandboxLog;
  readonly pictures: PictureCache;
  readonly refuseUnknownParameters: boolean;
  readonly resultTtlMs: number;
  readonly settings: UpstreamSettings;
  readonly taskNotFoundStatus: 200 | 404;
  readonly tasks: Tasks;
};
