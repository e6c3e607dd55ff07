import { type ChildProcessByStdio, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { eventually } from '../support/processes.js';
import { END_WITH_PARENT, programArguments } from '../support/process/program-arguments.js';
import { rememberSecretsOf } from '../support/app/run-log.js';
import { chooseServicePort, createDataDir, removeDataDir } from '../support/process/service-process.js';
import { createTestDatabase, type TestDatabase } from '../support/database/test-database.js';

const PROJECT = path.join(import.meta.dirname, '../..');
/** What a script does first. */
const BUILD = 'node scripts/build-if-stale.mjs && ';

/** npm passes a signal on to its child only. A shell in between ends of it, and what the shell started goes on. */
describe('npm, asked to stop', () => {
  let folder: string;
  let database: TestDatabase;
  let npm: ChildProcessByStdio<Writable, Readable, null> | undefined;

  beforeEach(async () => {
    folder = await createDataDir();
    database = await createTestDatabase();
  });

  afterEach(async () => {
    npm?.stdin.destroy(); // What still runs ends with it.
    await database.drop();
    await removeDataDir(folder);
  });

  async function scripts(): Promise<Record<string, string>> {
    const text = await readFile(path.join(PROJECT, 'package.json'), 'utf8');
    return (JSON.parse(text) as { scripts: Record<string, string> }).scripts;
  }

  /** The script of our package, with the sources as the tests compile them in place of `dist`. */
  async function scriptOf(name: string): Promise<string> {
    const whole = (await scripts())[name] ?? '';
    expect(whole.startsWith(BUILD)).toBe(true);
    const script = whole.slice(BUILD.length);
    const [file = '', program = ''] = /dist\/(\S+)\.js/.exec(script) ?? [];
    expect(program).not.toBe('');
    const ours = programArguments(program, [END_WITH_PARENT]).map((argument) => `"${argument}"`);
    return script.replace(file, () => ours.join(' '));
  }

  it('ends the service in order', async () => {
    await writeFile(
      path.join(folder, 'package.json'),
      JSON.stringify({ scripts: { start: await scriptOf('start') } }),
    );
    const env = {
      HOME: folder,
      NODE_ENV: 'development',
      PORT: String(await chooseServicePort()),
      COFFER_DATA_DIR: path.join(folder, 'data'),
      DATABASE_URL: database.serviceUrl,
    };
    rememberSecretsOf(env);
    npm = spawn('npm', ['start'], {
      cwd: folder,
      env: { PATH: process.env['PATH'], ...env },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    let printed = '';
    npm.stdout.on('data', (chunk) => (printed += String(chunk)));
    await eventually('it is ready', () => printed.includes('Coffer is ready at'));
    npm.kill('SIGTERM');
    await once(npm, 'close'); // Of its output: no one holds it any more.
    expect(printed).toContain('SIGTERM: accepted work is finished, then the process ends');
  });

  it.each(['worker', 'sandbox', 'repl'])('is passed on to the %s, too', async (name) => {
    expect(await scriptOf(name)).toMatch(/^exec (env (\w+=\S+ )+)?node /);
  });

  it.each(['start:dev', 'start:debug'])('is passed on to %s, which builds by itself', async (name) => {
    expect((await scripts())[name]).toMatch(/^exec (env (\w+=\S+ )+)?node scripts\/start-dev\.mjs/);
  });
});

describe('a build that is older than the sources', () => {
  it('in a tree that cannot be written is one sentence, not a complaint about every file', async () => {
    const folder = await createDataDir();
    try {
      await mkdir(path.join(folder, 'scripts'));
      await mkdir(path.join(folder, 'src'));
      await cp(path.join(PROJECT, 'scripts/build-if-stale.mjs'), path.join(folder, 'scripts/build.mjs'));
      await writeFile(path.join(folder, 'src/main.ts'), '');
      // Nothing can be written into a file; modes would not stop the tests where they run as root.
      await writeFile(path.join(folder, 'dist'), '');
      const script = path.join(folder, 'scripts/build.mjs');
      const { status, stderr } = spawnSync(process.execPath, [script], { encoding: 'utf8' });
      expect(status).toBe(1);
      expect(stderr).toMatch(
        /dist cannot be written, and the build in it is older than the sources\. .*npm run build/,
      );
      expect(stderr.trim().split('\n')).toHaveLength(1);
    } finally {
      await removeDataDir(folder);
    }
  });
});
