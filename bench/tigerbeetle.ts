import { createRequire } from 'node:module';
import type { CleanUp } from './clean-up.js';
import { UsageError } from './options.js';
import { OPERATOR_KEY, startSide, type Server } from './servers.js';

/** Throws `UsageError` before anything is started when its client is not installed. */
export function requireTigerBeetle(): void {
  try {
    createRequire(import.meta.url).resolve('tigerbeetle-node');
  } catch {
    throw new UsageError(
      'Comparing with TigerBeetle needs its client, which is no dependency of Coffer: npm install --no-save tigerbeetle-node',
    );
  }
}

/** A bare handler before the server at `address`. */
export async function startTigerBeetleSide(address: string, cleanUp: CleanUp): Promise<Server> {
  try {
    return await startSide('sides/tigerbeetle-handler.ts', cleanUp, { TIGERBEETLE: address, OPERATOR_KEY });
  } catch (cause) {
    // Their client waits without end for a server that does not answer.
    throw new Error(`Is a TigerBeetle server of cluster 0 listening on ${address}?`, { cause });
  }
}
