import { ApiProperty } from '@nestjs/swagger';
import { EMAIL_LENGTH_MAX, EMAIL_PATTERN } from '../../platform/common/email-address.js';
import { MicroUsdField, ObjectTypeView, TextField } from '../../platform/common/fields.js';
import { formatMicros, micros } from '../../platform/common/money.js';
import type { AlertChanges, Alerts } from './wallet-alerts.service.js';

export class WalletAlertsRequest {
  @MicroUsdField({
    description:
      'Tell `wallet.low` when posted credit falls below this many micro-USD; again only after it was 20% above. ' +
      'Null: never. Absent: as it is. It is looked at with the next charge.',
    optional: true,
    example: '2000000',
  })
  declare readonly low_balance_micros?: string | null;

  @TextField({
    description:
      'Where to send `wallet.low`, `wallet.depleted`, `auto_top_up.updated`, `auto_top_up.failed` and ' +
      '`auto_top_up.disabled` by e-mail. The address is asked first: nothing is sent before it said yes. Null: nowhere. Absent: as it is.',
    max: EMAIL_LENGTH_MAX,
    pattern: EMAIL_PATTERN,
    optional: true,
    example: 'billing@example.com',
  })
  declare readonly email?: string | null;
}

export class WalletAlertsView {
  @ObjectTypeView('wallet_alerts')
  declare readonly object: 'wallet_alerts';
  @ApiProperty({
    description: 'Posted credit below this is told as `wallet.low`; null: it is not. Micro-USD.',
    type: 'string',
    nullable: true,
    example: '2000000',
  })
  declare readonly low_balance_micros: string | null;
  @ApiProperty({
    description: 'Where alerts go by e-mail; null: nowhere.',
    type: 'string',
    nullable: true,
    example: 'billing@example.com',
  })
  declare readonly email: string | null;
  @ApiProperty({ description: 'Whether the address said that it wants them.', example: true })
  declare readonly email_confirmed: boolean;
}

/** What a link of a mail carries. */
export class AlertLinkQuery {
  @TextField({ description: 'The account.', max: 40, example: 'acct_01KB2H7Q0000000000000000AA' })
  declare readonly account: string;

  @TextField({ description: 'What makes the link ours.', max: 64, example: 'zXkQ…' })
  declare readonly token: string;
}

/** What `wallet.*` events tell. */
export class WalletAlertView {
  @ObjectTypeView('wallet_alert')
  declare readonly object: 'wallet_alert';
  @ApiProperty({ description: 'Whose wallet.', example: 'acct_01KB2H7Q0000000000000000AA' })
  declare readonly account: string;
  @ApiProperty({ description: 'Whether the wallet may be spent from.', enum: ['active', 'frozen'] })
  declare readonly status: 'active' | 'frozen';
  @ApiProperty({ description: 'Settled credit, micro-USD.', type: 'string', example: '1960000' })
  declare readonly posted_micros: string;
  @ApiProperty({ description: 'What can be spent now, micro-USD.', type: 'string', example: '1920000' })
  declare readonly available_micros: string;
  @ApiProperty({
    description: 'The mark of `wallet.low`; null: there is none. Micro-USD.',
    type: 'string',
    nullable: true,
    example: '2000000',
  })
  declare readonly low_balance_micros: string | null;
  @ApiProperty({
    description: 'Why the wallet was frozen, for `wallet.frozen`; else null.',
    type: 'string',
    nullable: true,
    example: null,
  })
  declare readonly reason: string | null;
}

export function toAlertChanges({ low_balance_micros: low, email }: WalletAlertsRequest): AlertChanges {
  return {
    lowMarkMicros: typeof low === 'string' ? micros(BigInt(low)) : low,
    email,
  };
}

export function toWalletAlertsView({ lowMarkMicros, email, confirmed }: Alerts): WalletAlertsView {
  return {
    object: 'wallet_alerts',
    low_balance_micros: lowMarkMicros === null ? null : formatMicros(lowMarkMicros),
    email,
    email_confirmed: confirmed,
  };
}
