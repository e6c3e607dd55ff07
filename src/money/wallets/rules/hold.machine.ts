import type { HoldStatus } from './wallet.js';

/** Every transition that a hold can make. The right-hand side is terminal: nothing leads on from it. */
export const HOLD_TRANSITIONS = {
  capture: { from: 'authorized', to: 'captured' },
  void: { from: 'authorized', to: 'voided' },
  expireHold: { from: 'authorized', to: 'expired' },
} as const satisfies Record<string, { from: HoldStatus; to: HoldStatus }>;

export type HoldTransition = keyof typeof HOLD_TRANSITIONS;

export function canTransition(status: HoldStatus, transition: HoldTransition): boolean {
  return HOLD_TRANSITIONS[transition].from === status;
}
