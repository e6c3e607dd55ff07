import { ID_PREFIXES } from '../../../../platform/common/ids.js';

const REFERENCE_PREFIX = 'generation:';

/** Returns the ledger's reference of a generation's hold. The general expiry of holds leaves holds with such references to recovery. */
export function toHoldReference(generationId: string): string {
  return `${REFERENCE_PREFIX}${generationId}`;
}

/** Returns the id of a generation's hold. Both ids share one ULID, so that each can be derived from the other. */
export function toHoldId(generationId: string): string {
  return `${ID_PREFIXES.hold}${generationId.slice(ID_PREFIXES.generation.length)}`;
}
