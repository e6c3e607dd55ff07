import { hash } from 'node:crypto';
import { newId } from '../../platform/common/ids.js';

/**
 * Returns the ledger reference of one decision to write off debt that a dispute or a refund left. It is the same for the same
 * idempotency key, and a new one each time without a key. It contains a digest of the key, so that no key can imitate another
 * reference.
 */
export function writeOffReference(
  source: `dispute:${string}` | `refund:${string}`,
  idempotencyKey: string | null,
): string {
  const decision =
    idempotencyKey === null ? newId('request') : hash('sha256', idempotencyKey, 'hex').slice(0, 32);
  return `${source}:written_off:${decision}`;
}
