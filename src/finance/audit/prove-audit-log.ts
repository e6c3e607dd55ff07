import { AUDIT_GENESIS_HASH, auditHash, type SealedFields } from '../../identity/audit-log/audit-chain.js';
import type { AuditValue } from '../../identity/audit-log/audit-event.js';
import type { Snapshot } from '../../platform/database/snapshot.js';
import type { Report } from './proof/discrepancy.js';
import { reportAll } from './proof/prove-rows.js';

/** The columns of an event as they are hashed. */
const SEALED_COLUMNS = `
  e.id, to_char(e.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS at, e.actor, e.act,
  e.object_type, e.object_id, e.account_id, e.before, e.after, e.reason, e.request_id, e.client_address`;

const CHAIN = `
  SELECT s.seq, encode(s.hash, 'hex'), s.event_number, ${SEALED_COLUMNS}
    FROM audit_seals s LEFT JOIN audit_events e ON e.number = s.event_number ORDER BY s.seq`;

/** An event is sealed in its own commit. */
const UNSEALED = `
  SELECT 'audit_events', 'id=' || e.id, 'seq', 'a place in the chain', 'none'
    FROM audit_events e
   WHERE NOT EXISTS (SELECT FROM audit_seals s WHERE s.event_number = e.number)`;

const HEAD = `SELECT seq, encode(hash, 'hex') FROM audit_head`;

/** Every event is sealed and is the one that was sealed, in its place; none is missing between two of them, nor at the end. */
export async function proveAuditLog(snapshot: Snapshot, report: Report): Promise<void> {
  let previous = { seq: 0, hash: AUDIT_GENESIS_HASH };
  for await (const batch of snapshot.stream(CHAIN)) {
    for (const [seq, hash, number, ...event] of batch) {
      const key = `seq=${seq}`;
      const differs = (column: string, expected: string, found: string): void =>
        report({ table: 'audit_seals', key, column, expected, found });
      const place = previous.seq + 1;
      if (Number(seq) !== place) differs('seq', String(place), String(seq));
      if (event[0] === null) differs('event_number', 'an event', `${number}, which is gone`);
      else if (Number(seq) === place) {
        const expected = auditHash(previous.hash, Number(seq), toFields(event));
        if (expected !== hash) differs('hash', expected, String(hash));
      }
      // What follows is held against what is stored, so that one change is one finding.
      previous = { seq: Number(seq), hash: String(hash) };
    }
  }
  await reportAll(snapshot, UNSEALED, report);
  const [[seq, hash] = []] = await snapshot.rows(HEAD);
  const expected = `${previous.seq}: ${previous.hash}`;
  const found = `${seq}: ${hash}`;
  if (found !== expected) report({ table: 'audit_head', key: 'id=1', column: 'hash', expected, found });
}

/** In the order of `SEALED_COLUMNS`. */
function toFields(columns: readonly (string | null)[]): SealedFields {
  const text = columns as readonly string[];
  const json = (value: string | null | undefined) =>
    value == null ? null : (JSON.parse(value) as AuditValue);
  return {
    id: text[0] ?? '',
    at: text[1] ?? '',
    actor: text[2] ?? '',
    act: text[3] ?? '',
    objectType: text[4] ?? '',
    objectId: text[5] ?? '',
    accountId: columns[6] ?? null,
    before: json(columns[7]),
    after: json(columns[8]),
    reason: columns[9] ?? null,
    requestId: columns[10] ?? null,
    clientAddress: columns[11] ?? null,
  };
}
