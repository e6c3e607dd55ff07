import { randomBytes } from 'node:crypto';
import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { runMixedCalls, type MixedReport } from '../test/support/mixed-calls/run.js';
import { seededRandom } from '../test/support/seeded-random.js';
import type { CleanUp } from './clean-up.js';
import { createLedger, examine, startCluster } from './ledgers.js';
import { startSandbox } from './sandbox.js';
import { freePort, OPERATOR_KEY, startService } from './servers.js';

const UPSTREAM_KEY = 'bfl_mixed_calls_upstream_key';
/** Clients at the same time, over both processes. */
const CLIENTS = 64;
/** Of each of the eleven kinds: enough that no wallet's lock is what everybody waits for. */
const ACCOUNTS_OF_EACH_KIND = 4;
/** A dead call is found after half a minute, and looked at every ten seconds from then on. */
const SETTLED_WITHIN_MS = 60_000;
/** One URL in so many is fetched over HTTP; every stored image is decoded. */
const URLS_ONE_IN = 20;
const FAULTS_SHOWN_MAX = 20;

export type MixedLoad = {
  readonly requests: number;
  readonly dir: string;
  readonly cleanUp: CleanUp;
  readonly say: (text: string) => void;
};

/**
 * Random mixed calls over two service processes and an instant upstream, and the same judge as in
 * `test/process/mixed-calls.spec.ts`. Throws when it finds anything, or when the doctor does.
 */
export async function measureMixedCalls({ requests, dir, cleanUp, say }: MixedLoad): Promise<MixedReport> {
  const cluster = await startCluster(dir, 'mixed', cleanUp);
  const ledger = await createLedger(cluster, 'bench_mixed', 1);
  const { url: databaseUrl } = ledger;
  const upstream = await startSandbox(cleanUp);
  // Both keep their images in one place, so that either repeats what the other answered.
  const dataDir = await mkdtemp(join(dir, 'mixed-media-'));
  const masterKeys = `mixed:${randomBytes(32).toString('base64')}`;
  const ports = [await freePort(), await freePort()] as const;
  const start = async (port: number): Promise<string> => {
    const service = await startService(ledger, cleanUp, {
      PORT: `${port}`,
      PUBLIC_URL: `http://127.0.0.1:${ports[0]}`,
      COFFER_DATA_DIR: dataDir,
      COFFER_MASTER_KEYS: masterKeys,
      BFL_API_KEY: UPSTREAM_KEY,
      BFL_API_BASE: upstream.blackForestLabs,
      BFL_ACTIVE_TASKS_MAX: '1000',
      FREE_IMAGES_PER_DAY: '500',
      // What its faults make the services say would fill the screen.
      LOG_LEVEL: 'fatal',
    });
    return service.url;
  };
  const serviceUrls = [await start(ports[0]), await start(ports[1])] as const;
  const stage = {
    serviceUrls,
    operatorKey: OPERATOR_KEY,
    databaseUrl,
    dataDir,
    upstreamUrl: upstream.blackForestLabs,
    upstreamKey: UPSTREAM_KEY,
  };
  const report = await runMixedCalls(stage, {
    random: seededRandom('mixed calls'),
    requests,
    ofEachKind: ACCOUNTS_OF_EACH_KIND,
    slowFaults: true,
    clients: CLIENTS,
    settledWithinMs: SETTLED_WITHIN_MS,
    urlsOneIn: URLS_ONE_IN,
    say,
  });
  if (report.faults.length > 0) {
    say(mixedTable(report));
    const shown = report.faults.slice(0, FAULTS_SHOWN_MAX).join('\n');
    throw new Error(`the judge found ${report.faults.length} faults:\n${shown}`);
  }
  await examine(databaseUrl);
  return report;
}

/** Markdown. */
export function mixedTable({ requests, seconds, outcomes, totals }: MixedReport): string {
  const line = (counts: Readonly<Record<string, number>>): string[] =>
    Object.entries(counts).map(([name, count]) => `| ${name} | ${count} |`);
  return [
    '',
    `${requests} requests in ${seconds.toFixed(0)} s (${Math.round(requests / seconds)}/s), two processes, ${CLIENTS} clients`,
    '',
    '| what came of them | how often |',
    '|---|---:|',
    ...line(outcomes),
    '',
    '| what was left | how many |',
    '|---|---:|',
    ...line(totals),
  ].join('\n');
}
