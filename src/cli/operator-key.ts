import { makeApiKey } from '../identity/auth/credentials.js';

/** Prints only the key, so that `export COFFER_OPERATOR_KEY=$(coffer operator-key)` works. */
export function printOperatorKey(): number {
  process.stdout.write(`${makeApiKey('operator_key')}\n`);
  process.stderr.write(
    'Set COFFER_OPERATOR_KEY to this key and keep it secret: it acts on every account. It is stored nowhere.\n',
  );
  return 0;
}
