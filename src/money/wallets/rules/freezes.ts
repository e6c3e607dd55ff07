import { larger, micros, negate, type MicroUsd } from '../../../platform/common/money.js';
import {
  type FreezeCommand,
  type NewFreeze,
  type UnfreezeCommand,
  reject,
  type Applied,
  type Rejected,
  type StatusChange,
} from './command.js';
import { Draft } from './draft.js';
import {
  balancesOf,
  spendable,
  type Aggregate,
  type Freeze,
  type Wallet,
  type WalletStatus,
} from './wallet.js';

/** What holds a wallet frozen now, the oldest first. */
export function standing(freezes: Iterable<Freeze>): readonly Freeze[] {
  return [...freezes].filter(({ liftedAtMs }) => liftedAtMs === null);
}

/** Adds a reason; one that is in force already stays as it is. */
export function freeze(aggregate: Aggregate, command: FreezeCommand, nowMs: number): Applied {
  const draft = new Draft(aggregate.wallet, command, nowMs);
  const added = addFreeze(draft, aggregate, command.freeze, command.actor);
  return finish(draft, aggregate, added);
}

/**
 * Lifts the reasons that the command names, and no other; the wallet is active when none is left. The last one stays
 * while the wallet owes.
 */
export function unfreeze(aggregate: Aggregate, command: UnfreezeCommand, nowMs: number): Applied | Rejected {
  const { wallet } = aggregate;
  const { actor, reason, lifts } = command;
  const draft = new Draft(wallet, command, nowMs);
  const inForce = standing(aggregate.freezes.values());
  const lifted = inForce
    .filter(
      ({ id, source, sourceId }) =>
        (lifts.id ?? id) === id &&
        (lifts.source ?? source) === source &&
        (lifts.sourceId ?? sourceId) === sourceId,
    )
    .map((each) => ({ ...each, liftedAtMs: nowMs, liftedBy: actor, liftedReason: reason }));
  const isLast = lifted.length > 0 && lifted.length === inForce.length;
  const uncovered = uncoveredMicros(wallet);
  if (isLast && uncovered > 0n) {
    return reject({ code: 'wallet_in_debt', uncoveredMicros: uncovered, balances: balancesOf(wallet) });
  }
  const status = isLast ? 'active' : wallet.status;
  draft.changeFreezes(lifted, status, changeOf(wallet, status, command, nowMs));
  return finish(draft, aggregate, lifted);
}

/** For whatever freezes a wallet beside what else it does. Answers what was added: nothing when it is in force already. */
export function addFreeze(
  draft: Draft,
  { wallet, freezes }: Aggregate,
  wanted: NewFreeze,
  actor: string,
): readonly Freeze[] {
  const { id, source, sourceId, reason, statusChangeId } = wanted;
  const isInForce = standing(freezes.values()).some(
    (each) => each.source === source && each.sourceId === sourceId,
  );
  if (isInForce) return [];
  const { nowMs } = draft;
  const lifted = { liftedAtMs: null, liftedBy: null, liftedReason: null };
  const added = [{ id, source, sourceId, reason, actor, createdAtMs: nowMs, ...lifted }];
  draft.changeFreezes(added, 'frozen', changeOf(wallet, 'frozen', { actor, reason, statusChangeId }, nowMs));
  return added;
}

function finish(draft: Draft, aggregate: Aggregate, changes: readonly Freeze[]): Applied {
  const after = new Map([...aggregate.freezes, ...changes.map((each) => [each.id, each] as const)]);
  const { wallet } = draft;
  return draft.done({
    type: 'status',
    changed: changes.length > 0,
    status: wallet.status,
    freezes: standing(after.values()),
    balances: balancesOf(wallet),
  });
}

/** The record of a wallet that froze or came free; null when its status stays. */
function changeOf(
  { accountId, status: before }: Wallet,
  status: WalletStatus,
  { actor, reason, statusChangeId }: Pick<UnfreezeCommand, 'actor' | 'reason' | 'statusChangeId'>,
  createdAtMs: number,
): StatusChange | null {
  return status === before ? null : { accountId, id: statusChangeId, status, actor, reason, createdAtMs };
}

/**
 * What keeps a wallet frozen: debt, and holds whose credit was clawed back. Promotional credit does not count
 * against debt: it may lapse, and an active wallet must never fall below its floor by itself.
 */
function uncoveredMicros(wallet: Wallet): MicroUsd {
  const debt = micros(wallet.debtMicros + wallet.floorMicros);
  return larger(debt, negate(spendable(wallet)));
}
