import { Check, Column, Entity, ForeignKey, Index, PrimaryColumn } from 'typeorm';
import type { MicroUsd } from '../../../../platform/common/money.js';
import { microUsdColumn } from '../../../../platform/database/money-columns.js';
import type { OutputFormat, ProviderName } from '../../providers/image-provider.js';
import { GenerationEntity } from './generation.entity.js';

const PKEY = 'generation_tasks_pkey';

@Entity('generation_tasks')
@ForeignKey(() => GenerationEntity, ['accountId', 'generationId'], ['accountId', 'id'], {
  name: 'generation_tasks_generation_fkey',
})
@Index('generation_tasks_created_at_idx', { synchronize: false })
@Check('generation_tasks_rules_kept', 'generation_task_rules_kept(generation_tasks)')
export class GenerationTaskEntity {
  @PrimaryColumn({ type: 'text', name: 'account_id', collation: 'C', primaryKeyConstraintName: PKEY })
  accountId!: string;

  @PrimaryColumn({ type: 'text', name: 'generation_id', collation: 'C', primaryKeyConstraintName: PKEY })
  generationId!: string;

  @PrimaryColumn({ type: 'smallint', primaryKeyConstraintName: PKEY })
  position!: number;

  @PrimaryColumn({ type: 'smallint', primaryKeyConstraintName: PKEY })
  attempt!: number;

  @Column({ type: 'text', collation: 'C' })
  provider!: ProviderName;

  @Column({ type: 'text', name: 'task_id', collation: 'C', nullable: true })
  taskId!: string | null;

  @Column({ type: 'text', name: 'polling_url', nullable: true })
  pollingUrl!: string | null;

  @Column({ type: 'text', collation: 'C' })
  status!: 'pending' | 'delivered' | 'failed';

  @Column({ type: 'text', collation: 'C', nullable: true })
  failure!: string | null;

  @Column({ type: 'bigint', name: 'upstream_cost_micros', nullable: true, transformer: microUsdColumn })
  upstreamCostMicros!: MicroUsd | null;

  @Column({ type: 'integer', nullable: true })
  bytes!: number | null;

  @Column({ type: 'text', name: 'image_format', collation: 'C', nullable: true })
  imageFormat!: OutputFormat | null;

  @Column({ type: 'timestamptz', name: 'created_at', precision: 3 })
  createdAt!: Date;

  @Column({ type: 'timestamptz', name: 'finished_at', precision: 3, nullable: true })
  finishedAt!: Date | null;
}
