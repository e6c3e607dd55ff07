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
import { computeSpendable, Draft, toBalances } from './draft.js';
import type { Aggregate, Freeze, Wallet, WalletStatus } from './wallet.js';

/** The freezes in force, oldest first. */
function findInForce(freezes: Iterable<Freeze>): readonly Freeze[] {
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
  const inForce = findInForce(aggregate.freezes.values());
  const lifted = inForce
    .filter(
      ({ id, source, sourceId }) =>
        (lifts.id ?? id) === id &&
        (lifts.source ?? source) === source &&
        (lifts.sourceId ?? sourceId) === sourceId,
    )
    .map((each) => ({ ...each, liftedAtMs: nowMs, liftedBy: actor, liftedReason: reason }));
  const isLast = lifted.length > 0 && lifted.length === inForce.length;
  const uncovered = computeUncovered(wallet);
  if (isLast && uncovered > 0n) {
    return reject({ code: 'wallet_in_debt', uncoveredMicros: uncovered, balances: toBalances(wallet) });
  }
  const status = isLast ? 'active' : wallet.status;
  draft.changeFreezes(lifted, status, toStatusChange(wallet, status, command, nowMs));
  return finish(draft, aggregate, lifted);
}

/** Also used by commands that freeze a wallet in addition to moving money. Returns the added freeze; none when it is in force already. */
export function addFreeze(
  draft: Draft,
  { wallet, freezes }: Aggregate,
  wanted: NewFreeze,
  actor: string,
): readonly Freeze[] {
  const { id, source, sourceId, reason, statusChangeId } = wanted;
  const isInForce = findInForce(freezes.values()).some(
    (each) => each.source === source && each.sourceId === sourceId,
  );
  if (isInForce) return [];
  const { nowMs } = draft;
  const lifted = { liftedAtMs: null, liftedBy: null, liftedReason: null };
  const added = [{ id, source, sourceId, reason, actor, createdAtMs: nowMs, ...lifted }];
  draft.changeFreezes(
    added,
    'frozen',
    toStatusChange(wallet, 'frozen', { actor, reason, statusChangeId }, nowMs),
  );
  return added;
}

function finish(draft: Draft, aggregate: Aggregate, changes: readonly Freeze[]): Applied {
  const after = new Map([...aggregate.freezes, ...changes.map((each) => [each.id, each] as const)]);
  const { wallet } = draft;
  return draft.done({
    type: 'status',
    changed: changes.length > 0,
    status: wallet.status,
    freezes: findInForce(after.values()),
    balances: toBalances(wallet),
  });
}

/** The record of a wallet that was frozen or unfrozen; null when its status stays the same. */
function toStatusChange(
  { accountId, status: before }: Wallet,
  status: WalletStatus,
  { actor, reason, statusChangeId }: Pick<UnfreezeCommand, 'actor' | 'reason' | 'statusChangeId'>,
  createdAtMs: number,
): StatusChange | null {
  return status === before ? null : { accountId, id: statusChangeId, status, actor, reason, createdAtMs };
}

/**
 * The amount that keeps a wallet frozen: debt, and holds whose credit was taken for a dispute or a refund. Promotional credit does
 * not count against debt, because it may lapse, and an active wallet must never fall below its floor by that alone.
 */
function computeUncovered(wallet: Wallet): MicroUsd {
  const debt = micros(wallet.debtMicros + wallet.floorMicros);
  return larger(debt, negate(computeSpendable(wallet)));
}
