import { ApiProperty } from '@nestjs/swagger';
import { ObjectTypeView, TextField, TimeView } from '../../platform/common/fields.js';
import { ListView } from '../../platform/common/pagination.js';
import type { Outcome } from './rules/command.js';
import type { Freeze, FreezeSource } from './rules/wallet.js';
import { StatusRequest } from './wallet.dto.js';

const SOURCES = [
  'operator',
  'dispute',
  'early_fraud_warning',
  'refund',
] as const satisfies readonly FreezeSource[];

export class FreezeView {
  @ObjectTypeView('freeze')
  declare readonly object: 'freeze';
  @ApiProperty({
    description: 'Id of the reason; `unfreeze` takes it.',
    example: 'frz_01KB2H7Q0000000000000000AA',
  })
  declare readonly id: string;
  @ApiProperty({ description: 'Who brought it, and lifts it again.', enum: SOURCES })
  declare readonly source: string;
  @ApiProperty({
    description: "Stripe's id of the dispute or the warning, or our id of the refund; null for an operator.",
    type: 'string',
    nullable: true,
    example: 'du_1P0000000000000000000000',
  })
  declare readonly source_id: string | null;
  @ApiProperty({ description: 'Why.', example: 'Card testing suspected' })
  declare readonly reason: string;
  @ApiProperty({ description: 'Whose act it was.', example: 'operator_key:key_01KB2H7Q0000000000000000AA' })
  declare readonly actor: string;
  @TimeView('Since when, Unix seconds.')
  declare readonly created: number;
  @ApiProperty({
    description: 'When it was lifted, Unix seconds; null while it is in force.',
    type: 'integer',
    nullable: true,
    example: null,
  })
  declare readonly lifted_at: number | null;
  @ApiProperty({ description: 'Who lifted it.', type: 'string', nullable: true, example: null })
  declare readonly lifted_by: string | null;
  @ApiProperty({ description: 'Why it was lifted.', type: 'string', nullable: true, example: null })
  declare readonly lifted_reason: string | null;
}

export class FreezeListView extends ListView {
  @ApiProperty({ description: 'Newest first.', type: () => [FreezeView] })
  declare readonly data: readonly FreezeView[];
}

export class WalletStatusView {
  @ObjectTypeView('wallet_status')
  declare readonly object: 'wallet_status';
  @ApiProperty({ description: 'The account it belongs to.', example: 'acct_01KB2H7Q0000000000000000AA' })
  declare readonly account: string;
  @ApiProperty({ description: 'The status now.', enum: ['active', 'frozen'] })
  declare readonly status: string;
  @ApiProperty({ description: 'False when nothing was added or lifted: it was so before.' })
  declare readonly changed: boolean;
  @ApiProperty({ description: 'The reasons that are in force now, oldest first.', type: () => [FreezeView] })
  declare readonly freezes: readonly FreezeView[];
}

export class UnfreezeRequest extends StatusRequest {
  @TextField({
    description: 'Id of the one reason to lift; absent, all are lifted.',
    max: 40,
    optional: true,
    example: 'frz_01KB2H7Q0000000000000000AA',
  })
  declare readonly freeze?: string | null;
}

export function toStatusView(
  account: string,
  { status, changed, freezes }: Extract<Outcome, { readonly type: 'status' }>,
): WalletStatusView {
  return { object: 'wallet_status', account, status, changed, freezes: freezes.map(toFreezeView) };
}

export function toFreezeList(account: string, freezes: readonly Freeze[]): FreezeListView {
  const url = `/v1/accounts/${account}/freezes`;
  return { object: 'list', url, has_more: false, data: freezes.map(toFreezeView) };
}

function toFreezeView(freeze: Freeze): FreezeView {
  return {
    object: 'freeze',
    id: freeze.id,
    source: freeze.source,
    source_id: freeze.sourceId === '' ? null : freeze.sourceId,
    reason: freeze.reason,
    actor: freeze.actor,
    created: toSeconds(freeze.createdAtMs),
    lifted_at: freeze.liftedAtMs === null ? null : toSeconds(freeze.liftedAtMs),
    lifted_by: freeze.liftedBy,
    lifted_reason: freeze.liftedReason,
  };
}

const toSeconds = (ms: number): number => Math.trunc(ms / 1_000);
