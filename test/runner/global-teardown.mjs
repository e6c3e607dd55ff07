import '../support/typescript.mjs';
import { rm } from 'node:fs/promises';

/** How many are worth reading at once; the first one usually explains the others. */
const LEAKS_SHOWN_MAX = 20;

/** Stops the run's database server, then fails the run when a secret is in a log or in an error answer. */
export default async function teardown() {
  await globalThis.cofferTestServer?.stop();
  const dir = globalThis.cofferRunLog;
  if (dir === undefined) return;
  const { searchSecrets } = await import('../support/app/secret-search.ts');
  const { files, bytes, secrets, leaks } = await searchSecrets(dir);
  if (leaks.length === 0) {
    const size = `${(bytes / 1e6).toFixed(1)} MB in ${files} files`;
    process.stderr.write(
      `No secret in the logs and error answers of this run (${size}, ${secrets} secrets).\n`,
    );
    await rm(dir, { recursive: true, force: true });
    return;
  }
  const lines = leaks.slice(0, LEAKS_SHOWN_MAX).map(({ file, line, what, shown }) => {
    return `  ${what} in ${file}:${line}: ${shown}`;
  });
  throw new Error(
    `${leaks.length} of the secrets are in the logs or error answers of this run:\n${lines.join('\n')}`,
  );
}
