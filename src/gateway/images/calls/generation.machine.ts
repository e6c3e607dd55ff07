/**
 * running: the call is under way in some process. unresolved: it was dispatched, then lost; the hold is kept
 * and recovery asks the provider. succeeded and failed are final.
 */
export type GenerationStatus = 'running' | 'unresolved' | 'succeeded' | 'failed';

type Transition = { readonly from: readonly GenerationStatus[]; readonly to: GenerationStatus };

/** Every transition that a generation can make. Nothing leads on from a final state. */
export const GENERATION_TRANSITIONS = {
  /** At least one image was delivered and is charged. */
  deliver: { from: ['running', 'unresolved'], to: 'succeeded' },
  /** Nothing was delivered, nothing is charged. */
  fail: { from: ['running', 'unresolved'], to: 'failed' },
  /** Nobody knows what the provider did. */
  lose: { from: ['running'], to: 'unresolved' },
} as const satisfies Record<string, Transition>;

export type GenerationTransition = keyof typeof GENERATION_TRANSITIONS;

export const OPEN_STATUSES: readonly GenerationStatus[] = ['running', 'unresolved'];

export function canTransition(status: GenerationStatus, transition: GenerationTransition): boolean {
  const from: readonly GenerationStatus[] = GENERATION_TRANSITIONS[transition].from;
  return from.includes(status);
}
