import type pg from 'pg';
import type { CleanUp } from './clean-up.js';
import { bodyOf, publishRoute, UPSTREAM_KEY } from './images.js';
import { createLedger, startCluster, withClient } from './ledgers.js';
import { makeAccountKey, operate, startService, startSide, type Server } from './servers.js';
import { accountId } from './wallets.js';

export type StallOptions = {
  readonly dir: string;
  readonly cleanUp: CleanUp;
  readonly say: (text: string) => void;
};

type Answers = {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  readonly statuses: Readonly<Record<string, number>>;
};
/** By the kind of call; those of wallets that something has happened to apart from all others. */
export type Stalled = Readonly<Record<string, Answers>>;

const OTHERS = 20;
/** Of the others, those that make images, one after the other. */
const IMAGE_MAKERS = 4;
const HELD = accountId(OTHERS + 1);
const SECONDS = 8;
/** A batch is inside its tx for a part of a millisecond: the process is stopped until it is caught there. */
const CATCHES_MAX = 2_000;
const ANSWER_MS_MAX = 120_000;

const IN_TRANSACTION = `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'`;
/** The server process of each use that this one makes of its connections: the one that ran such a statement last. */
const SERVER_PROCESSES: Readonly<Record<string, Caught>> = {
  'of the engine hangs between two batches': { state: 'idle', condition: `query = 'COMMIT'` },
  'of the engine hangs inside a batch': {
    state: 'idle in transaction',
    condition: `pid IN (SELECT pid FROM pg_locks WHERE relation = 'wallets'::regclass AND mode = 'RowShareLock')`,
    // So that the table shows what becomes of its images as well.
    holdsOneOf: Array.from({ length: IMAGE_MAKERS }, (_, index) => accountId(index + 1)),
  },
  'that writes the records of calls hangs': {
    state: 'idle',
    condition: `query LIKE '%INSERT INTO generations AS%'`,
  },
  'that looks keys up hangs': {
    state: 'idle',
    condition: `query LIKE '%FROM api_keys WHERE secret_hash%'`,
  },
};
/** What a server process has just done, and in which state it is stopped. */
type Caught = {
  readonly state: 'idle' | 'idle in transaction';
  readonly condition: string;
  /** Accounts: it has locked the wallet of one of them at least. */
  readonly holdsOneOf?: readonly string[];
};

const lastThat = ({ state, condition }: Caught): string => `
  SELECT pid FROM pg_stat_activity
   WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = '${state}' AND ${condition}
   ORDER BY state_change DESC LIMIT 1`;
/** A wallet that a batch has locked is free again within milliseconds. */
const LOCKED = `
  SELECT account_id FROM wallets
   WHERE account_id NOT IN (SELECT account_id FROM (SELECT account_id FROM wallets FOR UPDATE SKIP LOCKED) AS free)`;
const LOCK_SAMPLES = 10;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Measures how long the debits and image calls of twenty wallets take in one process while something hangs that concerns another
 * wallet: a session that holds its row, another process inside a batch, a server process of this one.
 */
export async function measureStalls({ dir, cleanUp, say }: StallOptions): Promise<Record<string, Stalled>> {
  const cluster = await startCluster(dir, 'stalls', cleanUp);
  const ledger = await createLedger(cluster, 'bench_stalls', OTHERS + 1);
  const { url } = ledger;
  await publishRoute(url);
  const upstream = await startSide('sides/instant-upstream.ts', cleanUp);
  const env = {
    OPENAI_COMPATIBLE_API_KEY: UPSTREAM_KEY,
    OPENAI_COMPATIBLE_API_BASE: `${upstream.url}/v1`,
  };
  const [service, other] = await Promise.all([
    startService(ledger, cleanUp, env),
    startService(ledger, cleanUp, env),
  ]);
  const accounts = Array.from({ length: OTHERS + 1 }, (_, index) => accountId(index + 1));
  // A gateway's key and not that of the environment, which is never looked up.
  const { secret: gatewayKey } = (await operate(service, '/v1/operator_keys', {
    name: 'gateway',
    scopes: ['debits'],
  })) as { secret: string };
  const imageMakers = await Promise.all(
    accounts.slice(0, IMAGE_MAKERS).map(async (account) => {
      return { account, key: await makeAccountKey(service, account, ['generate']) };
    }),
  );
  const debtors = accounts.slice(IMAGE_MAKERS, OTHERS);
  const load = { gatewayKey, debtors, imageMakers };
  const measured: Record<string, Stalled> = {};
  const measure = async (name: string, stall: (settle: Settle) => Promise<Answered>) => {
    measured[name] = summaryOf(await stall((joined) => callOthers(service, { ...load, joined })));
    say(`stalls: ${name}: ${JSON.stringify(measured[name])}`);
  };
  await callOthers(service, load, 2);
  await measure('nothing', (settle) => settle());
  await measure('a session holds a wallet', (settle) =>
    withClient(url, async (client) => {
      await client.query('BEGIN');
      await client.query('SELECT FROM wallets WHERE account_id = $1 FOR UPDATE', [HELD]);
      return settle().finally(() => client.query('ROLLBACK'));
    }),
  );
  await measure('another process hangs inside a batch', async (settle) => {
    await stopInsideBatch(url, other, gatewayKey);
    return settle().finally(() => process.kill(other.pid, 'SIGCONT'));
  });
  for (const [what, caught] of Object.entries(SERVER_PROCESSES)) {
    await measure(`the server process ${what}`, async (settle) => {
      let join: () => void = () => undefined;
      const joined = new Promise<void>((resolve) => (join = resolve));
      // One batch has all wallets where their calls keep step. The process that hangs inside it must have some.
      if (caught.holdsOneOf === undefined) join();
      const running = settle(joined);
      // It is awaited below; until then, its failure must not end the process.
      running.catch(() => undefined);
      await pause(1_000);
      const pid = await stopServerProcess(url, caught);
      try {
        const own = caught.holdsOneOf === undefined ? new Set<string>() : await withClient(url, findLocked);
        join();
        return { ...(await running), own };
      } finally {
        process.kill(pid, 'SIGCONT');
      }
    });
  }
  return measured;
}

/**
 * Connections are shared by several uses: it is stopped until it is caught when it has just run such a statement, and waits for
 * the next one. One that is caught while it runs a statement goes on: it may hold what every other one needs to commit, and then the
 * server hangs and not a connection.
 */
function stopServerProcess(url: string, caught: Caught): Promise<number> {
  return withClient(url, async (client) => {
    for (let attempt = 0; attempt < CATCHES_MAX; attempt += 1) {
      const { rows } = await client.query<{ pid: number }>(lastThat(caught));
      const pid = rows[0]?.pid;
      if (pid === undefined) {
        await pause(1);
        continue;
      }
      process.kill(pid, 'SIGSTOP');
      const still = 'SELECT FROM pg_stat_activity WHERE pid = $1 AND state = $2';
      // Where it holds what every query needs, this one waits for it as well.
      const asked = client.query(still, [pid, caught.state]).then(({ rowCount }) => rowCount === 1);
      const isCaught = await Promise.race([asked, pause(200).then(() => false)]);
      const { holdsOneOf } = caught;
      const isWanted = async (): Promise<boolean> => {
        if (holdsOneOf === undefined) return true;
        const locked = await findLocked(client);
        return holdsOneOf.some((account) => locked.has(account));
      };
      if (isCaught && (await isWanted())) return pid;
      process.kill(pid, 'SIGCONT');
      await asked;
      await pause(1 + (attempt % 7));
    }
    throw new Error(`no server process was caught that has just run what fits ${caught.condition}`);
  });
}

/** The wallets that the stopped server process has locked: they are in all samples. */
async function findLocked(client: pg.Client): Promise<ReadonlySet<string>> {
  const samples: ReadonlySet<string>[] = [];
  while (samples.length < LOCK_SAMPLES) {
    const { rows } = await client.query<{ account_id: string }>(LOCKED);
    samples.push(new Set(rows.map((row) => row.account_id)));
    await pause(10);
  }
  const [first = new Set<string>(), ...rest] = samples;
  return new Set([...first].filter((id) => rest.every((sample) => sample.has(id))));
}

async function stopInsideBatch(
  url: string,
  { url: serviceUrl, pid }: Server,
  gatewayKey: string,
): Promise<void> {
  const stop = new AbortController();
  const load = callUntil(HELD, debitOf(serviceUrl, gatewayKey, HELD), () => !stop.signal.aborted, []);
  load.catch(() => undefined);
  await withClient(url, async (client) => {
    for (let attempt = 0; attempt < CATCHES_MAX; attempt += 1) {
      process.kill(pid, 'SIGSTOP');
      // What it has sent already is run.
      await pause(5);
      if ((await client.query(IN_TRANSACTION)).rowCount === 1) return stop.abort();
      process.kill(pid, 'SIGCONT');
      await pause(1 + (attempt % 7));
    }
    throw new Error('the process was never caught inside a batch');
  });
}

type Load = {
  readonly gatewayKey: string;
  readonly debtors: readonly string[];
  /** Of the wallets that make images. */
  readonly imageMakers: readonly ImageMakerService[];
  /** Every second wallet makes no call before. */
  readonly joined?: Promise<void> | undefined;
};
type Settle = (joined?: Promise<void>) => Promise<Answered>;
type ImageMakerService = { readonly account: string; readonly key: string };

async function callOthers(
  { url }: Server,
  { gatewayKey, debtors, imageMakers, joined }: Load,
  seconds = SECONDS,
): Promise<Answered> {
  const endsAtMs = performance.now() + seconds * 1_000;
  const goesOn = (): boolean => performance.now() < endsAtMs;
  const debits: Answer[] = [];
  const images: Answer[] = [];
  const notKept: Answer[] = [];
  const begin = async (index: number): Promise<void> => {
    if (index % 2 === 1) await joined;
  };
  await Promise.all([
    callUntil(HELD, debitOf(url, gatewayKey, HELD), goesOn, notKept),
    ...debtors.map(async (account, index) => {
      await begin(index);
      await callUntil(account, debitOf(url, gatewayKey, account), goesOn, debits);
    }),
    ...imageMakers.map(async ({ account, key }, index) => {
      await begin(index);
      await callUntil(account, imageOf(url, key), goesOn, images);
    }),
  ]);
  return { answers: { debits, images }, own: new Set() };
}

type Answered = {
  readonly answers: Readonly<Record<string, readonly Answer[]>>;
  /** The wallets that something has happened to. */
  readonly own: ReadonlySet<string>;
};

function summaryOf({ answers, own }: Answered): Stalled {
  const summaries = Object.entries(answers).flatMap(([kind, all]) => {
    const others = all.filter(({ account }) => !own.has(account));
    const rest = all.filter(({ account }) => own.has(account));
    const ofOthers = [kind, answersOf(others)] as const;
    return rest.length === 0
      ? [ofOthers]
      : [ofOthers, [`${kind} of its own wallets`, answersOf(rest)] as const];
  });
  return Object.fromEntries(summaries);
}

function answersOf(answers: readonly Answer[]): Answers {
  const tookMs = answers.map((answer) => answer.tookMs).sort((a, b) => a - b);
  const at = (part: number): number =>
    Math.round(tookMs[Math.floor((tookMs.length - 1) * part)] ?? Number.NaN);
  const statuses: Record<string, number> = {};
  for (const { status } of answers) statuses[status] = (statuses[status] ?? 0) + 1;
  return { p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(1), statuses };
}

type Answer = { readonly account: string; readonly status: number; readonly tookMs: number };
type Call = () => Promise<Response>;
let sent = 0;

const post = (url: string, key: string, body: string): Promise<Response> =>
  fetch(url, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body,
    signal: AbortSignal.timeout(ANSWER_MS_MAX),
  });

const debitOf =
  (url: string, key: string, account: string): Call =>
  () =>
    post(
      `${url}/v1/debits`,
      key,
      JSON.stringify({ account, reference: `stalls-${(sent += 1)}`, amount_micros: '1' }),
    );

const imageOf =
  (url: string, key: string): Call =>
  () =>
    post(`${url}/v1/images/generations`, key, bodyOf('jpeg', 'url'));

/** One call after the other. */
async function callUntil(
  account: string,
  call: Call,
  goesOn: () => boolean,
  answers: Answer[],
): Promise<void> {
  while (goesOn()) {
    const startedAtMs = performance.now();
    const answer = await call();
    const text = await answer.text();
    if (!answer.ok && answer.status < 500)
      throw new Error(`a call was answered with ${answer.status}: ${text}`);
    answers.push({ account, status: answer.status, tookMs: performance.now() - startedAtMs });
  }
}

export function stallTable(measured: Readonly<Record<string, Stalled>>): string {
  const rows = Object.entries(measured).flatMap(([name, kinds]) =>
    Object.entries(kinds).map(([kind, { p50Ms, p99Ms, maxMs, statuses }]) => {
      const answers = Object.entries(statuses).map(([status, count]) => `${count} × ${status}`);
      return `| ${name} | ${kind} | ${p50Ms} | ${p99Ms} | ${maxMs} | ${answers.join(', ')} |`;
    }),
  );
  return [
    '| what happens | calls | p50 ms | p99 ms | max ms | answers |',
    '| --- | --- | --- | --- | --- | --- |',
    ...rows,
  ].join('\n');
}
