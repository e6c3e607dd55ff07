/**
 * `npm run bench`: what Coffer costs next to what else could do its work. It fails when books do not agree afterwards, or when a
 * refused request took more CPU than it may; all other times it only measures. `npm run bench -- --help` names its options,
 * docs/PERFORMANCE.md says what it compares.
 */
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { format, resolveConfig } from 'prettier';
import { debitBars, imageBars, verdictOf, type Bar } from './bars.js';
import { CleanUp } from './clean-up.js';
import { measureDebits } from './debits.js';
import { measureImages } from './images.js';
import { fairnessTable, measureFairness } from './fairness.js';
import type { Results } from './measure.js';
import { measureMixedCalls, mixedTable } from './mixed.js';
import { describeMachine, HELP, readOptions, UsageError, type Options } from './options.js';
import { describeRace, raceForCredit } from './race.js';
import { barTable, debitTable, imageTable, replaceBetweenMarkers } from './report.js';
import { areCheap, measureRefusals, refusalTable } from './refusals.js';
import { measureStalls, stallTable } from './stalls.js';
import { requireTigerBeetle } from './tigerbeetle.js';
import { here, killTools, requireTools } from './tools.js';
import { measureWebhooks, webhookTable } from './webhooks.js';

const PERFORMANCE = here('../docs/PERFORMANCE.md');
const cleanUp = new CleanUp();
const say = (text: string): void => console.log(text);

/** Runs a part on servers of its own, which are gone before the next part begins. */
async function onItsOwn<T>(work: (part: CleanUp) => Promise<T>): Promise<T> {
  const part = new CleanUp();
  cleanUp.add(() => part.run());
  try {
    return await work(part);
  } finally {
    await part.run();
  }
}

async function run(options: Options): Promise<void> {
  const { parts, seconds, rounds, tigerBeetle } = options;
  requireTools(parts.has('debits') ? ['wrk', 'pgbench'] : parts.has('images') ? ['wrk'] : []);
  if (tigerBeetle !== null) requireTigerBeetle();
  const dir = await mkdtemp(join(tmpdir(), 'coffer-bench-'));
  cleanUp.add(() => rm(dir, { recursive: true, force: true, maxRetries: 20 }));
  cleanUp.add(killTools);
  // Database servers that run as another user than root must be able to traverse it.
  await chmod(dir, 0o711);

  const machine = describeMachine();
  say(machine);
  const measured: Record<string, unknown> = { machine, seconds, rounds };
  const tables = new Map<string, string>();
  const keep = async (name: string, result: unknown, text: string): Promise<void> => {
    measured[name] = result;
    say(`\n${text}\n`);
    // After every part, so that what was measured outlives a failure of the next.
    if (options.json !== null) await writeFile(options.json, JSON.stringify(measured, null, 2));
  };
  const turns = `Medians of ${rounds} rounds in turns of ${seconds} s: ${machine}.`;
  const publish = async (name: string, result: unknown, about: string, text: string): Promise<void> => {
    tables.set(name, [about, text].join('\n\n'));
    await keep(name, result, tables.get(name) ?? '');
  };
  const keepTables = async (name: string, results: Results, bars: readonly Bar[], text: string) => {
    const verdicts = bars.map((bar) => ({ ...bar, verdict: verdictOf(bar) }));
    await publish(name, { results, bars: verdicts }, turns, [text, barTable(bars)].join('\n\n'));
  };
  const common = { seconds, rounds, dir, say };

  if (parts.has('debits')) {
    const { rows } = options;
    const results = await onItsOwn((part) => measureDebits({ ...common, rows, tigerBeetle, cleanUp: part }));
    await keepTables('debits', results, debitBars(results), debitTable(results));
  }
  if (parts.has('images')) {
    const results = await onItsOwn((part) => measureImages({ ...common, cleanUp: part }));
    await keepTables('images', results, imageBars(results), imageTable(results));
  }
  if (parts.has('webhooks')) {
    const load = { topUpsPerSecond: options['top-ups'], debitsPerSecond: options.debits, seconds, rounds };
    const result = await onItsOwn((part) => measureWebhooks({ load, dir, cleanUp: part, say }));
    await publish('webhooks', result, turns, webhookTable(result));
  }
  if (parts.has('race')) {
    const { calls, images } = options;
    const result = await onItsOwn((part) => raceForCredit({ calls, images, dir, cleanUp: part }));
    await keep('race', result, describeRace(result));
  }
  if (parts.has('mixed')) {
    const result = await onItsOwn((part) =>
      measureMixedCalls({ requests: options.mixed, dir, cleanUp: part, say }),
    );
    await keep('mixed', result, mixedTable(result));
  }
  if (parts.has('refusals')) {
    const result = await onItsOwn((part) => measureRefusals({ dir, cleanUp: part, say }));
    await publish('refusals', result, `${machine}.`, refusalTable(result));
    if (!areCheap(result)) process.exitCode = 1;
  }
  if (parts.has('fairness')) {
    const { flood, 'flood-seconds': floodSeconds } = options;
    const result = await onItsOwn((part) =>
      measureFairness({ flood, seconds: floodSeconds, dir, cleanUp: part, say }),
    );
    await publish('fairness', result, `${machine}.`, fairnessTable(result));
  }
  if (parts.has('stalls')) {
    const result = await onItsOwn((part) => measureStalls({ dir, cleanUp: part, say }));
    await publish('stalls', result, `${machine}.`, stallTable(result));
  }
  if (options.docs) await writeDocs(tables);
}

/** Formatted as `npm run lint` wants it. */
async function writeDocs(tables: ReadonlyMap<string, string>): Promise<void> {
  let document = await readFile(PERFORMANCE, 'utf8');
  for (const [name, text] of tables) document = replaceBetweenMarkers(document, name, text);
  const style = await resolveConfig(PERFORMANCE);
  await writeFile(PERFORMANCE, await format(document, { ...style, filepath: PERFORMANCE }));
  say(`Wrote ${[...tables.keys()].join(' and ')} into docs/PERFORMANCE.md`);
}

/** What fails because everything is being stopped needs no report. */
let isStopping = false;

/** Ctrl-C reaches the children of a terminal as well; what they leave is cleaned up here. */
function endOnSignals(): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      say(`\n${signal}: stopping what was started. Again: leave it as it is.`);
      process.once(signal, () => process.exit(1));
      isStopping = true;
      void cleanUp.run().then(() => process.exit(130));
    });
  }
}

endOnSignals();
try {
  const options = readOptions(process.argv.slice(2));
  if (options.help) say(HELP);
  else await run(options);
} catch (error) {
  if (!isStopping) console.error(error instanceof UsageError ? error.message : error);
  process.exitCode = 1;
} finally {
  await cleanUp.run();
}
