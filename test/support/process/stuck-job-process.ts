/**
 * A service process that takes a job and never finishes it, so that a test can kill it with -9:
 *
 *   node --import ./test/support/typescript.mjs test/support/process/stuck-job-process.ts <database URL>
 */
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { CommonModule } from '../../../src/platform/common/common.module.js';
import { ConfigModule } from '../../../src/platform/config/config.module.js';
import { readSettings } from '../../../src/platform/config/settings.js';
import { DatabaseModule } from '../../../src/platform/database/database.module.js';
import { JobRegistry } from '../../../src/platform/jobs/job-queue.js';
import { JobsModule } from '../../../src/platform/jobs/jobs.module.js';

const settings = readSettings({ NODE_ENV: 'test', DATABASE_URL: process.argv[2] });

@Module({ imports: [CommonModule, ConfigModule.with(settings), DatabaseModule, JobsModule] })
class StuckModule {
  constructor(registry: JobRegistry) {
    registry.register({
      name: 'probe',
      run: () => {
        process.stdout.write('running\n');
        return new Promise(() => undefined);
      },
    });
  }
}

await NestFactory.createApplicationContext(StuckModule, { logger: false });
