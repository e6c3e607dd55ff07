import { Check, Column, Entity, PrimaryColumn } from 'typeorm';

@Entity('model_usage')
@Check('model_usage_whole_hour', `hour = date_trunc('hour', hour, 'UTC')`)
@Check('model_usage_images_not_negative', 'images >= 0')
@Check('model_usage_model_length', 'char_length(model) BETWEEN 1 AND 200')
export class ModelUsageEntity {
  @PrimaryColumn({ type: 'timestamptz', precision: 3, primaryKeyConstraintName: 'model_usage_pkey' })
  hour!: Date;

  @PrimaryColumn({ type: 'text', collation: 'C', primaryKeyConstraintName: 'model_usage_pkey' })
  model!: string;

  @Column({ type: 'bigint' })
  images!: string;
}
