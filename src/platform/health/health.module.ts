import { Global, Module } from '@nestjs/common';
import { HealthChecks, HealthService } from './health.service.js';
import { HealthController } from './health.controller.js';

/** It is global, so that any module can add its check to `HealthChecks`. */
@Global()
@Module({
  controllers: [HealthController],
  providers: [HealthChecks, HealthService],
  exports: [HealthChecks],
})
export class HealthModule {}
