import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type Stripe from 'stripe';
import { END_WITH_PARENT, programArguments } from '../support/process/program-arguments.js';
import { stripeSdkFor } from '../support/payments/sandbox-stripe-client.js';
import { allOf } from '../support/payments/sandbox-stripe-money.js';

let folder: string;
const running: ChildProcess[] = [];

/** The simulator as a process of its own; the same port each time, as a service would find it again. */
async function serve(port = '0'): Promise<{ child: ChildProcess; baseUrl: string }> {
  const flags = ['--state-dir', folder, '--stripe-port', port];
  const child = spawn(process.execPath, [...programArguments('sandbox/main', [END_WITH_PARENT]), ...flags], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  running.push(child);
  if (child.stdout === null) throw new Error('no stdout');
  for await (const line of createInterface({ input: child.stdout })) {
    const { stripe_api_base: baseUrl } = JSON.parse(line) as { stripe_api_base: string };
    return { child, baseUrl };
  }
  throw new Error('the sandbox ended without serving');
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'sandbox-killed-'));
});

afterEach(async () => {
  await Promise.all(running.splice(0).map(kill));
  await rm(folder, { recursive: true, force: true });
});

describe('a simulator that is killed', () => {
  it('charged and refunded what it said, and does each request once when it is asked again', async () => {
    const first = await serve();
    const stripe = stripeSdkFor(first.baseUrl);
    const { id: customer } = await stripe.customers.create({ name: 'Ada' });
    const { id: method } = await stripe.paymentMethods.attach('pm_card_visa', { customer });
    const how = { currency: 'usd', customer, payment_method: method, off_session: true, confirm: true };
    const whole = await stripe.paymentIntents.create({ ...how, amount: 5_000 });
    const charge = whole.latest_charge as string;
    const asked = Array.from(
      { length: 40 },
      (_, index) => (): Promise<Stripe.PaymentIntent | Stripe.Refund> => {
        const options = { idempotencyKey: `asked:${index}` };
        return index % 2 === 0
          ? stripe.paymentIntents.create({ ...how, amount: 100 + index }, options)
          : stripe.refunds.create({ charge, amount: index }, options);
      },
    );
    // Some are answered, some are underway, and some never arrive.
    const early = asked.slice(0, 10).map((ask) => ask());
    await Promise.all(early);
    const late = asked.slice(10).map((ask) => ask());
    await Promise.race(late);
    await kill(first.child);
    const answers = await Promise.allSettled([...early, ...late]);

    await serve(new URL(first.baseUrl).port);
    const again = await Promise.all(asked.map((ask) => ask()));
    for (const [index, answer] of answers.entries()) {
      if (answer.status === 'fulfilled') expect(again[index]?.id).toBe(answer.value.id);
    }
    expect(answers.filter(({ status }) => status === 'fulfilled').length).toBeGreaterThan(10);
    const charges = await allOf(stripe.charges.list({ customer, limit: 100 }));
    expect(charges).toHaveLength(1 + asked.length / 2);
    const refunds = await allOf(stripe.refunds.list({ charge, limit: 100 }));
    expect(refunds.map(({ amount }) => amount).sort((a, b) => a - b)).toEqual(
      Array.from({ length: 20 }, (_, index) => 2 * index + 1),
    );
    expect(await stripe.charges.retrieve(charge)).toMatchObject({ amount_refunded: 400 });
  });
});
