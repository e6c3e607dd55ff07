import { type Principal, toActor } from '../auth/principal.js';
import { newId } from '../../platform/common/ids.js';
import type { Statement, StatementCall } from '../../platform/database/pipeline.js';
import type { Tx } from '../../platform/database/transaction-runner.js';

/** What changed. Numbers are whole and safe, amounts are strings, so that two readers never spell a value differently. */
export type AuditDetails = Readonly<Record<string, AuditValue>>;
export type AuditValue =
  string | number | boolean | null | readonly AuditValue[] | { readonly [key: string]: AuditValue };

/** The actor: a key, with the request that it sent, or a name (`system`, `cli:…`). */
export type AuditActor = Principal | string;

/** The description of an act by the module that does it. Nothing in it may be secret. */
export type AuditEntry = {
  readonly act: AuditAct;
  /** The object's id; the act determines its type. */
  readonly object: string;
  /** The account that it concerns; null for the platform's own. */
  readonly account: string | null;
  readonly before?: AuditDetails | null;
  readonly after?: AuditDetails | null;
  readonly reason?: string | null;
};

/** Everything that is stored of an act, except its number and its time, which the database sets. */
export type NewAuditEvent = {
  readonly id: string;
  readonly actor: string;
  readonly act: AuditAct;
  readonly objectType: string;
  readonly objectId: string;
  readonly accountId: string | null;
  readonly before: AuditDetails | null;
  readonly after: AuditDetails | null;
  readonly reason: string | null;
  readonly requestId: string | null;
  readonly clientAddress: string | null;
};

export function actorName(by: AuditActor): string {
  return typeof by === 'string' ? by : toActor(by);
}

export function newAuditEvent(by: AuditActor, entry: AuditEntry): NewAuditEvent {
  const { act, object, account, before = null, after = null, reason = null } = entry;
  const origin = typeof by === 'string' ? undefined : by.origin;
  return {
    id: newId('auditEvent'),
    actor: actorName(by),
    act,
    objectType: act.slice(0, act.indexOf('.')),
    objectId: object,
    accountId: account,
    before,
    after,
    reason,
    requestId: origin?.requestId ?? null,
    clientAddress: origin?.clientAddress ?? null,
  };
}

/**
 * The acts that are recorded, permanently under the same word: what was done, to what. The first half names the object.
 * Spending (images, debits, holds, top-ups) is not among them, because the ledger records it.
 */
export const AUDIT_ACTS = [
  'account.created',
  'account.images_deleted',
  'account.limits_changed',
  'account.read',
  'alerts.changed',
  'api_key.created',
  'api_key.duplicate_window_changed',
  'api_key.limits_changed',
  'api_key.revoked',
  'auto_top_up.changed',
  'auto_top_up.switched_off',
  'catalog.published',
  'credit.adjusted',
  'credit.granted',
  'dispute.written_off',
  'generation.images_deleted',
  'ledger.exported',
  'operator_key.created',
  'operator_key.revoked',
  'payment_review.dismissed',
  'payment_review.returned',
  'provider_key.attached',
  'provider_key.removed',
  'refund.requested',
  'refund.written_off',
  'report.read',
  'saved_card.removed',
  'stripe_balance_transaction.settled',
  'wallet.frozen',
  'wallet.unfrozen',
  'webhook_endpoint.changed',
  'webhook_endpoint.created',
  'webhook_endpoint.deleted',
  'webhook_endpoint.secret_rotated',
] as const;

export type AuditAct = (typeof AUDIT_ACTS)[number];

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
