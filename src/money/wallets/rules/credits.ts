import { type MicroUsd, negate } from '../../../platform/common/money.js';
import { POSTING_RULES } from '../../ledger/transfer.js';
import {
  type AdjustCommand,
  type BookCommand,
  type CreditCommand,
  type ExpireLotsCommand,
  type GrantCommand,
  reject,
} from './command.js';
import {
  type Movement,
  Draft,
  type Result,
  isAmount,
  replay,
  toMovement,
  finish,
  toBalances,
  takeFrom,
  sumRemaining,
  findBurnable,
} from './draft.js';
import type { Aggregate } from './wallet.js';

export function credit(aggregate: Aggregate, command: CreditCommand, nowMs: number): Result {
  const draft = new Draft(aggregate.wallet, command, nowMs);
  const again = replay(aggregate, command, draft);
  if (again) return again;
  const { cause, amountMicros, feeMicros, taxMicros } = command;
  if (!isAmount(amountMicros) || feeMicros < 0n || taxMicros < 0n) return reject({ code: 'invalid_amount' });
  const movement = toMovement(command, cause);
  const bought = { kind: 'paid', source: cause, refundable: true, priority: 0 } as const;
  const lot = { ...bought, id: command.lotId, grantedMicros: amountMicros, expiresAtMs: command.expiresAtMs };
  draft.addLot(lot, 'stripe_clearing', movement);
  postIncomeWith(draft, movement, cause, command);
  return finish(draft, movement);
}

/** Posts the fee and the tax that came in together with credit. */
export function postIncomeWith(
  draft: Draft,
  movement: Movement,
  cause: 'top_up' | 'reinstatement',
  { feeMicros, taxMicros }: { readonly feeMicros: MicroUsd; readonly taxMicros: MicroUsd },
): void {
  const fee = { ...movement, kind: `${cause}_fee` } as const;
  draft.postWith(fee, 'stripe_clearing', 'platform_fee_revenue', feeMicros);
  draft.postWith({ ...movement, kind: `${cause}_tax` }, 'stripe_clearing', 'tax_payable', taxMicros);
}

export function grant(aggregate: Aggregate, command: GrantCommand, nowMs: number): Result {
  const draft = new Draft(aggregate.wallet, command, nowMs);
  const again = replay(aggregate, command, draft);
  if (again) return again;
  if (!isAmount(command.amountMicros)) return reject({ code: 'invalid_amount' });
  const { expiresAtMs } = command;
  if (expiresAtMs !== null && expiresAtMs <= nowMs) return reject({ code: 'expiry_not_ahead' });
  const movement = toMovement(command, 'grant');
  draft.addLot(
    {
      id: command.lotId,
      kind: 'promotional',
      source: 'grant',
      refundable: false,
      grantedMicros: command.amountMicros,
      priority: command.priority,
      expiresAtMs: command.expiresAtMs,
    },
    'promotional_credit',
    movement,
  );
  return finish(draft, movement);
}

export function adjust(aggregate: Aggregate, command: AdjustCommand, nowMs: number): Result {
  const draft = new Draft(aggregate.wallet, command, nowMs);
  const again = replay(aggregate, command, draft);
  if (again) return again;
  const { amountMicros } = command;
  const magnitude = amountMicros < 0n ? negate(amountMicros) : amountMicros;
  if (!isAmount(magnitude)) return reject({ code: 'invalid_amount' });
  const movement = toMovement(command, 'adjustment');
  if (amountMicros > 0n) {
    const lot = {
      kind: 'paid',
      source: 'adjustment',
      refundable: false,
      priority: 0,
      expiresAtMs: null,
    } as const;
    draft.addLot({ ...lot, id: command.lotId, grantedMicros: amountMicros }, 'goodwill', movement);
    return finish(draft, movement);
  }
  draft.expireDueLots();
  const paid = findBurnable(draft).filter((lot) => lot.kind === 'paid');
  const balances = toBalances(draft.wallet);
  if (balances.availableMicros < magnitude || sumRemaining(paid) < magnitude) {
    return reject({ code: 'insufficient_credits', requiredMicros: magnitude, balances });
  }
  draft.burn(takeFrom(paid, magnitude).portions, 'goodwill', movement);
  return finish(draft, movement);
}

export function expireLots(aggregate: Aggregate, command: ExpireLotsCommand, nowMs: number): Result {
  const draft = new Draft(aggregate.wallet, command, nowMs);
  const expiredMicros = draft.expireDueLots();
  return draft.done({ type: 'lots_expired', expiredMicros, balances: toBalances(draft.wallet) });
}

export function book(aggregate: Aggregate, command: BookCommand, nowMs: number): Result {
  const draft = new Draft(aggregate.wallet, command, nowMs);
  const again = replay(aggregate, command, draft);
  if (again) return again;
  const { legs } = command;
  if (legs.length === 0 || !legs.every(({ amountMicros }) => isAmount(amountMicros))) {
    return reject({ code: 'invalid_amount' });
  }
  const [first] = legs.map(({ kind, amountMicros }) => {
    const movement = toMovement(command, kind);
    const [[debit, credit]] = POSTING_RULES[kind];
    draft.postWith(movement, debit, credit, amountMicros);
    return movement;
  });
  return finish(draft, first as Movement);
}
