/**
 * `npm run demo`: the whole journey of a customer, against a fresh sandbox in a temporary directory, with
 * the real service as its own process, the real `stripe` SDK inside it and the real `openai` SDK outside.
 * Every number printed was read from an answer; a number that is not as promised ends the demo with exit 1.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import OpenAI, { APIError } from 'openai';
import {
  type Answer,
  callApi,
  dollars,
  payTopUp,
  ROOT,
  type SandboxAccess,
  startSandboxService,
} from './sandbox-service.js';

const MODEL = 'black-forest-labs/flux-2-klein-9b';
const CREDIT_CENTS = 1_000;
const IMAGES = 250;
/** Calls at a time; the sandbox, like the real provider, allows 24 tasks. */
const CALLS_AT_ONCE = 10;
/** The simulator answers at once instead of after its usual latency. */
const INSTANTLY = '[sandbox:slow=0]';

const run = promisify(execFile);
let stepNumber = 0;

function say(what: string, detail: string): void {
  stepNumber += 1;
  console.log(`${String(stepNumber).padStart(2)}. ${what.padEnd(34)} ${detail}`);
}

function expectEqual<T>(what: string, actual: T, expected: T): void {
  if (actual !== expected) throw new Error(`${what}: expected ${String(expected)}, got ${String(actual)}`);
}

async function demo(dataDir: string): Promise<void> {
  const outside = new Set(OUTSIDE_PARTS);
  const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !outside.has(name)));
  const { access, env, stop } = await startSandboxService(dataDir, environment);
  try {
    say(
      'service started',
      `${access.base_url} (embedded PostgreSQL, simulated Stripe and Black Forest Labs)`,
    );
    await topUp(access);
    await generate(access);
    await refuse(access);
    await exportAndVerify(access, dataDir);
    await doctor(env);
  } finally {
    await stop();
  }
  say('stopped', 'everything that was accepted is on disk');
}

/** A demo never talks to a real Stripe, provider or database, whatever the shell has configured. */
const OUTSIDE_PARTS = [
  'DATABASE_URL',
  'STRIPE_SECRET_KEY',
  'STRIPE_WEBHOOK_SECRET',
  'STRIPE_API_BASE',
  'BFL_API_KEY',
  'BFL_API_BASE',
  'REDIS_URL',
  'COFFER_OPERATOR_KEY',
  'COFFER_MASTER_KEYS',
  'PUBLIC_URL',
];

const api = (access: SandboxAccess, method: string, path: string, body?: object): Promise<Answer> =>
  callApi(access.base_url, access.api_key, { method, path, ...(body === undefined ? {} : { body }) });

async function topUp(access: SandboxAccess): Promise<void> {
  const created = await api(access, 'POST', '/v1/top_ups', { credit_cents: CREDIT_CENTS });
  say(
    'top-up quoted',
    `credit ${dollars(created['credit_micros'] ?? '')} + fee ${dollars(created['fee_micros'] ?? '')} = pay ${(created.charge_cents / 100).toFixed(2)}`,
  );
  expectEqual('charge', created.charge_cents, 1_050);
  const settled = await payTopUp(access.base_url, access.api_key, created);
  say(
    'paid on the Checkout page',
    `paid ${(settled.charge_cents / 100).toFixed(2)}, credited ${dollars(settled['credit_micros'] ?? '')}`,
  );
  const wallet = await api(access, 'GET', '/v1/wallet');
  expectEqual('available after the top-up', wallet['available_micros'], '10000000');
  say(
    'wallet',
    `available ${dollars(wallet['available_micros'] ?? '')}, held ${dollars(wallet['held_micros'] ?? '')}, posted ${dollars(wallet['posted_micros'] ?? '')}`,
  );
}

const client = (access: SandboxAccess): OpenAI =>
  new OpenAI({ apiKey: access.api_key, baseURL: `${access.base_url}/v1` });

async function generate(access: SandboxAccess): Promise<void> {
  const openai = client(access);
  let images = 0;
  let charged = 0n;
  const call = async (number: number): Promise<void> => {
    const { data, response } = await openai.images
      .generate({
        model: MODEL,
        prompt: `A brass vault, sketch ${number} ${INSTANTLY}`,
        size: '256x256',
      })
      .withResponse();
    const url = data.data?.[0]?.url;
    if (number === 1) say('first image', `${url?.split('?')[0]}`);
    if (url === undefined || !(await fetch(url)).ok) throw new Error('an image cannot be fetched');
    images += 1;
    charged += BigInt(response.headers.get('x-charged-micros') ?? 0);
  };
  let next = 1;
  const worker = async (): Promise<void> => {
    while (next <= IMAGES) await call(next++);
  };
  await Promise.all(Array.from({ length: CALLS_AT_ONCE }, worker));
  expectEqual('images', images, IMAGES);
  expectEqual('charged', charged, 10_000_000n);
  say('images through the openai SDK', `${images} images at 0.04, charged ${dollars(charged.toString())}`);
}

async function refuse(access: SandboxAccess): Promise<void> {
  const refusal: unknown = await client(access)
    .images.generate({ model: MODEL, prompt: `One too many ${INSTANTLY}` })
    .catch((error: unknown) => error);
  if (!(refusal instanceof APIError)) throw new Error('the 251st image was not refused');
  expectEqual('status', refusal.status, 402);
  expectEqual('code', refusal.code, 'insufficient_credits');
  say(`image ${IMAGES + 1}`, `refused: ${refusal.status} ${refusal.code}`);
  const wallet = await api(access, 'GET', '/v1/wallet');
  expectEqual('available', wallet['available_micros'], '0');
  expectEqual('held', wallet['held_micros'], '0');
  say(
    'wallet',
    `available ${dollars(wallet['available_micros'] ?? '')}, held ${dollars(wallet['held_micros'] ?? '')}, posted ${dollars(wallet['posted_micros'] ?? '')}`,
  );
}

async function exportAndVerify(access: SandboxAccess, dataDir: string): Promise<void> {
  const answer = await fetch(`${access.base_url}/v1/exports/ledger?format=csv`, {
    headers: { authorization: `Bearer ${access.operator_key}` },
  });
  if (!answer.ok) throw new Error(`the export answered ${answer.status}`);
  const file = join(dataDir, 'ledger.csv');
  await writeFile(file, await answer.text());
  const { stdout } = await run(process.execPath, [join(ROOT, 'dist/cli.js'), 'verify', file]);
  say('export verified without a server', firstLine(stdout));
}

async function doctor(env: NodeJS.ProcessEnv): Promise<void> {
  const { stdout } = await run(process.execPath, [join(ROOT, 'dist/cli.js'), 'doctor'], { env });
  say('doctor', firstLine(stdout));
}

const firstLine = (text: string): string => text.trim().split('\n')[0] ?? '';

const dataDir = await mkdtemp(join(tmpdir(), 'coffer-demo-'));
try {
  await demo(dataDir);
} catch (error) {
  console.error(`\nThe demo failed: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
} finally {
  await rm(dataDir, { recursive: true, force: true });
}
