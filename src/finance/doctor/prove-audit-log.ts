import { AUDIT_GENESIS_HASH, auditHash, type SealedFields } from '../../audit/audit-chain.js';
import type { AuditValue } from '../../audit/audit-event.js';
import { SEALED_COLUMNS } from '../../audit/audit-seal.service.js';
import type { Snapshot } from '../../ledger/snapshot.js';
import type { Report } from '../../wallets/proof/discrepancy.js';
import { reportAll } from '../../wallets/proof/prove-rows.js';

const CHAIN = `
  SELECT s.seq, encode(s.hash, 'hex'), s.event_number, ${SEALED_COLUMNS}
    FROM audit_seals s LEFT JOIN audit_events e ON e.number = s.event_number ORDER BY s.seq`;

/** The job seals every minute, the oldest first: what much younger events have overtaken was left behind. */
const LEFT_BEHIND = `
  SELECT 'audit_events', 'id=' || e.id, 'seq', 'a place in the chain', 'none'
    FROM audit_events e
   WHERE NOT EXISTS (SELECT FROM audit_seals s WHERE s.event_number = e.number)
     AND e.at < (SELECT max(sealed.at) FROM audit_seals s JOIN audit_events sealed ON sealed.number = s.event_number)
                - interval '1 hour'`;

/** Every event that is sealed is the one that was sealed, in its place, and none is missing between two of them. */
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
  await reportAll(snapshot, LEFT_BEHIND, report);
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
