import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runMixedCalls, type MixedReport } from '../test/support/mixed-calls/run.js';
import { seededRandom } from '../test/support/seeded-random.js';
import { startUpstream } from './gateway.js';
import { freePort, OPERATOR_KEY, startService, type Service } from './service.js';

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

/**
 * Random mixed calls over two service processes and an instant upstream, and the same judge as in
 * `test/process/mixed-calls.spec.ts`. Throws when it finds anything, or when the doctor does.
 */
export async function measureMixedCalls(
  databaseUrl: string,
  requests: number,
  say: (text: string) => void,
): Promise<MixedReport> {
  // Both keep their images in one place, so that either repeats what the other answered.
  const dataDir = await mkdtemp(join(tmpdir(), 'coffer-bench-mixed-'));
  const upstream = await startUpstream();
  const services: Service[] = [];
  try {
    const masterKeys = `mixed:${randomBytes(32).toString('base64')}`;
    const ports = [await freePort(), await freePort()] as const;
    const start = async (port: number): Promise<string> => {
      const service = await startService(databaseUrl, {
        PORT: `${port}`,
        PUBLIC_URL: `http://127.0.0.1:${ports[0]}`,
        COFFER_DATA_DIR: dataDir,
        COFFER_MASTER_KEYS: masterKeys,
        BFL_API_KEY: UPSTREAM_KEY,
        BFL_API_BASE: upstream.url,
        BFL_ACTIVE_TASKS_MAX: '1000',
        FREE_IMAGES_PER_DAY: '500',
        // What its faults make the services say would fill the screen.
        LOG_LEVEL: 'fatal',
      });
      services.push(service);
      return service.url;
    };
    const serviceUrls = [await start(ports[0]), await start(ports[1])] as const;
    const report = await runMixedCalls(
      {
        serviceUrls,
        operatorKey: OPERATOR_KEY,
        databaseUrl,
        dataDir,
        upstreamUrl: upstream.url,
        upstreamKey: UPSTREAM_KEY,
      },
      {
        random: seededRandom('mixed calls'),
        requests,
        ofEachKind: ACCOUNTS_OF_EACH_KIND,
        slowFaults: true,
        clients: CLIENTS,
        settledWithinMs: SETTLED_WITHIN_MS,
        urlsOneIn: URLS_ONE_IN,
        say,
      },
    );
    say(mixedTable(report));
    if (report.faults.length > 0) {
      const shown = report.faults.slice(0, FAULTS_SHOWN_MAX).join('\n');
      throw new Error(`the judge found ${report.faults.length} faults:\n${shown}`);
    }
    return report;
  } finally {
    for (const service of services) await service.stop();
    await upstream.stop();
    await rm(dataDir, { recursive: true, force: true });
  }
}

/** Markdown, ready for docs/PERFORMANCE.md. */
function mixedTable({ requests, seconds, outcomes, totals }: MixedReport): string {
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
