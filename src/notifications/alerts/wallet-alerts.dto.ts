import { ApiProperty } from '@nestjs/swagger';
import { EMAIL_LENGTH_MAX, EMAIL_PATTERN } from '../../platform/common/email-address.js';
import { MicroUsdField, ObjectTypeView, TextField } from '../../platform/common/fields.js';
import { formatMicros, micros } from '../../platform/common/money.js';
import type { AlertChanges, Alerts } from './wallet-alerts.service.js';

export class WalletAlertsRequest {
  @MicroUsdField({
    description:
      'The threshold: `wallet.low` is sent when posted credit falls below this many micro-USD, and again only after it ' +
      'was 20% above. Null: never. Absent: unchanged. It is checked with the next charge.',
    optional: true,
    example: '2000000',
  })
  declare readonly low_balance_micros?: string | null;

  @TextField({
    description:
      'Where to send `wallet.low`, `wallet.depleted`, `auto_top_up.updated`, `auto_top_up.failed` and ' +
      '`auto_top_up.disabled` by e-mail. The address has to confirm first: no alert is sent before. Null: nowhere. Absent: unchanged.',
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
    description: 'The threshold of `wallet.low` for posted credit, in micro-USD; null when there is none.',
    type: 'string',
    nullable: true,
    example: '2000000',
  })
  declare readonly low_balance_micros: string | null;
  @ApiProperty({
    description: 'The address that alerts are sent to; null when there is none.',
    type: 'string',
    nullable: true,
    example: 'billing@example.com',
  })
  declare readonly email: string | null;
  @ApiProperty({ description: 'Whether the address has confirmed that it wants alerts.', example: true })
  declare readonly email_confirmed: boolean;
}

/** The parameters of a link in a mail. */
export class AlertLinkQuery {
  @TextField({ description: 'The account.', max: 40, example: 'acct_01KB2H7Q0000000000000000AA' })
  declare readonly account: string;

  @TextField({
    description: 'The token that proves that this service created the link.',
    max: 64,
    example: 'zXkQ…',
  })
  declare readonly token: string;
}

/** The data of `wallet.*` events. */
export class WalletAlertView {
  @ObjectTypeView('wallet_alert')
  declare readonly object: 'wallet_alert';
  @ApiProperty({ description: 'The account of the wallet.', example: 'acct_01KB2H7Q0000000000000000AA' })
  declare readonly account: string;
  @ApiProperty({ description: 'Whether the wallet may be spent from.', enum: ['active', 'frozen'] })
  declare readonly status: 'active' | 'frozen';
  @ApiProperty({ description: 'Settled credit, in micro-USD.', type: 'string', example: '1960000' })
  declare readonly posted_micros: string;
  @ApiProperty({
    description: 'The credit that can be spent now, in micro-USD.',
    type: 'string',
    example: '1920000',
  })
  declare readonly available_micros: string;
  @ApiProperty({
    description: 'The threshold of `wallet.low`, in micro-USD; null when there is none.',
    type: 'string',
    nullable: true,
    example: '2000000',
  })
  declare readonly low_balance_micros: string | null;
  @ApiProperty({
    description: 'Why the wallet was frozen, for `wallet.frozen`; otherwise null.',
    type: 'string',
    nullable: true,
    example: null,
  })
  declare readonly reason: string | null;
}

export function toAlertChanges({ low_balance_micros: low, email }: WalletAlertsRequest): AlertChanges {
  return {
    thresholdMicros: typeof low === 'string' ? micros(BigInt(low)) : low,
    email,
  };
}

export function toWalletAlertsView({ thresholdMicros, email, confirmed }: Alerts): WalletAlertsView {
  return {
    object: 'wallet_alerts',
    low_balance_micros: thresholdMicros === null ? null : formatMicros(thresholdMicros),
    email,
    email_confirmed: confirmed,
  };
}
