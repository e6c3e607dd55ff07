import { Global, Module } from '@nestjs/common';
import { TypeOrmModule, type TypeOrmModuleOptions } from '@nestjs/typeorm';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { CLOCK, type MonotonicClock } from '../common/clock.js';
import { SETTINGS, type Settings } from '../config/settings.js';
import { applicationDataSourceOptions, ENGINE_DATA_SOURCE, engineDataSourceOptions } from './data-source.js';
import { DatabaseClock } from './database-clock.js';
import { LEDGER_CLOCK, LedgerClock } from './ledger-clock.js';
import { ReadRepeatingDataSource } from './read-repeating-data-source.js';
import { TransactionRunner } from './transaction-runner.js';

/**
 * For each lane of the engine, that of the platform's own book included, one for each of its batches (`engine-lane.ts`), and one
 * for the wallets that somebody else holds (`contended-wallets.ts`). Acts have a lane with one batch, and a line of their own.
 */
const engineConnections = ({ engineLanes }: Settings): number => 2 * (engineLanes + 1) + 1 + 2;

/**
 * The connections of the service: a pool for all modules, and the wallet engine's own few, which it sets up for its batches and
 * which no slow query of others can take from it. The server behind them is up and migrated before Nest starts
 * (`startup/`) and stops after Nest has stopped, so every module may use them from its first hook to
 * its last.
 */
@Global()
@Module({
  imports: [
    TypeOrmModule.forRootAsync({
      inject: [SETTINGS],
      useFactory: (settings: Settings) => ({
        ...connectionsOf(settings, applicationDataSourceOptions, settings.databasePoolSize),
        autoLoadEntities: true,
      }),
      dataSourceFactory: (options) =>
        Promise.resolve(new ReadRepeatingDataSource(options as DataSourceOptions)),
    }),
    TypeOrmModule.forRootAsync({
      name: ENGINE_DATA_SOURCE,
      inject: [SETTINGS],
      useFactory: (settings: Settings) =>
        connectionsOf(settings, engineDataSourceOptions, engineConnections(settings)),
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

function connectionsOf(
  { databaseUrl }: Settings,
  optionsFor: typeof applicationDataSourceOptions,
  count: number,
): TypeOrmModuleOptions {
  if (databaseUrl === null) throw new Error('the database is opened before the modules are');
  return {
    ...optionsFor(databaseUrl, count),
    // The operator who starts the service waits for a clear answer, not for ten silent attempts.
    retryAttempts: 0,
  };
}
