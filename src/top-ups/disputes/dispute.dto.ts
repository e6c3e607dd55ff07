import { ApiProperty } from '@nestjs/swagger';
import { toUnixSeconds } from '../../common/clock.js';
import { MicroUsdView, ObjectTypeView, TimeView } from '../../common/fields.js';
import { ListView } from '../../common/list.view.js';
import { formatMicros, type MicroUsd } from '../../common/money.js';
import type { Dispute } from './dispute.entity.js';

const nullableMicros = (description: string) =>
  ApiProperty({ description, type: 'string', nullable: true, example: '10000000' });
const nullableTime = (description: string) =>
  ApiProperty({
    description: `${description}, Unix seconds.`,
    type: 'integer',
    nullable: true,
    example: null,
  });

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
  @nullableMicros('The credit that left the wallet; null while no money was taken. Micro-USD.')
  declare readonly credit_micros: string | null;
  @nullableMicros('The platform fee that went with it. Micro-USD.')
  declare readonly fee_micros: string | null;
  @nullableMicros('The sales tax that went with it. Micro-USD.')
  declare readonly tax_micros: string | null;
  @MicroUsdView('What Stripe took beyond what was left of the payment: our loss, not the wallet’s.', '0')
  declare readonly excess_micros: string;
  @nullableMicros('What of the debt was written off. Micro-USD.')
  declare readonly written_off_micros: string | null;
  @nullableTime('When the wallet was frozen for it')
  declare readonly frozen_at: number | null;
  @nullableTime('When its credit left the wallet')
  declare readonly withdrawn_at: number | null;
  @nullableTime('When its credit came back')
  declare readonly reinstated_at: number | null;
  @TimeView('When it was first heard of, Unix seconds.')
  declare readonly created: number;
}

export class DisputeListView extends ListView {
  @ApiProperty({ description: 'Newest first.', type: () => [DisputeView] })
  declare readonly data: readonly DisputeView[];
}

export class WriteOffView {
  @ObjectTypeView('write_off')
  declare readonly object: 'write_off';
  @ApiProperty({ description: 'Of which dispute.', example: 'du_1P0000000000000000000000' })
  declare readonly dispute: string;
  @MicroUsdView('What was given up, now or before; 0 when nothing is owed.', '10000000')
  declare readonly amount_micros: string;
}

export function toDisputeView(dispute: Dispute): DisputeView {
  return {
    object: 'dispute',
    id: dispute.id,
    top_up: dispute.topUpId,
    status: dispute.status,
    reason: dispute.reason,
    // At most eight digits: exact as a JSON number.
    amount_cents: Number(dispute.amountCents),
    credit_micros: microsOrNull(dispute.creditMicros),
    fee_micros: microsOrNull(dispute.feeMicros),
    tax_micros: microsOrNull(dispute.taxMicros),
    excess_micros: formatMicros(dispute.excessMicros),
    written_off_micros: microsOrNull(dispute.writtenOffMicros),
    frozen_at: secondsOrNull(dispute.frozenAt),
    withdrawn_at: secondsOrNull(dispute.withdrawnAt),
    reinstated_at: secondsOrNull(dispute.reinstatedAt),
    created: toUnixSeconds(dispute.createdAt),
  };
}

export function toDisputeList(accountId: string, disputes: readonly Dispute[]): DisputeListView {
  const data = disputes.map(toDisputeView);
  return { object: 'list', url: `/v1/accounts/${accountId}/disputes`, has_more: false, data };
}

function microsOrNull(amount: MicroUsd | null): string | null {
  return amount === null ? null : formatMicros(amount);
}

function secondsOrNull(time: Date | null): number | null {
  return time === null ? null : toUnixSeconds(time);
}
