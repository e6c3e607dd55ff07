import type { CleanUp } from './clean-up.js';
import { createLedger, startCluster, withClient } from './ledgers.js';
import { OPERATOR_KEY, startService, type Server } from './servers.js';
import { accountId } from './wallets.js';

export type StallOptions = {
  readonly dir: string;
  readonly cleanUp: CleanUp;
  readonly say: (text: string) => void;
};

/** Of the wallets that nothing has happened to. */
export type Stalled = {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  readonly statuses: Readonly<Record<string, number>>;
};

const OTHERS = 20;
const HELD = accountId(OTHERS + 1);
const SECONDS = 8;
/** A batch is inside its tx for a part of a millisecond: the process is stopped until it is caught there. */
const CATCHES_MAX = 2_000;
const ANSWER_MS_MAX = 120_000;

const inTransaction = `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'`;
/** The engine's connection that was used last. */
const busiest = `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query = 'COMMIT'
                  ORDER BY state_change DESC LIMIT 1`;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * What the debits of twenty wallets take in one process while something stands still that has to do with another wallet: a
 * session that holds its row, another process inside a batch, a server process of this one.
 */
export async function measureStalls({ dir, cleanUp, say }: StallOptions): Promise<Record<string, Stalled>> {
  const cluster = await startCluster(dir, 'stalls', cleanUp);
  const ledger = await createLedger(cluster, 'bench_stalls', OTHERS + 1);
  const { url } = ledger;
  const [service, other] = await Promise.all([startService(ledger, cleanUp), startService(ledger, cleanUp)]);
  const measured: Record<string, Stalled> = {};
  const measure = async (name: string, stall: (settle: () => Promise<Stalled>) => Promise<Stalled>) => {
    measured[name] = await stall(() => chargeOthers(service));
    say(`stalls: ${name}: ${JSON.stringify(measured[name])}`);
  };
  await chargeOthers(service, 2);
  await measure('nothing', (settle) => settle());
  await measure('a session holds a wallet', (settle) =>
    withClient(url, async (client) => {
      await client.query('BEGIN');
      await client.query('SELECT FROM wallets WHERE account_id = $1 FOR UPDATE', [HELD]);
      return settle().finally(() => client.query('ROLLBACK'));
    }),
  );
  await measure('another process stands still inside a batch', async (settle) => {
    await stopInsideBatch(url, other);
    return settle().finally(() => process.kill(other.pid, 'SIGCONT'));
  });
  await measure('a server process stands still', async (settle) => {
    const running = settle();
    await pause(1_000);
    const pid = await withClient(url, async (client) => {
      const { rows } = await client.query<{ pid: number }>(busiest);
      return rows[0]?.pid ?? Number.NaN;
    });
    process.kill(pid, 'SIGSTOP');
    return running.finally(() => process.kill(pid, 'SIGCONT'));
  });
  return measured;
}

async function stopInsideBatch(url: string, { url: serviceUrl, pid }: Server): Promise<void> {
  const stop = new AbortController();
  const load = chargeUntil(serviceUrl, HELD, () => !stop.signal.aborted, []);
  load.catch(() => undefined);
  await withClient(url, async (client) => {
    for (let attempt = 0; attempt < CATCHES_MAX; attempt += 1) {
      process.kill(pid, 'SIGSTOP');
      // What it has sent already is run.
      await pause(5);
      if ((await client.query(inTransaction)).rowCount === 1) return stop.abort();
      process.kill(pid, 'SIGCONT');
      await pause(1 + (attempt % 7));
    }
    throw new Error('the process was never caught inside a batch');
  });
}

async function chargeOthers({ url }: Server, seconds = SECONDS): Promise<Stalled> {
  const endsAtMs = performance.now() + seconds * 1_000;
  const answers: Answer[] = [];
  const goesOn = (): boolean => performance.now() < endsAtMs;
  const held = chargeUntil(url, HELD, goesOn, []);
  await Promise.all(
    Array.from({ length: OTHERS }, (_, index) => chargeUntil(url, accountId(index + 1), goesOn, answers)),
  );
  await held;
  const tookMs = answers.map((answer) => answer.tookMs).sort((a, b) => a - b);
  const at = (part: number): number =>
    Math.round(tookMs[Math.floor((tookMs.length - 1) * part)] ?? Number.NaN);
  const statuses: Record<string, number> = {};
  for (const { status } of answers) statuses[status] = (statuses[status] ?? 0) + 1;
  return { p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(1), statuses };
}

type Answer = { readonly status: number; readonly tookMs: number };
let sent = 0;

/** One debit after the other. */
async function chargeUntil(
  url: string,
  account: string,
  goesOn: () => boolean,
  answers: Answer[],
): Promise<void> {
  while (goesOn()) {
    const startedAtMs = performance.now();
    const { status } = await fetch(`${url}/v1/debits`, {
      method: 'POST',
      headers: { authorization: `Bearer ${OPERATOR_KEY}`, 'content-type': 'application/json' },
      body: JSON.stringify({ account, reference: `stalls-${(sent += 1)}`, amount_micros: '1' }),
      signal: AbortSignal.timeout(ANSWER_MS_MAX),
    });
    if (status < 500 && status !== 201) throw new Error(`a debit was answered with ${status}`);
    answers.push({ status, tookMs: performance.now() - startedAtMs });
  }
}

export function stallTable(measured: Readonly<Record<string, Stalled>>): string {
  const rows = Object.entries(measured).map(([name, { p50Ms, p99Ms, maxMs, statuses }]) => {
    const answers = Object.entries(statuses).map(([status, count]) => `${count} × ${status}`);
    return `| ${name} | ${p50Ms} | ${p99Ms} | ${maxMs} | ${answers.join(', ')} |`;
  });
  return [
    '| what happens | p50 ms | p99 ms | max ms | answers |',
    '| --- | --- | --- | --- | --- |',
    ...rows,
  ].join('\n');
}
