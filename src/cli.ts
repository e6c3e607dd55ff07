#!/usr/bin/env node
import { HELP } from './cli/help.js';
import { UsageError, type Command } from './cli/command.js';

/** Each command is loaded on demand: `coffer verify` must not wait for a database driver. */
const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  verify: async () => (await import('./cli/verify.js')).verify,
  doctor: async () => (await import('./cli/doctor.js')).doctor,
  catalog: async () => (await import('./cli/catalog.js')).catalog,
  migrate: async () => (await import('./cli/migrate.js')).migrate,
  'operator-key': async () => (await import('./cli/operator-key.js')).operatorKey,
};

/** The exit status when the command could not run: wrong usage, no such file, no database. */
const COULD_NOT_RUN = 2;

async function main([name, ...args]: readonly string[]): Promise<number> {
  if (name === 'help' || name === '--help' || name === '-h' || args.includes('--help')) {
    process.stdout.write(HELP);
    return 0;
  }
  const load = name !== undefined && Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (load === undefined) {
    process.stderr.write(name === undefined ? HELP : `coffer: there is no command '${name}'.\n\n${HELP}`);
    return COULD_NOT_RUN;
  }
  try {
    return await (
      await load()
    )(args);
  } catch (error) {
    process.stderr.write(`coffer ${name}: ${explain(error)}\n`);
    return COULD_NOT_RUN;
  }
}

/** The messages of `parseArgs` and of Coffer's own errors are complete; a stack trace would only hide them. */
function explain(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const isUsage =
    error instanceof UsageError || ('code' in error && /^ERR_PARSE_ARGS/.test(String(error.code)));
  return isUsage ? `${error.message}\n\n${HELP}` : error.message;
}

// A reader that needs no more output (`| head`) closes the pipe; that is not a failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit();
});
process.exitCode = await main(process.argv.slice(2));
