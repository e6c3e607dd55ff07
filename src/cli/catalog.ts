// TypeORM's entities need this module for their decorators' metadata; in the service, Nest loads it.
import 'reflect-metadata';
import { userInfo } from 'node:os';
import { createInterface } from 'node:readline/promises';
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
import { findDatabase, type DatabaseOption } from './find-database.js';
import { print } from './output.js';

const DIFFERS = 1;
/** One connection is enough, because commands run one after the other. */
const POOL_SIZE = 1;

export type CatalogOptions = DatabaseOption & { readonly yes?: true };

/** `coffer catalog diff [FILE]` exits with 1 when the file and what is published differ. */
export async function diffCatalog(
  file: string | undefined,
  { databaseUrl }: CatalogOptions,
): Promise<number> {
  const wanted = await readCatalogFile(file);
  return onDatabase(databaseUrl, async (transactions) => {
    const { differs } = await compare(transactions, wanted);
    return differs ? DIFFERS : 0;
  });
}

/** `coffer catalog apply [FILE]` exits with 1 when the operator does not want it published. */
export async function applyCatalog(
  file: string | undefined,
  { databaseUrl, yes }: CatalogOptions,
): Promise<number> {
  const wanted = await readCatalogFile(file);
  const { version } = wanted.catalog;
  return onDatabase(databaseUrl, async (transactions) => {
    const { differs, after, changes } = await compare(transactions, wanted);
    if (!differs) return 0;
    refuseDowngrade(after, version);
    if (yes !== true && !(await confirm(`Publish version ${version}?`))) {
      print('Nothing was published.');
      return DIFFERS;
    }
    const publication = { ...wanted, after, publishedBy: userInfo().username, nowMs: systemClock.nowMs() };
    await transactions.run(async (tx) => {
      await publishCatalog(tx, publication);
      const entry = {
        act: 'catalog.published',
        object: String(version),
        account: null,
        before: { version: after },
        after: { version, changes: changes.length },
      } as const;
      await insertAuditEvent(tx, newAuditEvent(`cli:${publication.publishedBy}`, entry));
    });
    print(`Version ${version} is in force.`);
    return 0;
  });
}

type Comparison = {
  readonly differs: boolean;
  /** The published version; null when there is none. */
  readonly after: number | null;
  readonly changes: readonly CatalogChange[];
};

/** Prints what the file would change. */
async function compare(
  transactions: TransactionRunner,
  { catalog }: Awaited<ReturnType<typeof readCatalogFile>>,
): Promise<Comparison> {
  const published = await transactions.run((tx) => readNewestCatalog(tx));
  const changes = diffCatalogs(published, catalog);
  const after = published?.version ?? null;
  print(`published: ${after ?? 'nothing'}, file: version ${catalog.version}`, ...changes.map(describe));
  const differs = changes.length > 0 || published === null;
  if (!differs) print('Nothing differs.');
  return { differs, after, changes };
}

async function onDatabase<T>(
  given: string | undefined,
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
  if (!process.stdin.isTTY) throw new Error('there is no terminal to ask at; give --yes');
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(es)?$/i.test((await terminal.question(`${question} [y/N] `)).trim());
  } finally {
    terminal.close();
  }
}
