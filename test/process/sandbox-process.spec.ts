import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type Stripe from 'stripe';
import { eventually } from '../support/processes.js';
import { END_WITH_PARENT, programArguments } from '../support/process/program-arguments.js';
import { stripeSdkFor, topUpSessionParams } from '../support/payments/sandbox-stripe-client.js';

const SECRET = 'whsec_process';

type Addresses = { readonly stripe_api_base: string; readonly bfl_api_base: string };
type Running = { readonly process: ChildProcess; readonly addresses: Addresses };

let folder: string;
let receiver: Server;
let received: Stripe.Event[];
let isReceiving: boolean;
const running: ChildProcess[] = [];

function start(...args: string[]): ChildProcess {
  const child = spawn(process.execPath, [...programArguments('sandbox/main', [END_WITH_PARENT]), ...args], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  running.push(child);
  return child;
}

async function startServing(...args: string[]): Promise<Running> {
  const child = start(...args);
  if (child.stdout === null) throw new Error('no stdout');
  for await (const line of createInterface({ input: child.stdout })) {
    return { process: child, addresses: JSON.parse(line) as Addresses };
  }
  throw new Error('the sandbox ended without serving');
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
  const exited = once(child, 'exit');
  child.kill(signal);
  const [code] = (await exited) as [number | null];
  return code;
}

function webhookFlags(): string[] {
  const { port } = receiver.address() as AddressInfo;
  return ['--webhook-url', `http://127.0.0.1:${port}/webhooks/stripe`, '--webhook-secret', SECRET];
}

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'sandbox process '));
  received = [];
  isReceiving = true;
  receiver = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8');
    request.on('data', (chunk: string) => (body += chunk));
    request.on('end', () => {
      if (isReceiving) received.push(JSON.parse(body) as Stripe.Event);
      response.writeHead(isReceiving ? 200 : 503).end();
    });
  });
  receiver.listen(0, '127.0.0.1');
  await once(receiver, 'listening');
});

afterEach(async () => {
  await Promise.all(running.splice(0).map((child) => end(child, 'SIGKILL')));
  receiver.closeAllConnections();
  receiver.close();
  await rm(folder, { recursive: true, force: true });
});

describe('the simulators as a process', () => {
  it('know a payment after kill -9 the moment it was answered, and deliver its events on the next start', async () => {
    isReceiving = false;
    const first = await startServing('--state-dir', folder, ...webhookFlags());
    const port = new URL(first.addresses.stripe_api_base).port;
    const stripe = stripeSdkFor(first.addresses.stripe_api_base);
    const sessions: Stripe.Checkout.Session[] = [];
    for (let made = 0; made < 5; made += 1)
      sessions.push(await stripe.checkout.sessions.create(topUpSessionParams()));
    const answers = await Promise.all(
      sessions.map(({ url }) => fetch(`${url}/pay`, { method: 'POST', redirect: 'manual' })),
    );
    await end(first.process, 'SIGKILL');
    expect(answers.map(({ status }) => status)).toEqual([303, 303, 303, 303, 303]);

    isReceiving = true;
    const second = await startServing('--state-dir', folder, '--stripe-port', port, ...webhookFlags());
    expect(second.addresses.stripe_api_base).toBe(first.addresses.stripe_api_base);
    for (const { id } of sessions) {
      expect(await stripe.checkout.sessions.retrieve(id)).toMatchObject({
        status: 'complete',
        payment_status: 'paid',
      });
    }
    const completed = () => received.filter(({ type }) => type === 'checkout.session.completed');
    await eventually('each payment is reported', () => completed().length >= sessions.length);
    const ids = completed().map(({ data }) => (data.object as { id: string }).id);
    expect(ids.sort()).toEqual(sessions.map(({ id }) => id).sort());
    expect(await end(second.process, 'SIGTERM')).toBe(0);
  });

  it('serve Black Forest Labs at the asked latency, and end on SIGTERM although a client hangs', async () => {
    const { process: child, addresses } = await startServing('--bfl-instant', '--bfl-unlimited');
    const submit = (prompt: string) =>
      fetch(`${addresses.bfl_api_base}/v1/flux-2-klein-9b`, {
        method: 'POST',
        headers: { 'x-key': 'bfl_test', 'content-type': 'application/json' },
        body: JSON.stringify({ prompt }),
      });
    const { polling_url: pollingUrl } = (await (await submit('cat')).json()) as { polling_url: string };
    const result = await fetch(pollingUrl, { headers: { 'x-key': 'bfl_test' } });
    expect(await result.json()).toMatchObject({ status: 'Ready' });
    const hanging = submit('cat [sandbox:submit=hang]').catch(() => 'broken');
    await eventually('it hangs', async () => {
      const counts = await fetch(`${addresses.bfl_api_base}/_sandbox/counts`);
      return ((await counts.json()) as { submits: number }).submits === 2;
    });
    expect(await end(child, 'SIGTERM')).toBe(0);
    expect(await hanging).toBe('broken');
  });

  it.each([
    ['an unknown flag', ['--stripe-prot', '1']],
    ['a port that is none', ['--stripe-port', '99999']],
    ['a latency in words', ['--bfl-latency-ms', 'fast']],
    ['a webhook without its secret', ['--webhook-url', 'http://127.0.0.1:1']],
    ['a webhook off this machine', ['--webhook-url', 'https://example.com', '--webhook-secret', SECRET]],
  ])('refuse %s with a message', async (_what, args) => {
    const child = start(...args);
    let message = '';
    child.stderr?.setEncoding('utf8').on('data', (chunk: string) => (message += chunk));
    const [code] = (await once(child, 'close')) as [number | null];
    expect(code).toBe(2);
    expect(message.trim()).not.toBe('');
    expect(message).not.toContain('    at ');
  });
});
