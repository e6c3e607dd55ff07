// TypeORM's entities need this module for their decorators' metadata; in the service, Nest loads it.
import { userInfo } from 'node:os';
import { createInterface } from 'node:readline/promises';
import { parseArgs } from 'node:util';
import 'reflect-metadata';
import { DataSource } from 'typeorm';
import { newAuditEvent, insertAuditEvent } from '../identity/audit-log/audit-event.js';
import { systemClock } from '../platform/common/clock.js';
import { asPostgresError } from '../platform/database/constraints.js';
import { applicationDataSourceOptions } from '../platform/database/data-source.js';
import { TransactionRunner } from '../platform/database/transaction-runner.js';
import { diffCatalogs, type CatalogChange } from '../gateway/catalog/versions/catalog-diff.js';
import { readCatalogFile } from '../gateway/catalog/versions/catalog-file.js';
import {
  CATALOG_ENTITIES,
  publishCatalog,
  readNewestCatalog,
  refuseDowngrade,
} from '../gateway/catalog/versions/catalog-versions.js';
import { print, UsageError, type Command } from './command.js';
import { findDatabase } from './find-database.js';

const DIFFERS = 1;
/** One connection is enough, because commands run one after the other. */
const POOL_SIZE = 1;

/** `coffer catalog diff|apply [FILE]` */
export const catalog: Command = async (args) => {
  const options = { 'database-url': { type: 'string' }, yes: { type: 'boolean' } } as const;
  const { values, positionals } = parseArgs({ args: [...args], options, allowPositionals: true });
  const [action, file, ...rest] = positionals;
  if ((action !== 'diff' && action !== 'apply') || rest.length > 0) {
    throw new UsageError('say `catalog diff` or `catalog apply`, and one file at most');
  }
  const wanted = await readCatalogFile(file);
  return onDatabase(values['database-url'] ?? null, async (transactions) => {
    const published = await transactions.run((tx) => readNewestCatalog(tx));
    const changes = diffCatalogs(published, wanted.catalog);
    const after = published?.version ?? null;
    print(
      `published: ${after ?? 'nothing'}, file: version ${wanted.catalog.version}`,
      ...changes.map(describe),
    );
    if (changes.length === 0 && published !== null) {
      print('Nothing differs.');
      return 0;
    }
    if (action === 'diff') return DIFFERS;
    refuseDowngrade(after, wanted.catalog.version);
    if (values.yes !== true && !(await confirm(`Publish version ${wanted.catalog.version}?`))) {
      print('Nothing was published.');
      return DIFFERS;
    }
    const nowMs = systemClock.nowMs();
    const publication = { ...wanted, after, publishedBy: userInfo().username, nowMs };
    await transactions.run(async (tx) => {
      await publishCatalog(tx, publication);
      const entry = {
        act: 'catalog.published',
        object: String(wanted.catalog.version),
        account: null,
        before: { version: after },
        after: { version: wanted.catalog.version, changes: changes.length },
      } as const;
      await insertAuditEvent(tx, newAuditEvent(`cli:${publication.publishedBy}`, entry));
    });
    print(`Version ${wanted.catalog.version} is in force.`);
    return 0;
  });
};

async function onDatabase<T>(
  given: string | null,
  work: (transactions: TransactionRunner) => Promise<T>,
): Promise<T> {
  const database = await findDatabase(given);
  const dataSource = new DataSource({
    ...applicationDataSourceOptions(database.url, POOL_SIZE),
    entities: CATALOG_ENTITIES,
  });
  try {
    await dataSource.initialize();
    return await work(new TransactionRunner(dataSource, POOL_SIZE));
  } catch (error) {
    throw explain(error);
  } finally {
    if (dataSource.isInitialized) await dataSource.destroy();
    await database.stop();
  }
}

const UNDEFINED_TABLE = '42P01';
const INSUFFICIENT_PRIVILEGE = '42501';

/** A database that Coffer never migrated lacks the tables, or their grants. */
function explain(error: unknown): unknown {
  const code = asPostgresError(error)?.code;
  if (code !== UNDEFINED_TABLE && code !== INSUFFICIENT_PRIVILEGE) return error;
  return new Error('this database holds no catalogue; start the service on it once', { cause: error });
}

function describe({ kind, model, what }: CatalogChange): string {
  const sign = { added: '+', removed: '-', changed: '~' }[kind];
  return `${sign} ${model}${what === null ? '' : ` ${what.member}: ${what.before} -> ${what.after}`}`;
}

/** Without a terminal, the question cannot be answered. */
async function confirm(question: string): Promise<boolean> {
  if (!process.stdin.isTTY) throw new UsageError('there is no terminal to ask at; give --yes');
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(es)?$/i.test((await terminal.question(`${question} [y/N] `)).trim());
  } finally {
    terminal.close();
  }
}
