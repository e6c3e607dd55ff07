import { ApiProperty } from '@nestjs/swagger';
import { ObjectTypeView } from '../common/fields.js';
import type { PartStatus } from './health.service.js';

const PART_STATUSES = ['ok', 'unavailable', 'draining'];

export class LivenessView {
  @ObjectTypeView('health')
  readonly object = 'health';

  @ApiProperty({ description: 'The process runs and answers.', enum: ['ok'], example: 'ok' })
  readonly status = 'ok';
}

export class HealthPartsView {
  @ApiProperty({
    description: '`draining` once the process was asked to stop.',
    enum: PART_STATUSES,
    example: 'ok',
  })
  readonly process!: PartStatus;

  @ApiProperty({ description: 'Whether the database answers.', enum: PART_STATUSES, example: 'ok' })
  readonly database!: PartStatus;

  @ApiProperty({
    description: 'Whether money commands are decided in time.',
    enum: PART_STATUSES,
    example: 'ok',
  })
  readonly engine!: PartStatus;

  @ApiProperty({
    description: "Whether the clock of this process agrees with the database's, to two seconds.",
    enum: PART_STATUSES,
    example: 'ok',
  })
  readonly clock!: PartStatus;
}

export class ReadinessView {
  @ObjectTypeView('health')
  readonly object = 'health';

  @ApiProperty({ description: 'Whether to send requests here.', enum: ['ok', 'unavailable'], example: 'ok' })
  readonly status!: 'ok' | 'unavailable';

  @ApiProperty({ description: 'The parts, one by one.', type: HealthPartsView })
  readonly parts!: HealthPartsView;
}
