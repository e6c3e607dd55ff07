/**
 * `running`: a process is working on the call. `unresolved`: the provider was asked, but its outcome is unknown; the hold is kept and
 * recovery asks the provider. `succeeded` and `failed` are final.
 */
export type GenerationStatus = 'running' | 'unresolved' | 'succeeded' | 'failed';

type Transition = { readonly from: readonly GenerationStatus[]; readonly to: GenerationStatus };

/** Every transition that a generation can make. No transition leaves a final state. */
export const GENERATION_TRANSITIONS = {
  /** At least one image was delivered, and the delivered images are charged. */
  deliver: { from: ['running', 'unresolved'], to: 'succeeded' },
  /** Nothing was delivered, nothing is charged. */
  fail: { from: ['running', 'unresolved'], to: 'failed' },
  /** It is not known what the provider did. */

  lose: { from: ['running'], to: 'unresolved' },
} as const satisfies Record<string, Transition>;

export type GenerationTransition = keyof typeof GENERATION_TRANSITIONS;

export const OPEN_STATUSES: readonly GenerationStatus[] = ['running', 'unresolved'];

export function canTransition(status: GenerationStatus, transition: GenerationTransition): boolean {
  const from: readonly GenerationStatus[] = GENERATION_TRANSITIONS[transition].from;
  return from.includes(status);
}
