import { makeApiKey } from '../identity/auth/credentials.js';
import type { Command } from './command.js';

/** Prints only the key, so that `export COFFER_OPERATOR_KEY=$(coffer operator-key)` works. */
export const operatorKey: Command = (args) => {
  if (args.length > 0) return Promise.reject(new Error('it takes no arguments'));
  process.stdout.write(`${makeApiKey('operator_key')}\n`);
  process.stderr.write(
    'Set COFFER_OPERATOR_KEY to this key and keep it secret: it acts on every account. It is stored nowhere.\n',
  );
  return Promise.resolve(0);
};
