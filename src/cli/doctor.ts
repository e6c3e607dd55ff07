import pg from 'pg';
import { asPostgresError } from '../platform/database/constraints.js';
import { DOCTOR_SNAPSHOT, examineBooks } from '../finance/audit/examine-books.js';
import { Snapshot } from '../platform/database/snapshot.js';
import type { Discrepancy, ProofCounts } from '../finance/audit/proof/discrepancy.js';
import { grouped, pairs, print } from './output.js';
import { findDatabase, type DatabaseOption } from './find-database.js';

const CONNECT_TIMEOUT_MS = 10_000;
/** If every row is wrong, the report must not fill the terminal, or the memory, with all of them. */
const DISCREPANCIES_SHOWN_MAX = 1_000;

export type DoctorOptions = DatabaseOption & { readonly json?: true };

type Findings = {
  readonly shown: readonly Discrepancy[];
  readonly total: number;
  readonly counts: ProofCounts;
};

/** `coffer doctor` exits with 0 when the books are clean, and with 1 and every row that does not agree when they are not. */
export async function doctor({ databaseUrl, json }: DoctorOptions): Promise<number> {
  const database = await findDatabase(databaseUrl);
  try {
    const findings = await examine(database.url);
    print(...(json === true ? [toJson(findings)] : describe(findings)));
    return findings.total === 0 ? 0 : 1;
  } finally {
    await database.stop();
  }
}

async function examine(url: string): Promise<Findings> {
  const client = new pg.Client({
    connectionString: url,
    application_name: 'coffer doctor',
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
  });
  // A connection that breaks also fails the running query, and that failure is reported.
  client.on('error', () => undefined);
  try {
    await client.connect();
    const snapshot = await Snapshot.open(client, DOCTOR_SNAPSHOT);
    const shown: Discrepancy[] = [];
    let total = 0;
    const counts = await examineBooks(snapshot, (discrepancy) => {
      total += 1;
      if (total <= DISCREPANCIES_SHOWN_MAX) shown.push(discrepancy);
    });
    await snapshot.close();
    return { shown, total, counts };
  } catch (error) {
    throw explain(error);
  } finally {
    await client.end().catch(() => undefined);
  }
}

const UNDEFINED_TABLE = '42P01';
const INSUFFICIENT_PRIVILEGE = '42501';

function explain(error: unknown): Error {
  const code = asPostgresError(error)?.code;
  if (code === UNDEFINED_TABLE || code === INSUFFICIENT_PRIVILEGE) {
    return new Error(
      'this database holds no books of Coffer that this login may read; start the service on it once',
      {
        cause: error,
      },
    );
  }
  return new Error(`the database cannot be read: ${error instanceof Error ? error.message : String(error)}`, {
    cause: error,
  });
}

function describe({ shown, total, counts }: Findings): string[] {
  const examined = pairs(Object.entries(counts).map(([what, count]) => [what, grouped(count)] as const));
  if (total === 0) return ['CLEAN: every wallet, hold, lot and chain follows from the rows.', ...examined];
  const rows = shown.flatMap(({ table, key, column, expected, found }) => [
    `${table} ${key}`,
    ...pairs([
      ['column', column],
      ['expected', expected],
      ['found', found],
    ]),
  ]);
  const more = total > shown.length ? [`and ${grouped(total - shown.length)} more`] : [];
  return [`NOT CLEAN: ${grouped(total)} rows do not agree.`, ...rows, ...more, '', 'Examined:', ...examined];
}

function toJson({ shown, total, counts }: Findings): string {
  return JSON.stringify(
    { clean: total === 0, counts, discrepancies_total: total, discrepancies: shown },
    null,
    2,
  );
}
