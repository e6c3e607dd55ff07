import type { MicroUsd } from '../../../platform/common/money.js';
import { balancesOf, type Balances, type Wallet } from './wallet.js';

export type WalletLevel = 'ample' | 'low' | 'depleted';

/** What a wallet watches for, and what it told last. */
export type Watch = {
  /** Available credit below this calls for an auto top-up; null: none is wanted. */
  readonly topUpMarkMicros: MicroUsd | null;
  /** Posted credit below this is low; null: nobody wants to know. */
  readonly lowMarkMicros: MicroUsd | null;
  readonly level: WalletLevel;
};

/** A fact that others act on. It is a hint: whoever gets it reads the wallet again. */
export type WalletSignal = {
  readonly accountId: string;
  readonly type: 'below_top_up_mark' | 'low' | 'depleted' | 'frozen';
  readonly balances: Balances;
  readonly seq: number;
};

/** How a batch changed one wallet. */
export type WalletChange = {
  readonly before: Wallet;
  readonly after: Wallet;
  /** The least spend that was refused for want of credit; null when none was. */
  readonly refusedMicros: MicroUsd | null;
};

/** Low credit has recovered at this share of its mark: a balance that hovers at the mark is told once. */
const RECOVERED_PERCENT = 120n;

/**
 * What a batch's change of a wallet is worth telling, and the level to remember.
 *
 * Low and depleted go by posted credit: holds come and go with every call, and ten running images must not
 * raise an alarm that their results take back. The top-up mark goes by available credit: what holds have set
 * aside is about to be spent, and the top-up must arrive before calls are refused.
 */
export function signalsOf(
  watch: Watch,
  change: WalletChange,
): { readonly level: WalletLevel; readonly signals: readonly WalletSignal[] } {
  const level = levelOf(watch, change);
  const { before, after } = change;
  const types = [
    ...(needsTopUp(watch, change) ? ['below_top_up_mark' as const] : []),
    ...(level === 'depleted' && watch.level !== 'depleted' ? ['depleted' as const] : []),
    ...(level === 'low' && watch.level === 'ample' ? ['low' as const] : []),
    ...(after.status === 'frozen' && before.status !== 'frozen' ? ['frozen' as const] : []),
  ];
  const { accountId, seq } = after;
  return { level, signals: types.map((type) => ({ accountId, type, balances: balancesOf(after), seq })) };
}

function levelOf(
  { level, lowMarkMicros }: Watch,
  { before, after, refusedMicros }: WalletChange,
): WalletLevel {
  const posted = after.postedMicros;
  // What holds have set aside may come back, so a refusal counts only if even that would not have been enough.
  const cannotPay = refusedMicros !== null && posted - after.floorMicros < refusedMicros;
  const ranOut = posted <= after.floorMicros && posted < before.postedMicros;
  if (cannotPay || ranOut) return 'depleted';
  if (level === 'depleted' && posted <= before.postedMicros) return 'depleted';
  if (lowMarkMicros === null) return 'ample';
  if (level === 'ample') return posted < lowMarkMicros ? 'low' : 'ample';
  return posted * 100n < lowMarkMicros * RECOVERED_PERCENT ? 'low' : 'ample';
}

/** Crossing the mark is told; so is credit, or a unfreeze, that leaves the wallet below it. */
function needsTopUp({ topUpMarkMicros: mark }: Watch, { before, after }: WalletChange): boolean {
  if (mark === null || after.status === 'frozen') return false;
  if (balancesOf(after).availableMicros >= mark) return false;
  return (
    balancesOf(before).availableMicros >= mark ||
    after.postedMicros > before.postedMicros ||
    before.status === 'frozen'
  );
}
