import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, describe, expect, it } from '@jest/globals';
import { addedP99Ms, debitBars, imageBars, verdictOf } from '../../bench/bars.js';
import { CleanUp } from '../../bench/clean-up.js';
import { cpuMsOf, parseStat, sumMs, treeOf } from '../../bench/cpu.js';
import { measureTurn, ratioTo, record, type Measured, type Results } from '../../bench/measure.js';
import { readOptions } from '../../bench/options.js';
import { barTable, debitTable, replaceBetweenMarkers, table } from '../../bench/report.js';
import { median, medianRatio, quantile } from '../../bench/statistics.js';
import { readProgress, readTimings, readWrk } from '../../bench/tools.js';

describe('the figures of the benchmark', () => {
  it('have the middle round as their median, or the mean of the two in the middle', () => {
    expect(median([9, 1, 5])).toBe(5);
    expect(median([4, 1, 3, 2])).toBe(2.5);
    expect(median([])).toBeNaN();
  });

  it('compare each round with itself before the median is taken', () => {
    // The machine was ten times slower in the second round, for both sides.
    expect(medianRatio([1, 20, 3], [2, 40, 4])).toBe(0.5);
    expect(medianRatio([1, 2, 3], [2])).toBeNaN();
  });

  it('have quantiles by nearest rank', () => {
    const hundred = Array.from({ length: 100 }, (_, index) => 100 - index);
    expect([0, 0.5, 0.99, 1].map((share) => quantile(hundred, share))).toEqual([1, 50, 99, 100]);
    expect(quantile([], 0.5)).toBeNaN();
  });
});

describe('the CPU of a side', () => {
  let child: ChildProcess | null = null;
  afterEach(() => void child?.kill('SIGKILL'));

  const stat = (
    pid: number,
    name: string,
    parent: number,
    [user, system, reapedUser, reapedSystem]: number[],
  ) =>
    `${pid} (${name}) S ${parent} 1 1 0 -1 4194560 5 0 0 0 ${user} ${system} ${reapedUser} ${reapedSystem} 20 0 1 0 7`;

  it('is read from the fields of a stat file, whatever the process is called', () => {
    expect(parseStat(stat(42, 'a) S 9 (b', 7, [3, 4, 50, 60]))).toEqual({
      pid: 42,
      parent: 7,
      ownMs: 70,
      reapedMs: 1_100,
    });
    for (const text of ['', '42 (postgres', '42 (postgres) S']) expect(parseStat(text)).toBeNull();
  });

  it('adds up the process with all its descendants, and no one else', () => {
    const all = [
      stat(1, 'init', 0, [9, 9, 9, 9]),
      stat(12, 'backend', 10, [1, 0, 0, 0]),
      stat(10, 'postmaster', 1, [1, 1, 5, 5]),
      stat(13, 'helper', 12, [2, 0, 0, 1]),
      stat(20, 'another', 1, [100, 100, 0, 0]),
    ].flatMap((text) => parseStat(text) ?? []);
    expect(treeOf(10, all).map(({ pid }) => pid)).toEqual([10, 12, 13]);
    expect(sumMs(treeOf(10, all))).toBe(160);
    expect(treeOf(99, all)).toEqual([]);
  });

  it('keeps what children have used that have ended', async () => {
    const busy = 'while (process.cpuUsage().user < 200_000);';
    const program = `require('child_process').spawnSync(process.execPath, ['-e', ${JSON.stringify(busy)}]);
                     console.log(process.cpuUsage().user / 1e3); setInterval(() => undefined, 1e6);`;
    child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [printed] = (await once(child.stdout as NonNullable<typeof child.stdout>, 'data')) as [Buffer];
    const withoutChildrenMs = Number(printed.toString());
    expect(cpuMsOf(child.pid ?? 0)).toBeGreaterThan(withoutChildrenMs + 150);
  });

  it('is refused for a process that is gone', () => {
    expect(() => cpuMsOf(2 ** 22 + 1)).toThrow('has ended');
  });

  it('is divided by the calls of the window that the load opened and closed', async () => {
    const measured = await measureTurn({ service: process.pid }, (window) => {
      window.opened();
      const before = process.cpuUsage().user;
      // Where a thread ends in this window, only the kernel's ticks of 10 ms are left: the window is long enough for them.
      while (process.cpuUsage().user < before + 250_000);
      window.closed();
      return Promise.resolve({ calls: 10, perSecond: 5 });
    });
    expect(measured.cpuMicros['service']).toBeGreaterThan(20_000);
    expect(measured.cpuMicros['service']).toBeLessThan(250_000);
    const nothing = (): Promise<{ calls: number; perSecond: number }> =>
      Promise.resolve({ calls: 0, perSecond: 0 });
    await expect(measureTurn({}, nothing)).rejects.toThrow('not a single call');
  });
});

describe('what the load generators print', () => {
  const printed = `Running 2s test @ http://127.0.0.1:1
  Latency Distribution
     50%    1.50s
     75%  900.00us
     99%   12.25ms
  5120 requests in 2.00s, 3.21MB read
Requests/sec:   2559.47`;

  it('is read with its units', () => {
    expect(readWrk(printed)).toEqual({ calls: 5_120, perSecond: 2_559.47, p50Ms: 1_500, p99Ms: 12.25 });
  });

  it('is refused when a single call was: a refusal must never pass for speed', () => {
    for (const line of [
      '  Non-2xx or 3xx responses: 1',
      '  Socket errors: connect 0, read 1, write 0, timeout 0',
    ]) {
      expect(() => readWrk(`${printed}\n${line}`)).toThrow('refused');
    }
    expect(() => readWrk('unable to connect')).toThrow('no /');
  });

  it('is read from the progress and the log of pgbench', () => {
    expect(readProgress('progress: 3.0 s, 3345.2 tps, lat 4.776 ms stddev 1.2, 0 failed')).toBe(3_345.2);
    expect(readProgress('pgbench (15.1)')).toBeNull();
    const log = '0 1 250 0 100 999999\n0 2 300 0 101 0\n0 3 350 0 101 500000\n';
    expect(readTimings(log, 101e6)).toEqual([300, 350]);
  });
});

describe('the results of the benchmark', () => {
  const measured = (perSecond: number, cpu: number, p99Ms = 1): Measured => ({
    calls: perSecond,
    perSecond,
    cpuMicros: { service: cpu - 10, postgres: 10 },
    p50Ms: 1,
    p99Ms,
  });
  const resultsOf = (entries: readonly (readonly [string, string, Measured])[]): Results => {
    const results: Results = {};
    for (const [name, side, each] of entries) record(results, name, side, each);
    return results;
  };

  it('compare CPU and rate with the other side of the same case, or of the one that fits', () => {
    const results = resultsOf([
      ['spread64', 'plain', measured(1_000, 500)],
      ['spread64', 'coffer', measured(2_000, 200)],
      ['batches', 'coffer', measured(4_000, 50)],
    ]);
    expect(ratioTo(results, 'spread64', 'plain', 'cpu')).toBeCloseTo(0.4);
    expect(ratioTo(results, 'batches', 'plain', 'cpu', 'spread64')).toBeCloseTo(0.1);
    expect(ratioTo(results, 'batches', 'plain', 'cpu')).toBeUndefined();
    const verdicts = new Map(debitBars(results).map((bar) => [bar.title, verdictOf(bar)]));
    expect(verdicts.get('64 connections: CPU against plain SQL')).toBe('not reached');
    expect(verdicts.get('64 connections: rate against plain SQL')).toBe('reached');
    expect(verdicts.get('batches of 500, 4 connections: CPU against plain SQL')).toBe('reached');
    expect(verdicts.get('16 connections: CPU against plain SQL')).toBe('not measured');
    const text = debitTable(results);
    expect(text).toContain('2,000/s, 200 µs (service 190 µs, postgres 10 µs)');
    expect(text).toContain('0.40x (2.00x)');
    expect(text).not.toContain('bare handler');
  });

  it('compare what each side adds to the time of the upstream, and nothing where the upstream itself was slower', () => {
    const half = 'half jpeg b64_json';
    const results = resultsOf([
      [half, 'coffer', measured(50, 1, 32)],
      [half, 'proxy', measured(200, 1, 7)],
      [half, 'upstream', measured(200, 1, 2)],
    ]);
    expect(addedP99Ms(results, 'jpeg b64_json', 'coffer')).toBe(30);
    const added = (of: Results) =>
      imageBars(of).find(({ title }) => title === 'JPEG as b64_json: p99 added against the bare proxy');
    expect(added(results)).toMatchObject({ value: 6, limit: 5 });
    record(results, half, 'upstream', measured(200, 1, 20));
    const slowUpstream = added(results);
    expect(slowUpstream?.value).toBeNaN();
    expect(slowUpstream && verdictOf(slowUpstream)).toBe('not measured');
  });

  it('say of every aim what was measured and whether it was reached', () => {
    const bars = [
      { title: 'a', value: 0.0551, limit: 0.055, isAtMost: true },
      { title: 'b', value: 12, limit: 12, isAtMost: false },
      { title: 'c', value: undefined, limit: 1, isAtMost: true },
    ];
    expect(barTable(bars).split('\n').slice(2)).toEqual([
      '| a | 0.055x | at most 0.055x | not reached |',
      '| b | 12.00x | at least 12x | reached |',
      '| c |  | at most 1x | not measured |',
    ]);
  });

  it('are written between their markers and nowhere else', () => {
    const page = '# Page\n<!-- bench:debits -->\nold\n<!-- /bench:debits -->\nafter\n';
    const written = replaceBetweenMarkers(page, 'debits', table(['a'], [['1']]));
    expect(written).toBe(
      '# Page\n<!-- bench:debits -->\n\n| a |\n| --- |\n| 1 |\n\n<!-- /bench:debits -->\nafter\n',
    );
    expect(replaceBetweenMarkers(written, 'debits', table(['a'], [['1']]))).toBe(written);
    expect(() => replaceBetweenMarkers(page, 'images', 'x')).toThrow('no place for images');
  });
});

describe('the options of the benchmark', () => {
  it('are the main tables unless said otherwise', () => {
    expect(readOptions([])).toMatchObject({ seconds: 2, rounds: 3, tigerBeetle: null, docs: false });
    expect([...readOptions([]).parts]).toEqual(['debits', 'images']);
    expect(readOptions(['--quick', '--rounds', '2'])).toMatchObject({ seconds: 1, rounds: 2 });
    expect([...readOptions(['--only', 'race, mixed']).parts]).toEqual(['race', 'mixed']);
    expect(readOptions(['--flood', 'edits, reads']).flood).toEqual(['edits', 'reads']);
    expect(readOptions(['--tigerbeetle', '127.0.0.1:3000', '--tigerbeetle-pid', '7']).tigerBeetle).toEqual({
      address: '127.0.0.1:3000',
      pid: 7,
    });
  });

  it.each([
    [['--seconds', '0'], '--seconds must be a whole number, at least 1'],
    [['--rounds', '1.5'], '--rounds must be'],
    [['--only', 'debit'], '--only must name some of'],
    [['--with', 'tigerbeetle'], 'needs the address of a running server'],
    [['--with', 'postgres'], '--with knows one side'],
    [['--flood', 'edits,rain'], '--flood must name some of'],
    [['--what'], "Unknown option '--what'"],
  ])('refuse %j', (args, message) => {
    expect(() => readOptions(args)).toThrow(message);
  });
});

describe('cleaning up after a benchmark', () => {
  it('undoes everything once, the last thing first, whatever fails', async () => {
    const done: string[] = [];
    const cleanUp = new CleanUp((error) => void done.push(String(error)));
    cleanUp.add(() => void done.push('directory'));
    cleanUp.add(() => Promise.reject(new Error('no such process')));
    cleanUp.add(() => Promise.resolve(done.push('service')));
    await Promise.all([cleanUp.run(), cleanUp.run()]);
    expect(done).toEqual(['service', 'Error: no such process', 'directory']);
  });

  it('undoes at once what is started after it has begun', async () => {
    const done: string[] = [];
    const cleanUp = new CleanUp();
    await cleanUp.run();
    cleanUp.add(() => void done.push('late'));
    await cleanUp.run();
    expect(done).toEqual(['late']);
  });
});
