import type { MicroUsd } from '../../../platform/common/money.js';
import { toBalances, type Balances, type Wallet } from './wallet.js';

export type WalletLevel = 'ample' | 'low' | 'depleted';

/** The thresholds of a wallet, and the level that was last reported. */
export type Watch = {
  /** Available credit below this needs an auto top-up; null when none is wanted. */
  readonly topUpThresholdMicros: MicroUsd | null;
  /** Posted credit below this is low; null when the customer wants no alert. */
  readonly lowThresholdMicros: MicroUsd | null;
  readonly level: WalletLevel;
};

/** A fact that other modules act on. It is a hint: the handler reads the wallet again. */
export type WalletSignal = {
  readonly accountId: string;
  readonly type: 'below_top_up_threshold' | 'low' | 'depleted' | 'frozen';
  readonly balances: Balances;
  readonly seq: number;
};

/** How a batch changed one wallet. */
export type WalletChange = {
  readonly before: Wallet;
  readonly after: Wallet;
  /** The smallest spend that was refused for lack of credit; null when none was. */
  readonly refusedMicros: MicroUsd | null;
};

/** Low credit has recovered at this share of its threshold, so a balance that varies around the threshold is reported once. */
const RECOVERED_PERCENT = 120n;

/**
 * Finds what has to be reported about the change of a wallet by a batch, and the level to remember.
 *
 * Low and depleted are judged by posted credit: every call makes and ends a hold, and ten running images must not
 * raise an alert that their results make wrong. The top-up threshold is compared with available credit: what holds have set
 * aside is about to be spent, and the top-up must arrive before calls are refused.
 */
export function findSignals(
  watch: Watch,
  change: WalletChange,
): { readonly level: WalletLevel; readonly signals: readonly WalletSignal[] } {
  const level = findLevel(watch, change);
  const { before, after } = change;
  const types = [
    ...(needsTopUp(watch, change) ? ['below_top_up_threshold' as const] : []),
    ...(level === 'depleted' && watch.level !== 'depleted' ? ['depleted' as const] : []),
    ...(level === 'low' && watch.level === 'ample' ? ['low' as const] : []),
    ...(after.status === 'frozen' && before.status !== 'frozen' ? ['frozen' as const] : []),
  ];
  const { accountId, seq } = after;
  return { level, signals: types.map((type) => ({ accountId, type, balances: toBalances(after), seq })) };
}

function findLevel(
  { level, lowThresholdMicros }: Watch,
  { before, after, refusedMicros }: WalletChange,
): WalletLevel {
  const posted = after.postedMicros;
  // Credit that holds have set aside may be released, so a refusal counts only if even with it there was too little.
  const cannotPay = refusedMicros !== null && posted - after.floorMicros < refusedMicros;
  const ranOut = posted <= after.floorMicros && posted < before.postedMicros;
  if (cannotPay || ranOut) return 'depleted';
  if (level === 'depleted' && posted <= before.postedMicros) return 'depleted';
  if (lowThresholdMicros === null) return 'ample';
  if (level === 'ample') return posted < lowThresholdMicros ? 'low' : 'ample';
  return posted * 100n < lowThresholdMicros * RECOVERED_PERCENT ? 'low' : 'ample';
}

/** Reported when available credit falls below the threshold, and when new credit or an unfreeze leaves the wallet below it. */
function needsTopUp({ topUpThresholdMicros: threshold }: Watch, { before, after }: WalletChange): boolean {
  if (threshold === null || after.status === 'frozen') return false;
  if (toBalances(after).availableMicros >= threshold) return false;
  return (
    toBalances(before).availableMicros >= threshold ||
    after.postedMicros > before.postedMicros ||
    before.status === 'frozen'
  );
}
