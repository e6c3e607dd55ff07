/* eslint-disable @typescript-eslint/no-explicit-any -- answers are inspected as plain JSON */

/** An answer that arrived to its last byte. */
export type Reply = {
  readonly status: number;
  /** The whole body: copies are compared to the byte. */
  readonly text: string;
  readonly body: any;
  readonly generationId: string | null;
  readonly chargedMicros: string | null;
  /** What the service says to an SDK; null when it says nothing. */
  readonly shouldRetry: boolean | null;
};

/** One thing that was asked for, and every answer to it; null where the connection broke before one. */
export type Entry = {
  readonly name: string;
  readonly replies: (Reply | null)[];
  /** For people who ask how it came to that. */
  readonly history: string[];
};

/** Everything that the clients saw. */
export class Journal {
  readonly faults: string[] = [];
  private readonly entries = new Map<string, Entry>();

  entry(name: string): Entry {
    const entry = this.entries.get(name) ?? { name, replies: [], history: [] };
    this.entries.set(name, entry);
    return entry;
  }

  /** A request went to a process and came to this. */
  log(name: string, to: number, sentAt: Date, reply: Reply | null): void {
    const outcome =
      reply === null ? 'broken' : `${reply.status} ${codeOf(reply) ?? reply.generationId ?? ''}`.trim();
    this.entry(name).history.push(`${clockOf(sentAt)} to ${to}, ${clockOf(new Date())} ${outcome}`);
  }

  note(name: string, reply: Reply | null): void {
    this.entry(name).replies.push(reply);
    if (reply !== null && !isDocumented(reply))
      this.faults.push(`${name}: answered ${reply.status} ${reply.text}`);
  }

  /** How many answers of each kind there were. */
  counts(): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const reply of [...this.entries.values()].flatMap(({ replies }) => replies)) {
      const outcome = reply === null ? 'broken' : `${reply.status} ${codeOf(reply) ?? ''}`.trim();
      counts[outcome] = (counts[outcome] ?? 0) + 1;
    }
    return counts;
  }
}

export const isAcknowledged = (reply: Reply | null): reply is Reply =>
  reply !== null && reply.status >= 200 && reply.status < 300;

export const acknowledged = ({ replies }: Entry): Reply[] => replies.filter(isAcknowledged);

export const codeOf = (reply: Reply): string | null => reply.body.error?.code ?? null;

/** Whether the service said what it did. A broken connection, an outage and a call under way say nothing. */
export function isDecision(reply: Reply | null): boolean {
  if (reply === null || reply.body.error?.outcome === 'pending') return false;
  const code = codeOf(reply);
  if (reply.status === 409) return code === 'hold_already_resolved';
  return reply.status < 500 || UPSTREAM_FAILURES.includes(code ?? '');
}

/** Nothing is known to have happened, or something may have happened which no answer reports. */
export function isUndecided({ replies }: Entry): boolean {
  if (replies.some(isAcknowledged)) return false;
  return replies.length > 0 && !replies.every(isDecision);
}

const UPSTREAM_FAILURES: readonly string[] = ['upstream_failed', 'upstream_unavailable', 'upstream_timeout'];
const REFUSALS: readonly string[] = [
  'insufficient_credits',
  'wallet_frozen',
  'key_limit_reached',
  'hold_already_resolved',
  'idempotency_in_progress',
  'database_unavailable',
  'wallet_locked',
  'engine_saturated',
  'payments_unavailable',
  ...UPSTREAM_FAILURES,
];

function isDocumented(reply: Reply): boolean {
  return isAcknowledged(reply) || REFUSALS.includes(codeOf(reply) ?? '');
}

const clockOf = (time: Date): string => time.toISOString().slice(14, -1);
