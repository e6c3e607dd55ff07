import { InvalidSettingsError } from '../platform/config/environment-reader.js';
import { EmbeddedPostgresError } from './embedded-postgres/errors.js';
import { ServiceLoginMissingError } from '../platform/database/service-role.js';
import { AddressInUseError, AddressUnusableError } from './listen-address.js';
import { DatabaseNotReadyError, DatabaseUnreachableError } from './open-database.js';
import { ProviderKeyMissingError } from './provider-coverage.js';
import { SimulatorMissingError } from './simulators.js';
import { WorkerDatabaseMissingError } from './start-worker.js';

/** These say all that their reader needs; a stack trace would only hide it. */
const SELF_EXPLAINING = [
  InvalidSettingsError,
  EmbeddedPostgresError,
  AddressInUseError,
  AddressUnusableError,
  DatabaseUnreachableError,
  ProviderKeyMissingError,
  DatabaseNotReadyError,
  ServiceLoginMissingError,
  SimulatorMissingError,
  WorkerDatabaseMissingError,
];

/** Ends a process that could not start, with what to do about it on stderr. */
export function explainStartFailure(error: unknown): never {
  const explained = SELF_EXPLAINING.some((type) => error instanceof type);
  const text =
    error instanceof Error ? (explained ? error.message : (error.stack ?? error.message)) : String(error);
  process.stderr.write(`\n${text}\n`);
  process.exit(1);
}
