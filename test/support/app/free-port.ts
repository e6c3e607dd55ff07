import { AddressInUseError, chooseListenPort } from '../../../src/bootstrap/listen-address.js';

/** Below what the system hands out for connections to other hosts, which come and go next to the tests. */
const FIRST_PORT = 11_000;
const PORTS_A_WORKER = 500;

/** Test files start anywhere in the range: two runs on one machine seldom meet. */
let next = Math.floor(Math.random() * PORTS_A_WORKER);

/**
 * A port that stays free until it is listened on: each of jest's workers walks through a range of its own, so
 * no other test takes it between asking and listening.
 */
export async function freePort(): Promise<number> {
  const first = FIRST_PORT + Number(process.env['JEST_WORKER_ID'] ?? 0) * PORTS_A_WORKER;
  for (let attempt = 0; attempt < PORTS_A_WORKER; attempt += 1) {
    const port = first + (next++ % PORTS_A_WORKER);
    try {
      return await chooseListenPort({ host: '127.0.0.1', port });
    } catch (error) {
      if (!(error instanceof AddressInUseError)) throw error;
    }
  }
  throw new Error('no port is free for the tests');
}
