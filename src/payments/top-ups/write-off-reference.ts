import { hash } from 'node:crypto';
import { newId } from '../../platform/common/ids.js';

/**
 * Of one decision to give up debt that a dispute or a refund left: with an idempotency key the same one again, without one a new
 * one each time. The ledger has a digest of the key, so that no key can be spelled like another reference.
 */
export function writeOffReference(
  source: `dispute:${string}` | `refund:${string}`,
  idempotencyKey: string | null,
): string {
  const decision =
    idempotencyKey === null ? newId('request') : hash('sha256', idempotencyKey, 'hex').slice(0, 32);
  return `${source}:written_off:${decision}`;
}
