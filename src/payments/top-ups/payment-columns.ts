import { Column } from 'typeorm';
import type { MicroUsd } from '../../platform/common/money.js';
import { microUsdColumn } from '../../platform/database/money-columns.js';

/** The columns that a top-up and a refund share: the parts of Stripe's money, the request that named them, and when each was checked. */
export abstract class PaymentColumns {
  @Column({ type: 'bigint', name: 'credit_micros', transformer: microUsdColumn })
  creditMicros!: MicroUsd;

  @Column({ type: 'bigint', name: 'fee_micros', transformer: microUsdColumn })
  feeMicros!: MicroUsd;

  @Column({ type: 'bigint', name: 'tax_micros', default: 0, transformer: microUsdColumn })
  taxMicros!: MicroUsd;

  @Column({ type: 'text', name: 'lot_id', collation: 'C' })
  lotId!: string;

  @Column({ type: 'text', name: 'idempotency_key', nullable: true, collation: 'C' })
  idempotencyKey!: string | null;

  @Column({ type: 'text', collation: 'C' })
  fingerprint!: string;

  @Column({ type: 'text', name: 'created_by', collation: 'C' })
  createdBy!: string;

  @Column({ type: 'timestamptz', name: 'created_at', precision: 3 })
  createdAt!: Date;

  @Column({ type: 'timestamptz', name: 'checked_at', precision: 3 })
  checkedAt!: Date;
}
