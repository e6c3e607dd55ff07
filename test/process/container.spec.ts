import { randomBytes } from 'node:crypto';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { makeApiKey } from '../../src/identity/auth/credentials.js';
import { COMPILED_SOURCES } from '../support/process/program-arguments.js';
import { chooseServicePort, ServiceProcess } from '../support/process/service-process.js';
import { createTestDatabase, type TestDatabase } from '../support/database/test-database.js';

const PROJECT = fileURLToPath(new URL('../..', import.meta.url));
const COMPILED = fileURLToPath(COMPILED_SOURCES);
const SANDBOX = 'coffer-sandbox';
/** Where a file of the build stage is on this machine: what the tests have compiled is in for both builds. */
const BUILT: Readonly<Record<string, string>> = {
  dist: COMPILED,
  'packages/sandbox/package.json': path.join(COMPILED, 'node_modules', SANDBOX, 'package.json'),
  'packages/sandbox/dist': path.join(COMPILED, 'node_modules', SANDBOX, 'dist'),
};

type Copy = { readonly fromBuild: boolean; readonly sources: readonly string[]; readonly target: string };
type Stage = { readonly name: string; readonly base: string; readonly copies: readonly Copy[] };

/** What the Dockerfile copies, stage by stage. */
function stagesOf(dockerfile: string): Stage[] {
  return dockerfile
    .split(/^(?=FROM )/m)
    .slice(1)
    .map((stage) => {
      const [, base = '', name = ''] = /^FROM (\S+)(?: AS (\w+))?$/m.exec(stage) ?? [];
      const copies = [...stage.matchAll(/^COPY (--from=build )?(.+) (\S+)$/gm)].map(
        ([, from, sources = '', target = '']) => ({
          fromBuild: from !== undefined,
          sources: sources.split(' ').map((source) => source.replace(/^\/app\//, '')),
          target,
        }),
      );
      return { name, base, copies };
    });
}

/** Tests have no Docker: an image is laid out as a folder, from what its files say. */
describe('the container image', () => {
  let stages: Stage[];
  let folder: string;
  let database: TestDatabase;

  beforeAll(async () => {
    stages = stagesOf(await readFile(path.join(PROJECT, 'Dockerfile'), 'utf8'));
    folder = await mkdtemp(path.join(tmpdir(), 'coffer-container-'));
    database = await createTestDatabase();
  });

  afterAll(async () => {
    await rm(folder, { recursive: true, force: true });
    await database.drop();
  });

  /** All that an image has: what its stage copies on top of the stages that it is made from. */
  function copiesOf(name: string): Copy[] {
    const stage = stages.find((one) => one.name === name);
    if (stage === undefined) return [];
    return [...copiesOf(stage.base), ...stage.copies];
  }

  async function layOut(image: string): Promise<URL> {
    const app = path.join(folder, `app ${image}`);
    await mkdir(app);
    for (const { fromBuild, sources, target } of copiesOf(image)) {
      for (const source of sources) {
        const name = path.basename(source);
        const to = path.join(app, target, target.endsWith(name) ? '' : name);
        if (name === 'node_modules') await linkPackages(to);
        else
          await cp(fromBuild ? (BUILT[source] ?? '') : path.join(PROJECT, source), to, {
            recursive: true,
            filter,
          });
      }
    }
    return pathToFileURL(path.join(app, 'dist/'));
  }

  /** The build stage removes the link to the simulators. */
  async function linkPackages(to: string): Promise<void> {
    await mkdir(to);
    const from = path.join(PROJECT, 'node_modules');
    const names = (await readdir(from)).filter((name) => name !== SANDBOX);
    await Promise.all(names.map((name) => symlink(path.join(from, name), path.join(to, name))));
  }

  /** In `COMPILED` the simulators and the bundles are in folders within. */
  function filter(file: string): boolean {
    return file !== path.join(COMPILED, 'node_modules') && !path.basename(file).startsWith('bundle-');
  }

  it('is built from files that its build is given', async () => {
    const [everything, ...lines] = (await readFile(path.join(PROJECT, '.dockerignore'), 'utf8'))
      .trim()
      .split('\n');
    expect(everything).toBe('**');
    const given = lines.filter((line) => line.startsWith('!')).map((line) => line.slice(1));
    const wanted = stages.flatMap(({ copies }) =>
      copies.flatMap(({ fromBuild, sources }) => (fromBuild ? [] : sources)),
    );
    expect(wanted).toContain('migrations');
    expect(wanted.filter((file) => !given.includes(file.replace(/^\.\//, '')))).toEqual([]);
  });

  it('has all that the service reads, and for trying it out the simulators', async () => {
    const compiled = await layOut('trial');
    const service = await ServiceProcess.start({
      dataDir: path.join(folder, 'data'),
      port: await chooseServicePort(),
      env: { DATABASE_URL: database.serviceUrl },
      compiled,
    });
    try {
      const models = await fetch(`${service.url}/v1/catalog/models`);
      expect(models.status).toBe(200);
      expect(((await models.json()) as { data: unknown[] }).data.length).toBeGreaterThan(0);
      expect(models.headers.get('x-coffer-sandbox')).toBe('stripe, black-forest-labs');
    } finally {
      await service.stop();
    }
  });

  describe('that is made by default', () => {
    let compiled: URL;

    beforeAll(async () => {
      const last = stages.at(-1);
      expect(last?.copies).toEqual([]);
      compiled = await layOut(last?.base ?? '');
      const simulators = new URL(`../node_modules/${SANDBOX}`, compiled);
      expect(await stat(simulators).catch(() => null)).toBeNull();
    });

    it('starts in production, without the simulators on its disk', async () => {
      const service = await ServiceProcess.start({
        dataDir: path.join(folder, 'production data'),
        port: await chooseServicePort(),
        env: {
          NODE_ENV: 'production',
          LOG_LEVEL: 'info',
          RATE_LIMIT: 'on',
          DATABASE_URL: database.serviceUrl,
          PUBLIC_URL: 'https://coffer.test',
          STRIPE_SECRET_KEY: 'sk_test_0123456789abcdef',
          STRIPE_WEBHOOK_SECRET: 'whsec_0123456789abcdef0123456789abcdef',
          BFL_API_KEY: 'bfl_0123456789abcdef',
          COFFER_OPERATOR_KEY: makeApiKey('operator_key'),
          COFFER_MASTER_KEYS: `first:${randomBytes(32).toString('base64')}`,
          TRUSTED_PROXIES: 'none',
          ALLOW_STRIPE_TEST_MODE: 'yes',
        },
        compiled,
      });
      await service.stop();
    });

    it('says what to do where something would have to be simulated', async () => {
      const { code, output } = await ServiceProcess.spawn({
        dataDir: path.join(folder, 'development data'),
        port: await chooseServicePort(),
        env: { DATABASE_URL: database.serviceUrl },
        compiled,
      }).ended;
      expect(code).toBe(1);
      expect(output).toContain('the package that simulates them (packages/sandbox) is not installed');
      expect(output).not.toContain('    at ');
    });
  });
});
