import { Global, Module } from '@nestjs/common';
import { HealthChecks } from './health-checks.service.js';
import { HealthController } from './health.controller.js';
import { HealthService } from './health.service.js';

/** It is global, so that any module can add its check to `HealthChecks`. */
@Global()
@Module({
  controllers: [HealthController],
  providers: [HealthChecks, HealthService],
  exports: [HealthChecks],
})
export class HealthModule {}
