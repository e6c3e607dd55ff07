import { Entity, PrimaryColumn } from 'typeorm';

/** Calls that charged nothing and are not added up yet. The database queues each call in the commit that ends it. */
@Entity('usage_queue')
export class UsageQueueEntity {
  @PrimaryColumn({
    type: 'text',
    name: 'account_id',
    collation: 'C',
    primaryKeyConstraintName: 'usage_queue_pkey',
  })
  accountId!: string;

  @PrimaryColumn({
    type: 'text',
    name: 'generation_id',
    collation: 'C',
    primaryKeyConstraintName: 'usage_queue_pkey',
  })
  generationId!: string;
}
