import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, describe, expect, it, jest } from '@jest/globals';
import { findUnsetAllocatorSettings } from '../../src/platform/config/allocator-settings.js';
import { CHAOS_TIMEOUT_MS, CleanUp } from '../support/clean-up.js';
import {
  chooseServicePort,
  createDataDir,
  removeDataDir,
  ServiceProcess,
} from '../support/process/service-process.js';

const PROJECT = path.join(import.meta.dirname, '../..');
const DECODE = path.join(import.meta.dirname, '../support/process/decode-pictures.mjs');
/** Of what is set, or a default: `NAME=${NAME:-value}`. */
const DEFAULT = /(MALLOC_\w+)=\$\{\1:-(\d+)\}/g;
/** Without the settings it is 700 MiB and more, with them 80; a part of those is the code of the decoders. */
const LEFT_MIB_MAX = 250;

const cleanUp = new CleanUp();
jest.setTimeout(CHAOS_TIMEOUT_MS);
afterAll(() => cleanUp.run());

const run = promisify(execFile);
const isGlibc = 'glibcVersionRuntime' in (process.report.getReport() as { header: object }).header;
const read = (file: string): Promise<string> => readFile(path.join(PROJECT, file), 'utf8');

async function script(name: string): Promise<string> {
  const { scripts } = JSON.parse(await read('package.json')) as { scripts: Record<string, string> };
  return scripts[name] ?? '';
}

describe('memory that decoding pictures took', () => {
  (isGlibc ? it : it.skip)('is given back afterwards by a service that npm start began', async () => {
    const [, command = ''] = / && (exec .*)dist\/main\.js$/.exec(await script('start')) ?? [];
    expect(command).not.toBe('');
    const env = { PATH: process.env['PATH'] };
    const { stdout } = await run('sh', ['-c', `${command}"${DECODE}"`], { cwd: PROJECT, env });
    const { leftMiB } = JSON.parse(stdout) as { leftMiB: number };
    expect(leftMiB).toBeLessThan(LEFT_MIB_MAX);
  });

  it('is given back in the container image, in the benchmark, and by whatever npm starts, by the same settings', async () => {
    const settings = [...(await script('start')).matchAll(DEFAULT)];
    expect(settings).not.toEqual([]);
    const [dockerfile, bench] = [await read('Dockerfile'), await read('bench/servers.ts')];
    for (const [, name = '', value = ''] of settings) {
      expect(dockerfile).toContain(`${name}=${value}`);
      expect(bench).toContain(`${name}: '${value}'`);
      for (const other of ['worker', 'start:dev', 'start:debug']) {
        expect(await script(other)).toContain(`${name}=\${${name}:-${value}}`);
      }
    }
  });

  (isGlibc ? it : it.skip)(
    'is kept by a service that is started otherwise, which says at start what to set',
    async () => {
      const dataDir = await createDataDir();
      cleanUp.add(() => removeDataDir(dataDir));
      const start = async (env: Record<string, string>): Promise<string> => {
        const service = await ServiceProcess.start({ dataDir, port: await chooseServicePort(), env });
        return (await service.stop()).output;
      };
      expect(await start({ MALLOC_ARENA_MAX: '2' })).toContain('MALLOC_TRIM_THRESHOLD_ not set');
      const silent = await start({ MALLOC_ARENA_MAX: '2', MALLOC_TRIM_THRESHOLD_: '131072' });
      expect(silent).not.toContain('allocator.unset');
    },
  );
});

describe('settings of the allocator', () => {
  it('are missed unless they are set, or somebody has chosen another allocator or its tunables', () => {
    const both = ['MALLOC_ARENA_MAX', 'MALLOC_TRIM_THRESHOLD_'];
    expect(findUnsetAllocatorSettings({})).toEqual(both);
    expect(findUnsetAllocatorSettings({ MALLOC_ARENA_MAX: '' })).toEqual(both);
    expect(findUnsetAllocatorSettings({ MALLOC_ARENA_MAX: '1' })).toEqual(['MALLOC_TRIM_THRESHOLD_']);
    expect(findUnsetAllocatorSettings({ LD_PRELOAD: '/usr/lib/libjemalloc.so.2' })).toEqual([]);
    expect(findUnsetAllocatorSettings({ GLIBC_TUNABLES: 'glibc.malloc.arena_max=1' })).toEqual([]);
  });
});
