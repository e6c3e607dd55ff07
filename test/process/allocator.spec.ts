import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from '@jest/globals';

const PROJECT = path.join(import.meta.dirname, '../..');
const DECODE = path.join(import.meta.dirname, '../support/process/decode-pictures.mjs');
/** Of what is set, or a default: `NAME=${NAME:-value}`. */
const DEFAULT = /(MALLOC_\w+)=\$\{\1:-(\d+)\}/g;
/** Without the settings it is 700 MiB and more, with them 80; a part of those is the code of the decoders. */
const LEFT_MIB_MAX = 250;

const run = promisify(execFile);
const isGlibc = 'glibcVersionRuntime' in (process.report.getReport() as { header: object }).header;
const read = (file: string): Promise<string> => readFile(path.join(PROJECT, file), 'utf8');

async function startScript(): Promise<string> {
  const { scripts } = JSON.parse(await read('package.json')) as { scripts: { start: string } };
  return scripts.start;
}

describe('memory that decoding pictures took', () => {
  (isGlibc ? it : it.skip)('is given back afterwards by a service that npm start began', async () => {
    const [, command = ''] = / && (exec .*)dist\/main\.js$/.exec(await startScript()) ?? [];
    expect(command).not.toBe('');
    const env = { PATH: process.env['PATH'] };
    const { stdout } = await run('sh', ['-c', `${command}"${DECODE}"`], { cwd: PROJECT, env });
    const { leftMiB } = JSON.parse(stdout) as { leftMiB: number };
    expect(leftMiB).toBeLessThan(LEFT_MIB_MAX);
  });

  it('is given back in the container image and in the benchmark by the same settings', async () => {
    const settings = [...(await startScript()).matchAll(DEFAULT)];
    expect(settings).not.toEqual([]);
    const [dockerfile, bench] = [await read('Dockerfile'), await read('bench/servers.ts')];
    for (const [, name = '', value = ''] of settings) {
      expect(dockerfile).toContain(`${name}=${value}`);
      expect(bench).toContain(`${name}: '${value}'`);
    }
  });
});
