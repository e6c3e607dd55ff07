import { hash } from 'node:crypto';
import type { AuditValue } from './audit-event.js';

/** The previous hash of the first event. */
export const AUDIT_GENESIS_HASH = '0'.repeat(64);

/** An event as it is hashed and shown: every value has exactly one spelling. */
export type SealedFields = {
  readonly id: string;
  /** ISO 8601 in UTC with milliseconds. */
  readonly at: string;
  readonly actor: string;
  readonly act: string;
  readonly objectType: string;
  readonly objectId: string;
  readonly accountId: string | null;
  readonly before: AuditValue;
  readonly after: AuditValue;
  readonly reason: string | null;
  readonly requestId: string | null;
  readonly clientAddress: string | null;
};

/** Computes `SHA-256(previous hash as hex, "\n", canonical event)`, as lower-case hex. */
export function auditHash(previousHash: string, seq: number, event: SealedFields): string {
  return hash('sha256', `${previousHash}\n${canonicalEvent(seq, event)}`, 'hex');
}

/** Returns the exact text that is hashed: a JSON array without spaces, its objects in the notation of RFC 8785. */
export function canonicalEvent(seq: number, event: SealedFields): string {
  const { id, at, actor, act, objectType, objectId, accountId } = event;
  const { before, after, reason, requestId, clientAddress } = event;
  return canonicalJson([
    String(seq),
    id,
    at,
    actor,
    act,
    objectType,
    objectId,
    accountId,
    before,
    after,
    reason,
    requestId,
    clientAddress,
  ]);
}

/** Writes members sorted by name (UTF-16 code units), without spaces. */
function canonicalJson(value: AuditValue): string {
  if (Array.isArray(value)) return `[${(value as readonly AuditValue[]).map(canonicalJson).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${canonicalJson(member)}`).join(',')}}`;
}
