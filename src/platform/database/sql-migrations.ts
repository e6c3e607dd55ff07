import { readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { MigrationInterface, QueryRunner } from 'typeorm';
import { APPLICATION_ROLE } from './service-role.js';

/** The relative path is the same from src/platform/database and from dist/platform/database. */
const MIGRATIONS_DIR = fileURLToPath(new URL('../../../migrations/', import.meta.url));
const FILE_PATTERN = /^(\d{13})-([a-z0-9-]+)\.sql$/;

/**
 * `privileges.ts` defines the privileges and is applied after every run. The first migrations had such statements themselves,
 * which only a login that may create roles can run: these statements are left out.
 */
const PERHAPS_ABOUT_ROLES = /^(?:DO \$\$[^]*?END \$\$|(?:GRANT|REVOKE|ALTER DEFAULT PRIVILEGES)\b[^;]*);/gm;

/**
 * A session that waits for the lock of a table makes all later sessions that want the table wait too, charges included. So no
 * statement of a migration waits for longer than this: it gives up, and the whole migration is tried again (`migrate.ts`). The
 * files themselves say five seconds, during which a backup would stop all spending.
 */
export const LOCK_WAIT_MS = 400;
const OWN_LOCK_TIMEOUT = /^SET LOCAL lock_timeout = '[^']+';/gm;

type MigrationClass = new () => MigrationInterface;

/**
 * Migrations are plain SQL files, so that they can be reviewed as they are; this wraps each in the class that TypeORM runs
 * and records. They only go forward: the next file corrects a mistake.
 */
export function loadSqlMigrations(directory = MIGRATIONS_DIR): MigrationClass[] {
  return readdirSync(directory)
    .filter((file) => file.endsWith('.sql'))
    .sort()
    .map((file) => toMigration(directory, file));
}

/** Returns the names that TypeORM records, in the order of the files. */
export function sqlMigrationNames(): string[] {
  return loadSqlMigrations().map((migration) => new migration().name ?? '');
}

function toMigration(directory: string, file: string): MigrationClass {
  const match = FILE_PATTERN.exec(file);
  if (match === null) throw new Error(`${file}: a migration is named <13-digit time>-<words>.sql`);
  const [, timestamp = '', words = ''] = match;
  const name = `${words.replace(/(^|-)([a-z0-9])/g, (_all, _dash, letter: string) => letter.toUpperCase())}${timestamp}`;
  const sql = readFileSync(`${directory}/${file}`, 'utf8')
    .replace(PERHAPS_ABOUT_ROLES, (statement) => (statement.includes(APPLICATION_ROLE) ? '' : statement))
    .replace(OWN_LOCK_TIMEOUT, `SET LOCAL lock_timeout = '${LOCK_WAIT_MS}ms';`);
  return class implements MigrationInterface {
    readonly name = name;
    async up(runner: QueryRunner): Promise<void> {
      await runner.query(sql);
    }
    down(): Promise<void> {
      return Promise.reject(new Error(`${file} is forward-only; write the next migration instead`));
    }
  };
}
