import { ID_PREFIXES } from '../../../../platform/common/ids.js';

const REFERENCE_PREFIX = 'generation:';

/** Under which the ledger knows the hold of a generation. The general sweep leaves these to recovery. */
export function holdReferenceOf(generationId: string): string {
  return `${REFERENCE_PREFIX}${generationId}`;
}

/** A hold bears its generation's ULID, so that either is found from the other alone. */
export function holdIdOf(generationId: string): string {
  return `${ID_PREFIXES.hold}${generationId.slice(ID_PREFIXES.generation.length)}`;
}
