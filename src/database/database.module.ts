import { Global, Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { SETTINGS, type Settings } from '../config/settings.js';
import { applicationDataSourceOptions } from './data-source.js';
import { TransactionRunner } from './transaction-runner.js';

/**
 * The connection pool of the service. The server behind it is up and migrated before Nest starts
 * (`startup/`) and stops after Nest has stopped, so every module may use it from its first hook to
 * its last.
 */
@Global()
@Module({
  imports: [
    TypeOrmModule.forRootAsync({
      inject: [SETTINGS],
      useFactory: (settings: Settings) => {
        if (settings.databaseUrl === null) throw new Error('the database is opened before the modules are');
        return {
          ...applicationDataSourceOptions(settings.databaseUrl, settings.databasePoolSize),
          autoLoadEntities: true,
          // Whoever starts the service waits for a clear answer, not for ten silent attempts.
          retryAttempts: 0,
        };
      },
    }),
  ],
  providers: [TransactionRunner],
  exports: [TransactionRunner],
})
export class DatabaseModule {}
