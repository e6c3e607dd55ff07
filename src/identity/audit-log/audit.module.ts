import { Global, Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { JobsModule } from '../../platform/jobs/jobs.module.js';
import { AuditEventEntity } from './audit-event.entity.js';
import { AuditHeadJob } from './audit-head.job.js';
import { AuditLogController } from './audit-log.controller.js';
import { AuditLog } from './audit-log.service.js';

/** Global: whatever manages something records what it does. */
@Global()
@Module({
  imports: [TypeOrmModule.forFeature([AuditEventEntity]), JobsModule],
  controllers: [AuditLogController],
  providers: [AuditLog, AuditHeadJob],
  exports: [AuditLog],
})
export class AuditModule {}
