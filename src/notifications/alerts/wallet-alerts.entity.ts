import { Check, Column, Entity, ForeignKey, PrimaryColumn } from 'typeorm';

/** The alerts that an account wants by e-mail. Its threshold is stored on the wallet. */
@Entity('wallet_alerts')
@Check('wallet_alerts_email_form', `email ~ '^[!-?A-~]+@[!-?A-~]+$' AND char_length(email) <= 254`)
@Check('wallet_alerts_confirmed_address', 'email_confirmed_at IS NULL OR email IS NOT NULL')
@Check(
  'wallet_alerts_confirm_whole',
  '(confirm_hash IS NULL) = (confirm_expires_at IS NULL) AND (confirm_hash IS NULL OR email IS NOT NULL)',
)
export class WalletAlertsEntity {
  @PrimaryColumn({
    type: 'text',
    name: 'account_id',
    collation: 'C',
    primaryKeyConstraintName: 'wallet_alerts_pkey',
  })
  @ForeignKey('AccountEntity', { name: 'wallet_alerts_account_id_fkey' })
  accountId!: string;

  @Column({ type: 'boolean', name: 'low_mark_chosen', default: false })
  thresholdChosen!: boolean;

  @Column({ type: 'text', nullable: true })
  email!: string | null;

  @Column({ type: 'timestamptz', name: 'email_confirmed_at', precision: 3, nullable: true })
  emailConfirmedAt!: Date | null;

  @Column({ type: 'bytea', name: 'confirm_hash', nullable: true })
  confirmHash!: Buffer | null;

  @Column({ type: 'timestamptz', name: 'confirm_expires_at', precision: 3, nullable: true })
  confirmExpiresAt!: Date | null;
}
