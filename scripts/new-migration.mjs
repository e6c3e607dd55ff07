/** `npm run migration:new -- words-of-the-change`: the next file in `migrations/`, to be filled with SQL. */
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, URL } from 'node:url';

const MIGRATIONS = fileURLToPath(new URL('../migrations', import.meta.url));
/** As `src/platform/database/sql-migrations.ts` reads file names; it makes the migration's class name of the words. */
const NAME = /^[a-z][a-z0-9]*(-[a-z0-9]+)*$/;
const NAME_LENGTH_MAX = 60;

const TEMPLATE = `-- What changes, and why. Forward-only, and never edited after it has landed: a mistake is repaired by the next file.
-- A new table is closed to the service until src/platform/database/privileges.ts lists it. Where an older process would decide wrongly from
-- now on, raise the engine's version (1795300000041-engine-version.sql).
-- A new constraint on a filled table is NOT VALID here, and validated in a migration of its own, without the lock.
SET LOCAL lock_timeout = '5s';

`;

const [name, ...rest] = process.argv.slice(2);
const existing = readdirSync(MIGRATIONS).filter((file) => file.endsWith('.sql'));
const problem = findProblem();
if (problem === null) create();
else {
  console.error(`${problem}\nUsage: npm run migration:new -- refund-reasons`);
  process.exitCode = 1;
}

function findProblem() {
  if (name === undefined || rest.length > 0) return 'A migration has one name.';
  if (!NAME.test(name) || name.length > NAME_LENGTH_MAX)
    return `"${name}" is not a name: lower-case words joined by hyphens, at most ${NAME_LENGTH_MAX} characters.`;
  const twin = existing.find((file) => file.slice(file.indexOf('-') + 1) === `${name}.sql`);
  return twin === undefined ? null : `migrations/${twin} has this name already.`;
}

function create() {
  // The time, so that two branches do not take the same number; after the last one, whatever the clock says.
  const last = Math.max(...existing.map((file) => Number.parseInt(file, 10)));
  const file = `${Math.max(Date.now(), last + 1)}-${name}.sql`;
  writeFileSync(join(MIGRATIONS, file), TEMPLATE, { flag: 'wx' });
  console.log(`migrations/${file} is written. It runs when the service starts next.`);
}
