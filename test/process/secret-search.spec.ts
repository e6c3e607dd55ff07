import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from '@jest/globals';
import { CleanUp } from '../support/clean-up.js';
import { RUN_LOG_VARIABLE, runLogFile } from '../support/app/run-log.js';
import {
  chooseServicePort,
  createDataDir,
  removeDataDir,
  ServiceProcess,
} from '../support/process/service-process.js';
import { SERVER_URL_VARIABLE } from '../support/database/test-database.js';

const PROJECT = fileURLToPath(new URL('../../', import.meta.url));

const cleanUp = new CleanUp();
afterEach(() => cleanUp.run());

/** A whole run of jest over one file, on the database server of this run. */
async function runJest(leak: string): Promise<{ code: number | null; output: string }> {
  const jest = path.join(PROJECT, 'node_modules/jest/bin/jest.js');
  const file = '**/test/support/app/leaks/leak-on-purpose.ts';
  const args = ['--no-warnings', jest, '--runInBand', '--selectProjects', 'integration', '--testMatch', file];
  const child = spawn(process.execPath, args, {
    cwd: PROJECT,
    env: { PATH: process.env['PATH'], TEST_DATABASE_URL: process.env[SERVER_URL_VARIABLE], LEAK: leak },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, output };
}

describe('a test run', () => {
  it('fails when secrets are in a log, a logged prompt or an answer, although every test passes, and says where', async () => {
    const { code, output } = await runJest('log, prompt, answer');
    expect(output).toContain('1 passed');
    expect(output).toMatch(/reason: 3 of the secrets are in the logs or error answers of this run/);
    const [inLog = '', ...others] = output.match(/^ {2}.* in \S+\/(?:app|answers)-\d+\.log:\d+/gm) ?? [];
    expect([inLog, ...others].map((line) => line.replace(/ in .*\/(\w+)-\d+/, ' in $1')).sort()).toEqual([
      expect.stringMatching(/a secret that a test made in answers\.log:1/),
      expect.stringMatching(/a secret that a test made in app\.log:\d+/),
      expect.stringMatching(/an API key in app\.log:\d+/),
    ]);
    expect(output).not.toMatch(/op-cof-\w{20}/);
    expect(code).not.toBe(0);
    // It is kept to be looked at; here no one does.
    const [, dir = ''] = / in (\S+)\/(?:app|answers)-\d+\.log/.exec(inLog) ?? [];
    expect(dir).toMatch(/coffer-test-\d+-log-/);
    await rm(dir, { recursive: true });
  });

  it('passes when there is none, having looked', async () => {
    const { code, output } = await runJest('nothing');
    expect(output).toMatch(/No secret in the logs and error answers of this run \(\d+\.\d MB in [1-9]/);
    expect(code).toBe(0);
  });

  it('collects all that a service process logs, to its last line before a kill -9, however quiet it is', async () => {
    expect(process.env[RUN_LOG_VARIABLE]).toBeDefined();
    const dataDir = await createDataDir();
    cleanUp.add(() => removeDataDir(dataDir));
    const port = await chooseServicePort();
    const service = await ServiceProcess.start({ dataDir, port });
    cleanUp.add(() => service.kill());
    const answer = await service.client().get('/v1/accounts');
    // A request is logged after its answer, and before the next request is read.
    await service.client().get('/health/live');
    const requestId = String(answer.headers.get('x-request-id'));
    await service.kill();
    const log = await readFile(runLogFile(`service-${process.pid}-${port}.log`) ?? '', 'utf8');
    expect(log).toContain(requestId);
    expect(log).toContain('"level":"debug"');
    expect(service.output).not.toContain(requestId);
  });
});
