import { Injectable, Logger } from '@nestjs/common';
import { TransactionRunner, type Tx } from '../database/transaction-runner.js';
import { AUDIT_GENESIS_HASH, auditHash, type SealedFields } from './audit-chain.js';

/** Events of one commit: some tenths of a second of work. */
const SEALED_TOGETHER_MAX = 1_000;
/**
 * How many events that came later may be in the chain before one whose tx took its number earlier has committed. A tx lasts
 * seconds; the doctor names an event that was left behind.
 */
const LATE_EVENTS_MAX = 10_000;
/** Whoever else seals waits; the number only has to be ours alone. */
const SEAL_LOCK = 4_711_047;

const HEAD = `
  SELECT s.seq, encode(s.hash, 'hex') AS hash, s.event_number AS number FROM audit_seals s ORDER BY s.seq DESC LIMIT 1`;

/** The columns of an event as they are hashed. */
export const SEALED_COLUMNS = `
  e.id, to_char(e.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS at, e.actor, e.act,
  e.object_type AS "objectType", e.object_id AS "objectId", e.account_id AS "accountId", e.before, e.after, e.reason,
  e.request_id AS "requestId", e.client_address AS "clientAddress"`;

const UNSEALED = `
  SELECT e.number, ${SEALED_COLUMNS} FROM audit_events e
   WHERE e.number > $1 AND NOT EXISTS (SELECT FROM audit_seals s WHERE s.event_number = e.number)
   ORDER BY e.number LIMIT ${SEALED_TOGETHER_MAX}`;

const SEAL = `
  INSERT INTO audit_seals (seq, event_number, hash)
  SELECT seq, number, decode(hash, 'hex') FROM unnest($1::bigint[], $2::bigint[], $3::text[]) AS new (seq, number, hash)`;

type Head = { readonly seq: string; readonly hash: string; readonly number: string };

/**
 * Puts events that are not in the chain yet at its end. One process at a time does, and no act waits for it: acts only
 * add events, and this reads what is committed.
 */
@Injectable()
export class AuditSeal {
  private readonly logger = new Logger(AuditSeal.name);

  constructor(private readonly transactions: TransactionRunner) {}

  /** Until nothing is left to seal, or it is told to stop. */
  async catchUp(signal?: AbortSignal): Promise<void> {
    for (let sealed = SEALED_TOGETHER_MAX; sealed === SEALED_TOGETHER_MAX && !signal?.aborted;) {
      const head = await this.transactions.run((tx) => this.sealSome(tx));
      sealed = head?.count ?? 0;
      // A log is kept elsewhere than the database: whoever rewrites the chain there does not reach this line.
      if (head !== null) this.logger.log(`The audit log is sealed up to ${head.seq}: ${head.hash}`);
    }
  }

  private async sealSome(tx: Tx): Promise<{ seq: number; hash: string; count: number } | null> {
    await tx.query('SELECT pg_advisory_xact_lock($1)', [SEAL_LOCK]);
    const [last] = await tx.query<Head[]>(HEAD);
    const after = Number(last?.number ?? 0) - LATE_EVENTS_MAX;
    const events = await tx.query<(SealedFields & { number: string })[]>(UNSEALED, [after]);
    if (events.length === 0) return null;
    const first = Number(last?.seq ?? 0) + 1;
    let hash = last?.hash ?? AUDIT_GENESIS_HASH;
    const hashes = events.map((event, index) => (hash = auditHash(hash, first + index, event)));
    const seqs = events.map((_, index) => first + index);
    await tx.query(SEAL, [seqs, events.map(({ number }) => number), hashes]);
    return { seq: first + events.length - 1, hash, count: events.length };
  }
}
