import { cp, mkdir, mkdtemp, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { COMPILED_SOURCES } from '../support/process/program-arguments.js';
import { chooseServicePort, ServiceProcess } from '../support/process/service-process.js';
import { createTestDatabase, type TestDatabase } from '../support/database/test-database.js';

const PROJECT = fileURLToPath(new URL('../..', import.meta.url));

type Copy = { readonly fromBuild: boolean; readonly sources: readonly string[]; readonly target: string };

/** What the Dockerfile copies, stage by stage. */
function copiesOf(dockerfile: string): Copy[][] {
  return dockerfile.split(/^FROM .*$/m).map((stage) =>
    [...stage.matchAll(/^COPY (--from=build )?(.+) (\S+)$/gm)].map(([, from, sources = '', target = '']) => ({
      fromBuild: from !== undefined,
      sources: sources.split(' '),
      target,
    })),
  );
}

/** Tests have no Docker: the image is laid out as a folder, from what its files say. */
describe('the container image', () => {
  let copies: Copy[][];
  let app: string;
  let database: TestDatabase;

  beforeAll(async () => {
    copies = copiesOf(await readFile(path.join(PROJECT, 'Dockerfile'), 'utf8'));
    app = path.join(await mkdtemp(path.join(tmpdir(), 'coffer-container-')), 'app');
    await mkdir(app);
    database = await createTestDatabase();
  });

  afterAll(async () => {
    await rm(path.dirname(app), { recursive: true, force: true });
    await database.drop();
  });

  it('is built from files that its build is given', async () => {
    const [everything, ...letThrough] = (await readFile(path.join(PROJECT, '.dockerignore'), 'utf8'))
      .trim()
      .split('\n');
    expect(everything).toBe('**');
    const given = letThrough.map((line) => line.replace(/^!/, ''));
    const wanted = copies.flat().flatMap(({ fromBuild, sources }) => (fromBuild ? [] : sources));
    expect(wanted).toContain('migrations');
    expect(wanted.filter((file) => !given.includes(file.replace(/^\.\//, '')))).toEqual([]);
  });

  it('has all that the service reads', async () => {
    const image = copies.at(-1) ?? [];
    for (const { fromBuild, sources, target } of image) {
      for (const source of sources) {
        const name = path.basename(source);
        const to = path.join(app, target, target.endsWith(name) ? '' : name);
        if (name === 'node_modules') await symlink(path.join(PROJECT, name), to);
        else if (fromBuild) await cp(COMPILED_SOURCES, to, { recursive: true });
        else await cp(path.join(PROJECT, source), to, { recursive: true });
      }
    }
    const service = await ServiceProcess.start({
      dataDir: path.join(path.dirname(app), 'data'),
      port: await chooseServicePort(),
      env: { DATABASE_URL: database.serviceUrl },
      compiled: pathToFileURL(path.join(app, 'dist/')),
    });
    try {
      const models = await fetch(`${service.url}/v1/catalog/models`);
      expect(models.status).toBe(200);
      expect(((await models.json()) as { data: unknown[] }).data.length).toBeGreaterThan(0);
    } finally {
      await service.stop();
    }
  });
});
