/**
 * From Stripe's webhook to credit that can be spent, while other customers are charged.
 *
 * Nothing is polled. A trigger that only this database has tells the benchmark of every top-up's transfer in the moment
 * of its commit, and at once the whole new credit is debited over HTTP, from an account that had none. The time ends
 * with the answer to that debit, so it is an upper bound: it holds the notice and the debit as well. It begins when
 * the webhook should have been sent: a stall is charged to every payment that it delayed.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import pg from 'pg';
import { Stripe } from 'stripe';
import { Pool } from 'undici';
import { accountId, SPREAD_WALLETS } from './database.js';
import { latenciesOf, openLoop, type Latencies } from './open-loop.js';
import { NICENESS } from './processes.js';
import { OPERATOR_KEY, startService, stop, type Service } from './service.js';
import { here } from './tools.js';

const SECRET_KEY = 'sk_test_benchmark_of_webhooks';
const WEBHOOK_SECRET = 'whsec_benchmark_of_webhooks';
const CREDIT_CENTS = 1_000;
const CREDIT_MICROS = '10000000';
const WARM_UP_SECONDS = 3;
/** How many payments are prepared at the same time. */
const PREPARED_AT_ONCE = 16;
const CHANNEL = 'benchmark_top_ups';

export type WebhookLoad = {
  readonly topUpsPerSecond: number;
  readonly debitsPerSecond: number;
  readonly seconds: number;
  readonly rounds: number;
};

/** Of each round: until the webhook was answered, until the credit was spent, and what the other debits took. */
export type WebhookRound = {
  readonly acknowledged: Latencies;
  readonly spent: Latencies;
  readonly debits: Latencies;
};
export type WebhookResult = { readonly load: WebhookLoad; readonly rounds: readonly WebhookRound[] };

type Payment = { readonly account: string; readonly sessionId: string };
type StripeStandIn = { readonly url: string; stop(): Promise<void> };

/** Answers a result a ledger; they take turns. */
export async function measureWebhooks(
  ledgers: readonly { readonly name: string; readonly url: string }[],
  load: WebhookLoad,
  say: (text: string) => void,
): Promise<Record<string, WebhookResult>> {
  const stripe = await startStripe();
  const stages: WebhookStage[] = [];
  try {
    for (const { name, url } of ledgers) stages.push(await WebhookStage.open(name, url, stripe));
    const results: Record<string, { load: WebhookLoad; rounds: WebhookRound[] }> = {};
    for (const stage of stages) await stage.play({ ...load, seconds: WARM_UP_SECONDS });
    for (let round = 1; round <= load.rounds; round += 1) {
      for (const stage of stages) {
        const measured = await stage.play(load);
        (results[stage.name] ??= { load, rounds: [] }).rounds.push(measured);
        const { p50Ms, p99Ms, calls } = measured.spent;
        say(
          `round ${round}: ${stage.name}: ${calls} payments, spendable ${p50Ms.toFixed(1)} / ${p99Ms.toFixed(1)} ms`,
        );
      }
    }
    return results;
  } finally {
    for (const stage of stages) await stage.close();
    await stripe.stop();
  }
}

/** The sandbox Stripe as its own process. It delivers nothing itself: the benchmark says when. */
async function startStripe(): Promise<StripeStandIn> {
  const child = spawn(process.execPath, [here('../dist/sandbox/main.js')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
  const { stripe_api_base: url } = JSON.parse(line) as { stripe_api_base: string };
  return { url, stop: () => stop(child) };
}

/** One ledger, one service process on it, and somebody who hears of its commits. */
class WebhookStage {
  private readonly waiting = new Map<string, () => void>();
  private played = 0;

  private constructor(
    readonly name: string,
    private readonly service: Service,
    private readonly pool: Pool,
    private readonly listener: pg.Client,
  ) {
    listener.on('notification', ({ payload = '' }) => {
      this.waiting.get(payload)?.();
      this.waiting.delete(payload);
    });
  }

  static async open(name: string, databaseUrl: string, stripe: StripeStandIn): Promise<WebhookStage> {
    const listener = new pg.Client({ connectionString: databaseUrl });
    // The measured server may be stopped before this connection, by a failure that says more than its end does.
    listener.on('error', () => undefined);
    await listener.connect();
    await listener.query(`
      CREATE OR REPLACE FUNCTION tell_benchmark() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_notify('${CHANNEL}', NEW.account_id); RETURN NULL; END $$;
      CREATE OR REPLACE TRIGGER transfers_tell_benchmark AFTER INSERT ON transfers
        FOR EACH ROW WHEN (NEW.kind = 'top_up') EXECUTE FUNCTION tell_benchmark();
      LISTEN ${CHANNEL}`);
    const env = {
      STRIPE_SECRET_KEY: SECRET_KEY,
      STRIPE_WEBHOOK_SECRET: WEBHOOK_SECRET,
      STRIPE_API_BASE: stripe.url,
      // All customers come from this machine, and all within a minute.
      TOP_UPS_PER_ADDRESS_PER_DAY: '1000000',
      FAILED_PAYMENTS_PER_ADDRESS_PER_DAY: '1000000',
    };
    const service = await startService(databaseUrl, env, NICENESS);
    return new WebhookStage(name, service, new Pool(service.url, { connections: 64 }), listener);
  }

  async close(): Promise<void> {
    await this.listener.query(
      'DROP TRIGGER transfers_tell_benchmark ON transfers; DROP FUNCTION tell_benchmark',
    );
    await this.listener.end();
    await this.pool.close();
    await this.service.stop();
  }

  async play({ topUpsPerSecond, debitsPerSecond, seconds }: WebhookLoad): Promise<WebhookRound> {
    const payments = await this.prepare(topUpsPerSecond * seconds);
    const acknowledgedMs: number[] = [];
    const play = (this.played += 1);
    const [spent, debits] = await Promise.all([
      openLoop({ callsPerSecond: topUpsPerSecond, seconds }, async (index) => {
        const payment = payments[index];
        if (payment === undefined) throw new Error(`payment ${index} was not prepared`);
        acknowledgedMs.push(await this.settle(payment));
      }),
      openLoop({ callsPerSecond: debitsPerSecond, seconds }, (index) =>
        this.debit(accountId(1 + ((index * 7_919) % SPREAD_WALLETS)), `debit-${play}-${index}`, '40000'),
      ),
    ]);
    return { acknowledged: latenciesOf(acknowledgedMs), spent, debits };
  }

  /** Answers how long the webhook's own answer took. Resolves when the credit is spent. */
  private async settle({ account, sessionId }: Payment): Promise<number> {
    const committed = new Promise<void>((resolve) => this.waiting.set(account, resolve));
    const startedAt = performance.now();
    const body = JSON.stringify(completedEvent(sessionId));
    await this.post('/webhooks/stripe', body, 200, { 'stripe-signature': signatureOf(body) });
    const acknowledgedMs = performance.now() - startedAt;
    await committed;
    await this.debit(account, 'all-of-it', CREDIT_MICROS);
    return acknowledgedMs;
  }

  private async debit(account: string, reference: string, amount: string): Promise<void> {
    await this.operate('/v1/debits', { account, reference, amount_micros: amount });
  }

  /** Customers who have paid, and of whom nobody has told the service. */
  private async prepare(count: number): Promise<Payment[]> {
    const payments: Payment[] = [];
    let begun = 0;
    const worker = async (): Promise<void> => {
      while (begun < count) {
        begun += 1;
        payments.push(await this.prepareOne());
      }
    };
    await Promise.all(Array.from({ length: PREPARED_AT_ONCE }, worker));
    return payments;
  }

  private async prepareOne(): Promise<Payment> {
    const { id: account } = (await this.operate('/v1/accounts', { name: 'Benchmark of webhooks' })) as {
      id: string;
    };
    const key = { name: 'benchmark', scopes: ['wallet:write'] };
    const { secret } = (await this.operate(`/v1/accounts/${account}/api_keys`, key)) as { secret: string };
    const headers = { authorization: `Bearer ${secret}` };
    const wanted = JSON.stringify({ credit_cents: CREDIT_CENTS });
    const topUp = (await this.post('/v1/top_ups', wanted, 201, headers)) as { checkout_url: string };
    const paid = await fetch(`${topUp.checkout_url}/pay`, {
      method: 'POST',
      headers: { accept: 'application/json' },
    });
    if (paid.status !== 200) throw new Error(`not paid: ${paid.status} ${await paid.text()}`);
    await paid.arrayBuffer();
    return { account, sessionId: topUp.checkout_url.split('/').at(-1) ?? '' };
  }

  private operate(path: string, body: unknown): Promise<unknown> {
    return this.post(path, JSON.stringify(body), 201, { authorization: `Bearer ${OPERATOR_KEY}` });
  }

  private async post(
    path: string,
    body: string,
    status: number,
    headers: Readonly<Record<string, string>>,
  ): Promise<unknown> {
    const json = { ...headers, 'content-type': 'application/json' };
    const answer = await this.pool.request({ path, method: 'POST', headers: json, body });
    const text = await answer.body.text();
    if (answer.statusCode !== status) throw new Error(`${path}: ${answer.statusCode} ${text}`);
    return JSON.parse(text);
  }
}

/** A hint, as every event is: the service reads the session from Stripe. */
const completedEvent = (sessionId: string) => ({
  id: `evt_${sessionId}`,
  object: 'event',
  type: 'checkout.session.completed',
  livemode: false,
  created: Math.floor(Date.now() / 1_000),
  data: { object: { id: sessionId, object: 'checkout.session' } },
});

function signatureOf(payload: string): string {
  return Stripe.webhooks.generateTestHeaderString({ payload, secret: WEBHOOK_SECRET });
}
