import { DataSource } from 'typeorm';
import { ModelUsageService } from '../src/gateway/catalog/ranking/model-usage.service.js';
import { applicationDataSourceOptions } from '../src/platform/database/data-source.js';
import { TransactionRunner } from '../src/platform/database/transaction-runner.js';
import { usageLimits } from '../src/gateway/usage/usage-limits.js';
import { UsageRollUpService } from '../src/gateway/usage/usage-roll-up.service.js';
import type { CleanUp } from './clean-up.js';
import {
  audit,
  createLeanLedger,
  createLedger,
  createPlainLedger,
  examine,
  startCluster,
  withClient,
  type Ledger,
} from './ledgers.js';
import { fillLeanLedger, fillLedger, fillPlainLedger } from './fill-ledgers.js';
import { measureTurn, record, type Load, type Measured, type Results } from './measure.js';
import { OPERATOR_KEY, startService, startSide, type Server } from './servers.js';
import { startTigerBeetleSide } from './tigerbeetle.js';
import { pgbench, pgbenchLatency, wrk, type LoadResult } from './tools.js';
import { HOT_WALLET, SPREAD_WALLETS } from './wallets.js';

export type DebitOptions = {
  readonly seconds: number;
  readonly rounds: number;
  /** Debits that every ledger has before anything is measured. */
  readonly rows: number;
  /** Of a TigerBeetle server, and the id of its process where that is known. */
  readonly tigerBeetle: { readonly address: string; readonly pid: number | null } | null;
  readonly dir: string;
  readonly cleanUp: CleanUp;
  readonly say: (text: string) => void;
};

const BATCH_ITEMS = 500;
const WARM_UP_SECONDS = 4;
const SPREAD = { first: 1, last: SPREAD_WALLETS };
const HOT = { first: HOT_WALLET, last: HOT_WALLET };

type Wallets = typeof SPREAD;
type Turn = () => Promise<Measured>;
type Side = {
  debit(wallets: Wallets, connections: number, seconds?: number): Turn;
  batches?(connections: number): Turn;
  lone?(): Turn;
  holdAndCapture?(connections: number): Turn;
};

/**
 * Debits through the service, and through what else could keep them. The sides take turns in every case of every round, so
 * that whatever else the machine does falls on all of them. Throws when any of the books do not agree afterwards.
 */
export async function measureDebits(options: DebitOptions): Promise<Results> {
  const { seconds, rounds, say } = options;
  const { sides, proveBooks } = await openSides(options);
  say('debits: warming up');
  // The service's code is compiled while it runs; a database server has nothing to compile.
  await sides['coffer']?.debit(SPREAD, 64, WARM_UP_SECONDS)();
  const results: Results = {};
  for (let round = 1; round <= rounds; round += 1) {
    for (const [name, turnOf] of Object.entries(CASES)) {
      for (const [sideName, side] of Object.entries(sides)) {
        const measured = await turnOf(side)?.();
        if (measured === undefined) continue;
        record(results, name, sideName, measured);
        const cpu = Object.entries(measured.cpuMicros).map(
          ([part, micros]) => `${part} ${micros.toFixed(0)}`,
        );
        say(
          `round ${round}: ${name}: ${sideName}: ${measured.perSecond.toFixed(0)}/s, ${cpu.join(' + ')} us of CPU`,
        );
      }
    }
  }
  await proveBooks();
  say(`debits: ${seconds} s a turn, ${rounds} rounds; all books agree`);
  return results;
}

/** Undefined where a side has nothing to compare. */
const CASES: Readonly<Record<string, (side: Side) => Turn | undefined>> = {
  spread16: (side) => side.debit(SPREAD, 16),
  spread64: (side) => side.debit(SPREAD, 64),
  spread256: (side) => side.debit(SPREAD, 256),
  hot64: (side) => side.debit(HOT, 64),
  batches: (side) => side.batches?.(4),
  lone: (side) => side.lone?.(),
  hold64: (side) => side.holdAndCapture?.(64),
};

async function openSides(options: DebitOptions) {
  const { dir, cleanUp, rows, tigerBeetle, say } = options;
  say('debits: preparing a database server and ledger for each side');
  const [ours, plain, lean] = await Promise.all(
    ['coffer', 'plain', 'lean'].map((name) => startCluster(dir, name, cleanUp)),
  );
  if (ours === undefined || plain === undefined || lean === undefined) throw new Error('no server');
  const [ledger, plainLedger, leanLedger] = await Promise.all([
    createLedger(ours, 'bench_coffer'),
    createPlainLedger(plain),
    createLeanLedger(lean),
  ]);
  if (rows > 0) {
    say(`debits: growing each ledger to ${rows} rows`);
    await fillLedger(ledger.url, rows);
    await fillPlainLedger(plainLedger.url, rows);
    await fillLeanLedger(leanLedger.url, rows);
  }
  const service = await startService(ledger, cleanUp);
  const usage = await openUsage(ledger.url, cleanUp);
  const floor = await startSide('sides/bare-handler.ts', cleanUp, { OPERATOR_KEY });
  const { seconds } = options;
  const sides: Record<string, Side> = {
    coffer: cofferSide({ service, ledger, usage, seconds }),
    plain: plainSide(plainLedger, options),
    lean: leanSide(leanLedger, options),
    floor: floorSide(floor, options),
  };
  if (tigerBeetle !== null) {
    const server = await startTigerBeetleSide(tigerBeetle.address, cleanUp);
    sides['tigerbeetle'] = tigerBeetleSide(server, tigerBeetle.pid, options);
  }
  const proveBooks = async (): Promise<void> => {
    await examine(ledger.url);
    await audit(plainLedger.url, 'plain-audit');
    await audit(leanLedger.url, 'lean-audit');
  };
  return { sides, proveBooks };
}

type CofferParts = {
  readonly service: Server;
  readonly ledger: Ledger;
  readonly usage: UsageRollUpService;
  readonly seconds: number;
};

function cofferSide({ service, ledger, usage, seconds }: CofferParts): Side {
  const parts = { service: service.pid, postgres: ledger.pid };
  /**
   * Refuses a result that is better than what the ledger shows: a batch is answered with 200 even if its items fail. At the end
   * of a load of holds and captures, each connection may leave a hold that was not captured any more.
   */
  const proven =
    (connections: number, load: Load): Turn =>
    async () => {
      const before = await chargesOf(ledger.url);
      const measured = await measureTurn(parts, load);
      const charged = (await chargesOf(ledger.url)) - before;
      if (charged < measured.calls - connections) {
        throw new Error(`${measured.calls} debits were answered and ${charged} were charged`);
      }
      return measured;
    };
  const http = (
    script: string,
    wallets: Wallets,
    connections: number,
    { items = 1, lasts = seconds } = {},
  ): Turn =>
    proven(connections, async (window) => {
      const env = { ...loadEnv(wallets), ITEMS: `${items}` };
      const loadOnly = { opened: () => window.opened(), closed: () => undefined };
      const result = await wrk(service.url, { script, connections, seconds: lasts, env }, loadOnly);
      // The service adds up usage once a minute, mostly while another side is measured: the work counts where it was made.
      await usage.catchUp();
      window.closed();
      return timesItems(result, items);
    });
  return {
    debit: (wallets, connections, lasts = seconds) => http('load/debit.lua', wallets, connections, { lasts }),
    batches: (connections) => http('load/batch.lua', SPREAD, connections, { items: BATCH_ITEMS }),
    lone: () => http('load/debit.lua', SPREAD, 1),
    // Two requests are one call.
    holdAndCapture: (connections) => http('load/hold-capture.lua', SPREAD, connections, { items: 1 / 2 }),
  };
}

function plainSide({ url, pid }: Ledger, { seconds }: DebitOptions): Side {
  const debit = (variables: Wallets, connections: number): Turn => {
    const load = { script: 'sql/plain-debit.sql', connections, seconds, variables };
    return () => measureTurn({ postgres: pid }, (window) => pgbench(url, load, window));
  };
  return {
    debit,
    holdAndCapture(connections) {
      const load = { script: 'sql/plain-hold-capture.sql', connections, seconds, variables: SPREAD };
      return () => measureTurn({ postgres: pid }, (window) => pgbench(url, load, window));
    },
  };
}

function leanSide({ url, pid }: Ledger, { seconds }: DebitOptions): Side {
  const script = 'sql/lean-debit.sql';
  return {
    debit: (variables, connections) => () =>
      measureTurn({ postgres: pid }, (window) =>
        pgbench(url, { script, connections, seconds, variables }, window),
      ),
    lone: () => () =>
      measureTurn({ postgres: pid }, (window) =>
        pgbenchLatency(url, { script, seconds, variables: SPREAD }, window),
      ),
  };
}

function floorSide({ url, pid }: Server, { seconds }: DebitOptions): Side {
  return {
    debit: (wallets, connections) => () =>
      measureTurn({ service: pid }, (window) =>
        wrk(url, { script: 'load/debit.lua', connections, seconds, env: loadEnv(wallets) }, window),
      ),
  };
}

function tigerBeetleSide({ url, pid }: Server, serverPid: number | null, { seconds }: DebitOptions): Side {
  // Without the server's process its CPU cannot be read, and a figure without it would flatter that side.
  const parts = serverPid === null ? {} : { service: pid, tigerbeetle: serverPid };
  const http = (script: string, wallets: Wallets, connections: number, items = 1): Turn => {
    const env = { ...loadEnv(wallets), ITEMS: `${items}` };
    return () =>
      measureTurn(parts, async (window) =>
        timesItems(await wrk(url, { script, connections, seconds, env }, window), items),
      );
  };
  return {
    debit: (wallets, connections) => http('load/debit.lua', wallets, connections),
    batches: (connections) => http('load/batch.lua', SPREAD, connections, BATCH_ITEMS),
    lone: () => http('load/debit.lua', SPREAD, 1),
  };
}

/** What the service does once a minute with the charges of that minute; all of it but a little is the database's work. */
async function openUsage(url: string, cleanUp: CleanUp): Promise<UsageRollUpService> {
  const dataSource = new DataSource({ ...applicationDataSourceOptions(url, 1), entities: [] });
  await dataSource.initialize();
  cleanUp.add(() => dataSource.destroy());
  return new UsageRollUpService(
    dataSource,
    new TransactionRunner(dataSource, 1),
    new ModelUsageService(),
    usageLimits,
  );
}

let loads = 0;

/** Every load has references of its own. */
function loadEnv({ first, last }: Wallets): Record<string, string> {
  loads += 1;
  return { FIRST: `${first}`, LAST: `${last}`, PREFIX: `${Date.now()}-${loads}`, OPERATOR_KEY };
}

function timesItems(result: LoadResult, items: number): LoadResult {
  return { ...result, calls: result.calls * items, perSecond: result.perSecond * items };
}

/** Rows of all customers' chains; reading the wallets' heads is cheap, and exact. */
function chargesOf(url: string): Promise<number> {
  return withClient(url, async (client) => {
    const { rows } = await client.query<{ rows: string }>('SELECT sum(seq) AS rows FROM wallets');
    return Number(rows[0]?.rows);
  });
}
