import { InvalidSettingsError } from '../platform/config/environment-reader.js';
import { EmbeddedPostgresError } from './embedded-postgres/errors.js';
import { ServiceLoginMissingError } from '../platform/database/service-role.js';
import { AddressInUseError, AddressUnusableError } from './listen-address.js';
import { DatabaseNotReadyError, DatabaseUnreachableError } from './open-database.js';
import { ProviderKeyMissingError } from './provider-coverage.js';
import { SimulatorMissingError, SimulatorsNotInstalledError } from './simulators.js';
import { WorkerDatabaseMissingError } from './start-worker.js';

/** The messages of these errors are complete; a stack trace would only hide them. */
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
  SimulatorsNotInstalledError,
  WorkerDatabaseMissingError,
];

/** Ends a process that could not start, and prints on stderr what to do about it. */
export function explainStartFailure(error: unknown): never {
  const explained = SELF_EXPLAINING.some((type) => error instanceof type);
  const text =
    error instanceof Error ? (explained ? error.message : (error.stack ?? error.message)) : String(error);
  process.stderr.write(`\n${text}\n`);
  process.exit(1);
}
