/**
 * Whether a saved card is charged when the wallet runs low:
 *
 * - `on`: it is charged.
 * - `action_required`: the bank wants the customer to confirm. A payment page is open for them, and nothing is charged
 *   until it is paid.
 * - `off`: it is not charged, for the reason that is shown. Only the account itself switches it on again.
 */
export const AUTO_TOP_UP_TRANSITIONS = {
  on: ['action_required', 'off'],
  action_required: ['on', 'off'],
  off: ['on'],
} as const satisfies Record<string, readonly string[]>;

export type AutoTopUpStatus = keyof typeof AUTO_TOP_UP_TRANSITIONS;

export const AUTO_TOP_UP_STATUSES = Object.keys(AUTO_TOP_UP_TRANSITIONS) as readonly AutoTopUpStatus[];

export function canSwitch(from: AutoTopUpStatus, to: AutoTopUpStatus): boolean {
  const targets: readonly string[] = AUTO_TOP_UP_TRANSITIONS[from];
  return targets.includes(to);
}
