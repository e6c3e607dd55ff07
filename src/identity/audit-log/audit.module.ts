import { Global, Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { JobsModule } from '../../platform/jobs/jobs.module.js';
import { AuditEventEntity } from './audit-event.entity.js';
import { AuditHeadJob } from './audit-head.job.js';
import { AuditLogController } from './audit-log.controller.js';
import { AuditLog } from './audit-log.service.js';

/** It is global, because every module that manages something records its acts. */
@Global()
@Module({
  imports: [TypeOrmModule.forFeature([AuditEventEntity]), JobsModule],
  controllers: [AuditLogController],
  providers: [AuditLog, AuditHeadJob],
  exports: [AuditLog],
})
export class AuditModule {}
