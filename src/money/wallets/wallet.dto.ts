import { ApiProperty } from '@nestjs/swagger';
import {
  IntegerField,
  MicroUsdField,
  MicroUsdView,
  ObjectTypeView,
  TextField,
  TimeView,
} from '../../platform/common/fields.js';
import { ListView, type Page } from '../../platform/common/pagination.js';
import { isCustomerLedgerAccount } from '../ledger/transfer.js';
import type { Outcome } from './rules/command.js';
import type { LotSnapshot, TransferRow, WalletSnapshot } from './wallet-reader.service.js';

export class LotView {
  @ApiProperty({ description: 'Id of the lot.', example: 'lot_01KB2H7Q0000000000000000AA' })
  declare readonly id: string;
  @ApiProperty({ description: 'Promotional credit burns before paid credit.', enum: ['paid', 'promotional'] })
  declare readonly kind: string;
  @ApiProperty({ description: 'What the credit came from.', example: 'top_up' })
  declare readonly source: string;
  @ApiProperty({
    description: 'Whether it was bought: credit that was given is never paid out.',
    example: true,
  })
  declare readonly refundable: boolean;
  @MicroUsdView('What the lot started with.', '10000000')
  declare readonly granted_micros: string;
  @MicroUsdView('What is left in it.', '9960000')
  declare readonly remaining_micros: string;
  @ApiProperty({
    description: 'Unix seconds; null never expires.',
    type: 'integer',
    nullable: true,
    example: null,
  })
  declare readonly expires_at: number | null;
  @TimeView('When the credit arrived, Unix seconds.')
  declare readonly created: number;
}

export class WalletView {
  @ObjectTypeView('wallet')
  declare readonly object: 'wallet';
  @ApiProperty({ description: 'The account it belongs to.', example: 'acct_01KB2H7Q0000000000000000AA' })
  declare readonly account: string;
  @ApiProperty({ description: 'A frozen wallet takes credit but spends none.', enum: ['active', 'frozen'] })
  declare readonly status: string;
  @MicroUsdView('What can be spent now: posted minus held.', '9960000')
  declare readonly available_micros: string;
  @MicroUsdView('What running calls have set aside.', '0')
  declare readonly held_micros: string;
  @MicroUsdView('Settled credit.', '9960000')
  declare readonly posted_micros: string;
  @MicroUsdView(
    'What is owed after a refund or a dispute took credit that was spent; the next top-up repays it.',
    '0',
  )
  declare readonly debt_micros: string;
  @ApiProperty({ description: 'Credit that is left, in the order in which it burns.', type: () => [LotView] })
  declare readonly lots: readonly LotSnapshot[];
}

export class TransactionView {
  @ObjectTypeView('transaction')
  declare readonly object: 'transaction';
  @ApiProperty({ description: 'Id of the transfer.', example: 'txn_01KB2H7Q0000000000000000AA_000000000042' })
  declare readonly id: string;
  @ApiProperty({ description: 'What happened.', example: 'debit' })
  declare readonly kind: string;
  @MicroUsdView(
    'Effect on the posted balance; 0 for a fee that was paid in addition to the credit.',
    '-40000',
  )
  declare readonly amount_micros: string;
  @MicroUsdView('The whole amount of the transfer.', '40000')
  declare readonly transfer_micros: string;
  @ApiProperty({ description: 'Ledger account debited.', example: 'customer_credit' })
  declare readonly debit_account: string;
  @ApiProperty({ description: 'Ledger account credited.', example: 'usage_revenue' })
  declare readonly credit_account: string;
  @MicroUsdView('Posted balance after this row.', '9960000')
  declare readonly posted_after_micros: string;
  @ApiProperty({
    description: 'What caused it; permanently unique in the account.',
    example: 'capture:hold_01KB2H7Q0000000000000000AA',
  })
  declare readonly reference: string;
  @ApiProperty({
    description: 'The same for all rows of one event.',
    example: 'lnk_5f0c6d1e2b3a49788796a5b4c3d2e1f0',
  })
  declare readonly link_id: string;
  @ApiProperty({ description: 'What was bought, at which price.', type: 'string', nullable: true })
  declare readonly memo: string | null;
  @TimeView('When it was posted, Unix seconds.')
  declare readonly created: number;
}

export class TransactionListView extends ListView {
  @ApiProperty({ description: 'Newest first.', type: () => [TransactionView] })
  declare readonly data: readonly TransactionView[];
}

export class MovementView {
  @ObjectTypeView('movement')
  declare readonly object: 'movement';
  @ApiProperty({
    description: 'Id of the (first) transfer.',
    example: 'txn_01KB2H7Q0000000000000000AA_000000000001',
  })
  declare readonly id: string;
  @ApiProperty({ description: 'The account it belongs to.', example: 'acct_01KB2H7Q0000000000000000AA' })
  declare readonly account: string;
  @MicroUsdView('What moved.', '5000000')
  declare readonly amount_micros: string;
  @ApiProperty({
    description: 'True when the same idempotency key had done this before; nothing moved again.',
  })
  declare readonly replayed: boolean;
  @MicroUsdView('What can be spent now.', '5000000')
  declare readonly available_micros: string;
  @MicroUsdView('What running calls have set aside.', '0')
  declare readonly held_micros: string;
  @MicroUsdView('Settled credit.', '5000000')
  declare readonly posted_micros: string;
  @TimeView('When it was posted, Unix seconds.')
  declare readonly created: number;
}

export class GrantRequest {
  @MicroUsdField({ description: 'Promotional credit to give, in micro-USD.', example: '5000000' })
  declare readonly amount_micros: string;
  @TextField({ description: 'Why; it is written on the ledger row.', max: 200, example: 'Launch credit' })
  declare readonly reason: string;
  @IntegerField({
    description: 'Unix seconds after which what is left lapses.',
    min: 1,
    max: 32_503_680_000,
    optional: true,
  })
  declare readonly expires_at?: number | null;
  @IntegerField({
    description: 'Lower burns first among promotional lots.',
    min: 0,
    max: 1_000,
    optional: true,
    example: 0,
  })
  declare readonly priority?: number | null;
}

export class AdjustmentRequest {
  @MicroUsdField({
    description: 'Micro-USD to add, or with a minus sign to take away.',
    signed: true,
    example: '-40000',
  })
  declare readonly amount_micros: string;
  @TextField({
    description: 'Why; it is written on the ledger row.',
    max: 200,
    example: 'Goodwill for the outage of 3 May',
  })
  declare readonly reason: string;
}

export class StatusRequest {
  @TextField({ description: 'Why; kept with the change.', max: 200, example: 'Card testing suspected' })
  declare readonly reason: string;
}

export function toWalletView(account: string, wallet: WalletSnapshot): WalletView {
  return {
    object: 'wallet',
    account,
    status: wallet.status,
    available_micros: wallet.available,
    held_micros: wallet.held,
    posted_micros: wallet.posted,
    debt_micros: wallet.debt,
    lots: wallet.lots,
  };
}

export function toTransactionList(url: string, page: Page<TransferRow>): TransactionListView {
  return { object: 'list', url, has_more: page.hasMore, data: page.data.map(toTransactionView) };
}

function toTransactionView(row: TransferRow): TransactionView {
  return {
    object: 'transaction',
    id: row.id,
    kind: row.kind,
    amount_micros: effectOnPosted(row),
    transfer_micros: row.amount_micros,
    debit_account: row.debit_account,
    credit_account: row.credit_account,
    posted_after_micros: row.posted_after_micros,
    reference: row.reference,
    link_id: row.link_id,
    memo: row.memo,
    created: row.created,
  };
}

function effectOnPosted(row: TransferRow): string {
  if (isCustomerLedgerAccount(row.credit_account)) return row.amount_micros;
  return isCustomerLedgerAccount(row.debit_account) ? `-${row.amount_micros}` : '0';
}

/** Throws when the engine answered with something else than a movement: that would be a fault of ours. */
export function toMovementView(account: string, outcome: Outcome): MovementView {
  if (outcome.type !== 'posted') throw new Error(`expected a posted movement, not ${outcome.type}`);
  const { movement, balances, replayed } = outcome;
  return {
    object: 'movement',
    id: movement.transferId,
    account,
    amount_micros: movement.amountMicros.toString(),
    replayed,
    available_micros: balances.availableMicros.toString(),
    held_micros: balances.heldMicros.toString(),
    posted_micros: balances.postedMicros.toString(),
    created: Math.trunc(movement.createdAtMs / 1_000),
  };
}
