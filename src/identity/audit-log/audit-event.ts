import { toActor, type Principal } from '../auth/principal.js';
import { newId } from '../../platform/common/ids.js';
import type { AuditAct } from './audit-act.js';

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
