import { ApiProperty } from '@nestjs/swagger';
import { toUnixSeconds } from '../../platform/common/clock.js';
import { MicroUsdView, ObjectTypeView, TimeView } from '../../platform/common/fields.js';
import { ListView } from '../../platform/common/pagination.js';
import { formatMicros, type MicroUsd } from '../../platform/common/money.js';
import type { Dispute } from './dispute.entity.js';
import type { DisputeMovement } from './dispute-movement.entity.js';

const nullableMicros = (description: string) =>
  ApiProperty({ description, type: 'string', nullable: true, example: '10000000' });
const nullableTime = (description: string) =>
  ApiProperty({
    description: `${description}, Unix seconds.`,
    type: 'integer',
    nullable: true,
    example: null,
  });

export class DisputeMovementView {
  @ApiProperty({
    description:
      'What Stripe took (below zero) or gave back, in cents; 0 where money moved at no bank, see `excess_micros`.',
    type: 'integer',
    example: -1_050,
  })
  declare readonly amount_cents: number;
  @MicroUsdView('Of it, the credit that left the wallet (below zero) or came back.', '-10000000')
  declare readonly credit_micros: string;
  @MicroUsdView('Of it, the platform fee.', '-500000')
  declare readonly fee_micros: string;
  @MicroUsdView('Of it, the sales tax.', '0')
  declare readonly tax_micros: string;
  @MicroUsdView(
    'Of it, what went beyond what was left of the payment (below zero), or came back of that: our loss, not the wallet’s. With an ' +
      'amount of 0: other money of the payment came back, so this went as credit, fee and tax after all.',
    '0',
  )
  declare readonly excess_micros: string;
  @nullableTime('When the wallet had it; null for the moment until it has')
  declare readonly booked_at: number | null;
}

const MOVEMENT_EXAMPLE: DisputeMovementView = {
  amount_cents: -1_050,
  credit_micros: '-10000000',
  fee_micros: '-500000',
  tax_micros: '0',
  excess_micros: '0',
  booked_at: 1_795_329_600,
};

export class DisputeView {
  @ObjectTypeView('dispute')
  declare readonly object: 'dispute';
  @ApiProperty({ description: "Stripe's id of the dispute.", example: 'du_1P0000000000000000000000' })
  declare readonly id: string;
  @ApiProperty({ description: 'The disputed top-up.', example: 'tu_01KB2H7Q0000000000000000AA' })
  declare readonly top_up: string;
  @ApiProperty({ description: "Stripe's status; Stripe adds some over time.", example: 'needs_response' })
  declare readonly status: string;
  @ApiProperty({ description: "The bank's reason.", example: 'fraudulent' })
  declare readonly reason: string;
  @ApiProperty({ description: 'What is disputed, in cents.', type: 'integer', example: 1_050 })
  declare readonly amount_cents: number;
  @nullableMicros(
    'The credit that left the wallet when the money was first taken; null while it was not. Micro-USD. `movements` has all.',
  )
  declare readonly credit_micros: string | null;
  @nullableMicros('The platform fee that went with it. Micro-USD.')
  declare readonly fee_micros: string | null;
  @nullableMicros('The sales tax that went with it. Micro-USD.')
  declare readonly tax_micros: string | null;
  @MicroUsdView('What Stripe took beyond what was left of the payment: our loss, not the wallet’s.', '0')
  declare readonly excess_micros: string;
  @nullableMicros(
    'What was ever written off for it; what of that is owed again, because money came back, is in the ledger (`write_off_reversal`). Micro-USD.',
  )
  declare readonly written_off_micros: string | null;
  @nullableTime('When the wallet was frozen for it')
  declare readonly frozen_at: number | null;
  @nullableTime('When its credit first left the wallet')
  declare readonly withdrawn_at: number | null;
  @nullableTime('When credit of it first came back')
  declare readonly reinstated_at: number | null;
  @ApiProperty({
    description: 'How often the bank took the money and gave it back, in order.',
    type: () => [DisputeMovementView],
    example: [MOVEMENT_EXAMPLE],
  })
  declare readonly movements: readonly DisputeMovementView[];
  @TimeView('When it was first heard of, Unix seconds.')
  declare readonly created: number;
}

export class DisputeListView extends ListView {
  @ApiProperty({ description: 'Newest first.', type: () => [DisputeView] })
  declare readonly data: readonly DisputeView[];
}

/** The idempotency header of the two routes that write off. */
export const WRITE_OFF_KEY = {
  name: 'Idempotency-Key',
  required: false,
  description:
    'Sent again with the same key, no more is given up and the first amount is returned. A request that gave up nothing has not ' +
    'used its key.',
};

export class WriteOffView {
  @ObjectTypeView('write_off')
  declare readonly object: 'write_off';
  @ApiProperty({ description: 'Of which dispute.', example: 'du_1P0000000000000000000000' })
  declare readonly dispute: string;
  @MicroUsdView(
    'What was given up, now or the first time with the same key; 0 when there was nothing to give up.',
    '10000000',
  )
  declare readonly amount_micros: string;
}

/** A dispute with its movements, and what was ever written off for it. */
export type MovedDispute = {
  readonly dispute: Dispute;
  readonly movements: readonly DisputeMovement[];
  readonly writtenOffMicros: MicroUsd | null;
};

export function toDisputeView({ dispute, movements, writtenOffMicros }: MovedDispute): DisputeView {
  return {
    object: 'dispute',
    id: dispute.id,
    top_up: dispute.topUpId,
    status: dispute.status,
    reason: dispute.reason,
    // The amount has at most eight digits, so it is exact as a JSON number.
    amount_cents: Number(dispute.amountCents),
    credit_micros: microsOrNull(dispute.creditMicros),
    fee_micros: microsOrNull(dispute.feeMicros),
    tax_micros: microsOrNull(dispute.taxMicros),
    excess_micros: formatMicros(dispute.excessMicros),
    written_off_micros: microsOrNull(writtenOffMicros),
    frozen_at: secondsOrNull(dispute.frozenAt),
    withdrawn_at: secondsOrNull(dispute.withdrawnAt),
    reinstated_at: secondsOrNull(dispute.reinstatedAt),
    movements: movements.map(toMovementView),
    created: toUnixSeconds(dispute.createdAt),
  };
}

function toMovementView(movement: DisputeMovement): DisputeMovementView {
  return {
    amount_cents: Number(movement.amountCents),
    credit_micros: formatMicros(movement.creditMicros),
    fee_micros: formatMicros(movement.feeMicros),
    tax_micros: formatMicros(movement.taxMicros),
    excess_micros: formatMicros(movement.excessMicros),
    booked_at: secondsOrNull(movement.bookedAt),
  };
}

export function toDisputeList(accountId: string, disputes: readonly MovedDispute[]): DisputeListView {
  const data = disputes.map(toDisputeView);
  return { object: 'list', url: `/v1/accounts/${accountId}/disputes`, has_more: false, data };
}

function microsOrNull(amount: MicroUsd | null): string | null {
  return amount === null ? null : formatMicros(amount);
}

function secondsOrNull(time: Date | null): number | null {
  return time === null ? null : toUnixSeconds(time);
}
