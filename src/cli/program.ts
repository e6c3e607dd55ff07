import { Command, CommanderError, type OutputConfiguration } from 'commander';
import type { CatalogOptions } from './catalog.js';
import type { DoctorOptions } from './doctor.js';

/** The exit status when the command could not run: wrong usage, no such file, no database. */
const COULD_NOT_RUN = 2;

const EXIT_STATUSES = `
Exit status: 0 all is well; 1 something is wrong with the books, or the catalogues differ, or nothing was published;
2 it could not be done.`;

const DATABASE_URL_HELP =
  'the database; otherwise that of DATABASE_URL, or the embedded one in COFFER_DATA_DIR (./.coffer)';

/** Runs one command of `coffer` and returns the exit status. Messages of Coffer's errors are complete; a stack trace would only hide them. */
export async function runCli(args: readonly string[]): Promise<number> {
  let status: number = COULD_NOT_RUN;
  const program = createProgram((result) => (status = result));
  try {
    await program.parseAsync(args, { from: 'user' });
    return status;
  } catch (error) {
    // Commander has already written its message, or the help that was asked for.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : COULD_NOT_RUN;
    const message = error instanceof Error ? error.message : String(error);
    process.stderr.write(`coffer ${args[0]}: ${message}\n`);
    return COULD_NOT_RUN;
  }
}

/** Each command is loaded when it is called: `coffer verify` must not wait for a database driver. */
function createProgram(end: (status: number) => void): Command {
  const program = new Command('coffer')
    .description("Coffer's books, catalogue and database from the command line.")
    .helpCommand('help [command]', 'show this text, or that of a command')
    .configureOutput(OUTPUT)
    .showHelpAfterError()
    .exitOverride();
  refuseUnknownCommands(program);

  program
    .command('verify')
    .description(
      'Check a ledger export from itself alone: every hash, sequence, posting and balance. Needs no server, database or settings.',
    )
    .argument('<file>', 'csv or jsonl; give one file, or - for standard input')
    .action(async (file: string) => end(await (await import('./verify.js')).verify(file)));

  program
    .command('doctor')
    .description(
      'Derive every wallet, hold, lot and chain again from the rows of the database, and name each row that does not agree. ' +
        'Reads only; the service may be running.',
    )
    .option('--database-url <url>', DATABASE_URL_HELP)
    .option('--json', 'print the findings as JSON')
    .action(async (options: DoctorOptions) => end(await (await import('./doctor.js')).doctor(options)));

  const catalog = program
    .command('catalog')
    .description(
      'Models, prices and routes as a file: `coffer catalog diff` compares it, `coffer catalog apply` publishes it.',
    );
  refuseUnknownCommands(catalog);
  catalog
    .command('diff')
    .description('Show what a catalogue file would change: models, prices, routes.')
    .argument('[file]', 'the catalogue file; otherwise catalog/models.json of this release')
    .option('--database-url <url>', DATABASE_URL_HELP)
    .action(async (file: string | undefined, options: CatalogOptions) =>
      end(await (await import('./catalog.js')).diffCatalog(file, options)),
    );
  catalog
    .command('apply')
    .description(
      'Show what a catalogue file would change, ask, and publish it as the next version, prices included. ' +
        'The running service takes it up within seconds.',
    )
    .argument('[file]', 'the catalogue file; otherwise catalog/models.json of this release')
    .option('--database-url <url>', DATABASE_URL_HELP)
    .option('--yes', 'publish without asking')
    .action(async (file: string | undefined, options: CatalogOptions) =>
      end(await (await import('./catalog.js')).applyCatalog(file, options)),
    );

  program
    .command('migrate')
    .description(
      'Bring the database of MIGRATION_DATABASE_URL up to date as its owner, and make and grant what the login of ' +
        'DATABASE_URL needs.',
    )
    .action(async () => end(await (await import('./migrate.js')).migrate()));

  program
    .command('operator-key')
    .description('Make an operator key, for COFFER_OPERATOR_KEY.')
    .action(async () => end((await import('./operator-key.js')).printOperatorKey()));

  for (const command of [program, ...program.commands, ...catalog.commands])
    if (command !== catalog) command.addHelpText('after', EXIT_STATUSES);
  return program;
}

const OUTPUT: OutputConfiguration = {
  // A misspelt option may carry a password, so only its name is repeated.
  outputError: (text, write) =>
    write(text.replace(/^error: /, 'coffer: ').replace(/(--[\w-]+)=[^']*'/, "$1'")),
};

function refuseUnknownCommands(command: Command): void {
  command.on('command:*', ([name = '']: readonly string[]) => {
    const path = command.parent === null ? name : `${command.name()} ${name}`;
    command.error(`error: there is no command '${path}'`);
  });
}
