import { Global, Module } from '@nestjs/common';
import { TypeOrmModule, type TypeOrmModuleOptions } from '@nestjs/typeorm';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { CLOCK, type MonotonicClock } from '../common/clock.js';
import { SETTINGS, type Settings } from '../config/settings.js';
import {
  applicationDataSourceOptions,
  ENGINE_DATA_SOURCE,
  engineDataSourceOptions,
  ReadRepeatingDataSource,
} from './data-source.js';
import { DatabaseClock, LEDGER_CLOCK, LedgerClock } from './ledger-clock.js';
import { TransactionRunner } from './transaction-runner.js';

/**
 * The connections of the engine: two for each lane, including that of the platform's own book, one for each of its batches
 * (`wallet-engine.ts`), and one for wallets that another session has locked. Acts have a lane with one
 * batch, and a queue of their own.
 */
const engineConnections = ({ engineLanes }: Settings): number => 2 * (engineLanes + 1) + 1 + 2;

/**
 * The connections of the service: a pool for all modules, and a few for the wallet engine alone, which it sets up for its batches
 * and which slow queries of other modules cannot use. The server is up and migrated before Nest starts (`bootstrap/`) and stops
 * after Nest has stopped, so every module may use the connections from its first hook to its last.
 */
@Global()
@Module({
  imports: [
    TypeOrmModule.forRootAsync({
      inject: [SETTINGS],
      useFactory: (settings: Settings) => ({
        ...createConnections(settings, applicationDataSourceOptions, settings.databasePoolSize),
        autoLoadEntities: true,
      }),
      dataSourceFactory: (options) =>
        Promise.resolve(new ReadRepeatingDataSource(options as DataSourceOptions)),
    }),
    TypeOrmModule.forRootAsync({
      name: ENGINE_DATA_SOURCE,
      inject: [SETTINGS],
      useFactory: (settings: Settings) =>
        createConnections(settings, engineDataSourceOptions, engineConnections(settings)),
    }),
  ],
  providers: [
    DatabaseClock,
    {
      provide: LEDGER_CLOCK,
      inject: [DatabaseClock, CLOCK],
      useFactory: (database: DatabaseClock, clock: MonotonicClock) => LedgerClock.start(database, clock),
    },
    {
      provide: TransactionRunner,
      inject: [DataSource, SETTINGS],
      useFactory: (dataSource: DataSource, { databasePoolSize }: Settings) =>
        new TransactionRunner(dataSource, databasePoolSize),
    },
  ],
  exports: [DatabaseClock, LEDGER_CLOCK, TransactionRunner],
})
export class DatabaseModule {}

function createConnections(
  { databaseUrl }: Settings,
  optionsFor: typeof applicationDataSourceOptions,
  count: number,
): TypeOrmModuleOptions {
  if (databaseUrl === null) throw new Error('the database is opened before the modules are');
  return {
    ...optionsFor(databaseUrl, count),
    // The operator who starts the service needs a clear answer at once, not ten silent attempts.
    retryAttempts: 0,
  };
}
