import { ApiProperty } from '@nestjs/swagger';
import { toUnixSeconds } from '../../platform/common/clock.js';
import { ObjectTypeView, TextField, TimeView } from '../../platform/common/fields.js';
import type { StripeBalanceSettlement } from './stripe-balance-settlement.entity.js';

export class SettleBalanceTransactionRequest {
  @TextField({
    description:
      'The `reference` of the transaction in the account’s book that corrects its credit: a debit, a grant or an adjustment that was ' +
      'made before. Absent: no correction was needed.',
    max: 300,
    optional: true,
    example: 'adjustment:adj_01KB2H7Q0000000000000000AA',
  })
  declare readonly settled_by?: string;
  @TextField({
    description: 'The reason, which is recorded.',
    max: 500,
    example: 'disputed in euros; $10.50 were debited',
  })
  declare readonly reason: string;
}

export class BalanceSettlementView {
  @ObjectTypeView('balance_settlement')
  declare readonly object: 'balance_settlement';
  @ApiProperty({ description: "Stripe's balance transaction.", example: 'txn_1P0000000000000000000000' })
  declare readonly balance_transaction: string;
  @ApiProperty({
    description: 'The account whose payment it moved.',
    example: 'acct_01KB2H7Q0000000000000000AA',
  })
  declare readonly account: string;
  @ApiProperty({
    description: 'The reference that corrects the credit of the account; null when no correction was needed.',
    type: 'string',
    nullable: true,
    example: 'adjustment:adj_01KB2H7Q0000000000000000AA',
  })
  declare readonly settled_by: string | null;
  @ApiProperty({ description: 'Who decided it.', example: 'operator_key:environment' })
  declare readonly actor: string;
  @ApiProperty({ description: 'The reason.', example: 'disputed in euros; $10.50 were debited' })
  declare readonly reason: string;
  @TimeView('When, Unix seconds.')
  declare readonly decided_at: number;
}

export function toBalanceSettlementView(settlement: StripeBalanceSettlement): BalanceSettlementView {
  const { balanceTransactionId, accountId, settledBy, actor, reason, decidedAt } = settlement;
  return {
    object: 'balance_settlement',
    balance_transaction: balanceTransactionId,
    account: accountId,
    settled_by: settledBy,
    actor,
    reason,
    decided_at: toUnixSeconds(decidedAt),
  };
}
