/**
 * A service process that takes a job and never finishes it, so that a test can kill it with -9:
 *
 *   node --import ./test/support/typescript.mjs test/support/process/stuck-job-process.ts <database URL>
 */
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { CommonModule } from '../../../src/common/common.module.js';
import { ConfigModule } from '../../../src/config/config.module.js';
import { readSettings } from '../../../src/config/settings.js';
import { DatabaseModule } from '../../../src/database/database.module.js';
import { JobRegistry } from '../../../src/jobs/job-registry.js';
import { JobsModule } from '../../../src/jobs/jobs.module.js';

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
