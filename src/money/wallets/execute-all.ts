import type { WalletCommand } from './rules/command.js';
import type { WalletEngine } from './wallet-engine.js';

/**
 * Sends the commands of a job, which finds again by itself what was not done. One that fails keeps none of the others from
 * being done: a wallet may be locked for long. Answers the failures.
 */
export async function executeAll(
  engine: WalletEngine,
  commands: readonly WalletCommand[],
): Promise<readonly Error[]> {
  const results = await Promise.allSettled(commands.map((command) => engine.execute(command)));
  // The engine rejects with errors only.
  return results.flatMap((result) => (result.status === 'rejected' ? [result.reason as Error] : []));
}

/** Ends a job, after all that it could do, with the first of its failures. Nothing for none. */
export function throwFirst([first]: readonly Error[]): void {
  if (first !== undefined) throw first;
}
