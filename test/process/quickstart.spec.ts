import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { plain, RED } from '../support/images/edit-bodies.js';
import { attribute, HtmlPage, textOf } from '../support/html.js';
import {
  chooseServicePort,
  createDataDir,
  removeDataDir,
  ServiceProcess,
} from '../support/process/service-process.js';

const PAID = 'black-forest-labs/flux-2-klein-9b';
const FREE = 'black-forest-labs/flux-2-klein-4b';
const MODULES = fileURLToPath(new URL('../../node_modules', import.meta.url));
const run = promisify(execFile);

/** What a newcomer has: the service as `npm start` starts it, its demo account, a shell and an empty project. */
describe('the quickstart, copied from the page as it is printed', () => {
  let dataDir: string;
  let project: string;
  let service: ServiceProcess;
  let apiKey: string;

  beforeAll(async () => {
    dataDir = await createDataDir();
    service = await ServiceProcess.start({ dataDir, port: await chooseServicePort() });
    const demo = JSON.parse(await readFile(path.join(dataDir, 'demo.json'), 'utf8')) as Record<
      string,
      string
    >;
    apiKey = demo['api_key'] ?? '';
    const grant = { amount_micros: '280000', reason: 'seven images' };
    (await service.client().post(`/v1/accounts/${demo['account_id']}/grants`, grant)).expect(201);
    project = await mkdtemp(path.join(tmpdir(), 'coffer-quickstart-'));
    await symlink(MODULES, path.join(project, 'node_modules'));
    await symlink(dataDir, path.join(project, '.coffer'));
  });
  afterAll(async () => {
    await service.stop();
    await Promise.all([removeDataDir(dataDir), rm(project, { recursive: true, force: true })]);
  });

  /** @param nth 0: how to make an image, 1: how to edit one. */
  async function snippet(model: string, language: string, nth = 0): Promise<string> {
    const page = new HtmlPage(String((await service.client(null).get(`/models/${model}`)).expect(200).body));
    const code = page
      .all('code')
      .filter((element) => attribute(element, 'class') === `language-${language}`)
      .at(nth);
    if (code === undefined) throw new Error(`the page of ${model} has no snippet in ${language}`);
    return textOf(code);
  }

  const env = () => ({ PATH: process.env['PATH'], COFFER_API_KEY: apiKey });

  async function expectImage(url: string): Promise<void> {
    const image = await fetch(url);
    expect({ status: image.status, type: image.headers.get('content-type') }).toEqual({
      status: 200,
      type: 'image/jpeg',
    });
  }

  async function availableMicros(): Promise<string> {
    const { body } = (await service.client(apiKey).get('/v1/wallet')).expect(200);
    return body.available_micros;
  }

  /** What the README has between two of its headings. */
  async function readmeFrom(from: string, to: string): Promise<string> {
    const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8');
    return readme.slice(readme.indexOf(from), readme.indexOf(to));
  }

  const blocksOf = (part: string, language: string): string[] =>
    part
      .split('```')
      .filter((block) => block.startsWith(`${language}\n`))
      .map((block) => block.slice(language.length));

  it('runs every line of the first steps of the README, its program included, under the name that it gives', async () => {
    const part = await readmeFrom('## First steps', '### For an operator');
    const shell = blocksOf(part, 'sh');
    expect(shell).toHaveLength(2);
    const script = shell.join('').replace(/^API=.*$/m, `API=${service.url}`);
    const { stdout } = await run('sh', ['-eu', '-c', script], { env: env(), cwd: project });
    expect(stdout).not.toContain('"error"');
    expect(stdout.match(/^x-charged-micros: 40000\r$/gm)).toHaveLength(2);
    const [, name = ''] = /save this as `([^`]+)`/.exec(part) ?? [];
    const [program = ''] = blocksOf(part, 'js');
    await writeFile(path.join(project, name), program);
    await expectImage((await run(process.execPath, [name], { env: env(), cwd: project })).stdout.trim());
  });

  it('runs every line that the README has for an operator, an outside gateway and finance', async () => {
    const blocks = blocksOf(await readmeFrom('### For an operator', '## The paid call'), 'sh');
    expect(blocks).toHaveLength(3);
    // The command line has specs of its own, and works on the data directory of the clone.
    const lines = blocks.join('').replace(/^npm run .*$/gm, '');
    const script = `API=${service.url}\n${lines}`;
    const { stdout } = await run('sh', ['-eu', '-c', script], { env: env(), cwd: project });
    expect(stdout).not.toContain('"error"');
    for (const words of [
      '"captured_micros":"120000"',
      '"status":"voided"',
      '"available_micros":"4800000"',
      '"object":"debit_batch","succeeded":1',
      '"object":"stripe_reconciliation"',
    ]) {
      expect(stdout).toContain(words);
    }
    expect(await readFile(path.join(project, 'ledger.csv'), 'utf8')).toMatch(/call-4/);
  });

  it('makes an image with curl, for the price on the page', async () => {
    const before = BigInt(await availableMicros());
    const { stdout } = await run('sh', ['-c', await snippet(PAID, 'shell')], { env: env() });
    const answer = JSON.parse(stdout) as { data: { url: string }[] };
    await expectImage(answer.data[0]?.url ?? '');
    expect(before - BigInt(await availableMicros())).toBe(40_000n);
  });

  it('makes an image with OpenAI’s JavaScript SDK', async () => {
    const file = path.join(project, 'quickstart.mjs');
    await writeFile(file, await snippet(PAID, 'javascript'));
    const { stdout } = await run(process.execPath, [file], { env: env() });
    await expectImage(stdout.trim());
  });

  it('edits an image with curl and with OpenAI’s JavaScript SDK', async () => {
    await writeFile(path.join(project, 'vault.png'), await plain(RED).png().toBuffer());
    const options = { env: env(), cwd: project };
    const { stdout } = await run('sh', ['-c', await snippet(PAID, 'shell', 1)], options);
    const answer = JSON.parse(stdout) as { data: { url: string }[] };
    expect(answer).toMatchObject({ data: [{}] });
    await expectImage(answer.data[0]?.url ?? '');
    const file = path.join(project, 'edit.mjs');
    await writeFile(file, await snippet(PAID, 'javascript', 1));
    await expectImage((await run(process.execPath, [file], options)).stdout.trim());
  });

  it('makes an image of the free model with either, and takes nothing for it', async () => {
    const before = await availableMicros();
    const { stdout } = await run('sh', ['-c', await snippet(FREE, 'shell')], { env: env() });
    expect(JSON.parse(stdout)).toMatchObject({ data: [{ url: expect.stringMatching(/^http/) }] });
    const file = path.join(project, 'free.mjs');
    await writeFile(file, await snippet(FREE, 'javascript'));
    await expectImage((await run(process.execPath, [file], { env: env() })).stdout.trim());
    expect(await availableMicros()).toBe(before);
  });

  it('says in Python what the other two say: the same address, model and prompt', async () => {
    const [python, javascript] = [await snippet(PAID, 'python'), await snippet(PAID, 'javascript')];
    const literals = (text: string): string[] =>
      [...text.matchAll(/"([^"]+)"/g)].map(([, literal = '']) => literal);
    expect(literals(python).filter((literal) => literal !== 'COFFER_API_KEY')).toEqual(
      literals(javascript).filter((literal) => literal !== 'openai'),
    );
  });

  it('is on pages that name every simulated part', async () => {
    for (const page of [
      '/',
      '/models',
      `/models/${PAID}`,
      '/compare',
      '/rankings',
      '/pricing',
      '/collections/free',
      '/models/x/y',
    ]) {
      for (const twin of page === '/' ? [''] : ['', '.md']) {
        const { body, headers } = await service.client(null).get(`${page}${twin}`);
        expect(String(body)).toMatch(/Stripe and Black Forest Labs are simulated/);
        expect(headers.get('x-coffer-sandbox')).toBe('stripe, black-forest-labs');
      }
    }
    expect(String((await service.client(null).get('/llms.txt')).body)).toContain('are simulated');
  });
});
