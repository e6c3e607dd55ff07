import type { Statement, StatementCall } from '../../platform/database/pipeline.js';
import type { Tx } from '../../platform/database/transaction-runner.js';
import type { NewAuditEvent } from './audit-event.js';

/** If the event already exists, an earlier attempt at the same commit wrote it. */
const INSERT_AUDIT_EVENTS: Statement = {
  name: 'insert_audit_events',
  text: `
  INSERT INTO audit_events (id, actor, act, object_type, object_id, account_id, before, after, reason, request_id, client_address)
  SELECT id, actor, act, object_type, object_id, account_id, before::jsonb, after::jsonb, reason, request_id, client_address
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
                $10::text[], $11::text[])
      AS new (id, actor, act, object_type, object_id, account_id, before, after, reason, request_id, client_address)
  ON CONFLICT ON CONSTRAINT audit_events_id_key DO NOTHING`,
};

function auditColumns(events: readonly NewAuditEvent[]): readonly (readonly (string | null)[])[] {
  const json = (value: NewAuditEvent['before']) => (value === null ? null : JSON.stringify(value));
  return [
    events.map(({ id }) => id),
    events.map(({ actor }) => actor),
    events.map(({ act }) => act),
    events.map(({ objectType }) => objectType),
    events.map(({ objectId }) => objectId),
    events.map(({ accountId }) => accountId),
    events.map(({ before }) => json(before)),
    events.map(({ after }) => json(after)),
    events.map(({ reason }) => reason),
    events.map(({ requestId }) => requestId),
    events.map(({ clientAddress }) => clientAddress),
  ];
}

/** Records an act in an open tx, also for programs without the service's modules. */
export async function insertAuditEvent(tx: Tx, event: NewAuditEvent): Promise<void> {
  await tx.query(INSERT_AUDIT_EVENTS.text, [...auditColumns([event])]);
}

/** Records acts as part of a packet: they are recorded if, and only if, its tx commits. Without acts there is no statement. */
export function recordAudit(events: readonly NewAuditEvent[]): StatementCall[] {
  return events.length === 0 ? [] : [{ statement: INSERT_AUDIT_EVENTS, values: auditColumns(events) }];
}
