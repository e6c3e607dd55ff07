/**
 * From Stripe's webhook to credit that can be spent, while other customers are charged.
 *
 * Nothing is polled. A trigger that only this database has notifies the benchmark of every top-up's transfer in the moment
 * of its commit, and at once the whole new credit is debited over HTTP, from an account that had none. The time ends
 * with the answer to that debit, so it is an upper bound: it contains the notification and the debit as well. It begins when
 * the webhook should have been sent: a stall counts for every payment that it delayed.
 */
import pg from 'pg';
import { Stripe } from 'stripe';
import { Pool } from 'undici';
import type { CleanUp } from './clean-up.js';
import { createLedger, examine, startCluster, type Ledger } from './ledgers.js';
import { table } from './report.js';
import { startSandbox } from './sandbox.js';
import { OPERATOR_KEY, startService } from './servers.js';
import { median, quantile } from './statistics.js';
import { accountId, SPREAD_WALLETS } from './wallets.js';

const SECRET_KEY = 'sk_test_benchmark_of_webhooks';
const WEBHOOK_SECRET = 'whsec_benchmark_of_webhooks';
const CREDIT_CENTS = 1_000;
const CREDIT_MICROS = '10000000';
const WARM_UP_SECONDS = 3;
/** How many payments are prepared at the same time. */
const PREPARED_AT_ONCE = 16;
const CHANNEL = 'benchmark_top_ups';
/** A payment that is not credited by then never will be, and an answer that takes longer is lost. */
const WAIT_MS_MAX = 30_000;

export type WebhookLoad = {
  readonly topUpsPerSecond: number;
  readonly debitsPerSecond: number;
  readonly seconds: number;
  readonly rounds: number;
};
type Latencies = { readonly p50Ms: number; readonly p99Ms: number; readonly calls: number };
/** Of each round: until the webhook was answered, until the credit was spent, and what the other debits took. */
export type WebhookRound = {
  readonly acknowledged: Latencies;
  readonly spent: Latencies;
  readonly debits: Latencies;
};
export type WebhookResult = { readonly load: WebhookLoad; readonly rounds: readonly WebhookRound[] };

type Payment = { readonly account: string; readonly sessionId: string };

export async function measureWebhooks({
  load,
  dir,
  cleanUp,
  say,
}: {
  readonly load: WebhookLoad;
  readonly dir: string;
  readonly cleanUp: CleanUp;
  readonly say: (text: string) => void;
}): Promise<WebhookResult> {
  const cluster = await startCluster(dir, 'webhooks', cleanUp);
  const ledger = await createLedger(cluster, 'bench_webhooks');
  const sandbox = await startSandbox(cleanUp);
  const stage = await WebhookStage.open(ledger, sandbox.stripe, cleanUp);
  cleanUp.add(() => stage.close());
  await stage.play({ ...load, seconds: WARM_UP_SECONDS });
  const rounds: WebhookRound[] = [];
  for (let round = 1; round <= load.rounds; round += 1) {
    const measured = await stage.play(load);
    rounds.push(measured);
    const { p50Ms, p99Ms, calls } = measured.spent;
    say(`round ${round}: ${calls} payments, spendable after ${p50Ms.toFixed(1)} / ${p99Ms.toFixed(1)} ms`);
  }
  await examine(ledger.url);
  return { load, rounds };
}

/** Markdown; medians of the rounds. */
export function webhookTable({ load, rounds }: WebhookResult): string {
  const pair = (of: (round: WebhookRound) => Latencies): string =>
    (['p50Ms', 'p99Ms'] as const)
      .map((of99) => median(rounds.map((round) => of(round)[of99])).toFixed(1))
      .join(' / ');
  return table(
    ['payments/s', 'debits/s', 'webhook answered, p50 / p99 ms', 'credit spent', 'other debits'],
    [
      [
        `${load.topUpsPerSecond}`,
        `${load.debitsPerSecond}`,
        pair(({ acknowledged }) => acknowledged),
        pair(({ spent }) => spent),
        pair(({ debits }) => debits),
      ],
    ],
  );
}

/** A service on a ledger, and a connection that is notified of its commits. */
class WebhookStage {
  private readonly waiting = new Map<string, () => void>();
  private played = 0;

  private constructor(
    private readonly pool: Pool,
    private readonly listener: pg.Client,
  ) {
    listener.on('notification', ({ payload = '' }) => {
      this.waiting.get(payload)?.();
      this.waiting.delete(payload);
    });
  }

  static async open(ledger: Ledger, stripe: string, cleanUp: CleanUp): Promise<WebhookStage> {
    const listener = new pg.Client({ connectionString: ledger.url, connectionTimeoutMillis: WAIT_MS_MAX });
    // The measured server may be stopped before this connection, by a failure that says more than its end does.
    listener.on('error', () => undefined);
    await listener.connect();
    await listener.query(`
      CREATE OR REPLACE FUNCTION notify_benchmark() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_notify('${CHANNEL}', NEW.account_id); RETURN NULL; END $$;
      CREATE OR REPLACE TRIGGER transfers_notify_benchmark AFTER INSERT ON transfers
        FOR EACH ROW WHEN (NEW.kind = 'top_up') EXECUTE FUNCTION notify_benchmark();
      LISTEN ${CHANNEL}`);
    const env = {
      STRIPE_SECRET_KEY: SECRET_KEY,
      STRIPE_WEBHOOK_SECRET: WEBHOOK_SECRET,
      STRIPE_API_BASE: stripe,
      // All customers come from this machine, and all within a minute.
      TOP_UPS_PER_ADDRESS_PER_DAY: '1000000',
      FAILED_PAYMENTS_PER_ADDRESS_PER_DAY: '1000000',
    };
    const service = await startService(ledger, cleanUp, env);
    const limits = { connections: 64, headersTimeout: WAIT_MS_MAX, bodyTimeout: WAIT_MS_MAX };
    return new WebhookStage(new Pool(service.url, limits), listener);
  }

  async close(): Promise<void> {
    await this.pool.destroy();
    await this.listener.end();
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
    const committed = new Promise<void>((resolve, reject) => {
      const timer = setTimeout(reject, WAIT_MS_MAX, new Error(`the payment of ${account} was not credited`));
      this.waiting.set(account, () => {
        clearTimeout(timer);
        resolve();
      });
    });
    // It may be refused before it is waited for, while the webhook itself is still unanswered.
    committed.catch(() => undefined);
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

  /** Customers who have paid, which the service does not know yet. */
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
      signal: AbortSignal.timeout(WAIT_MS_MAX),
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

/**
 * Open loop: calls start at their times whether or not earlier ones have been answered, and each is timed from when it should
 * have started.
 */
async function openLoop(
  { callsPerSecond, seconds }: { readonly callsPerSecond: number; readonly seconds: number },
  call: (index: number) => Promise<void>,
): Promise<Latencies> {
  const startedAtMs = performance.now() + 50;
  const timings: number[] = [];
  const callAt = async (index: number): Promise<void> => {
    const dueAtMs = startedAtMs + (index * 1_000) / callsPerSecond;
    await new Promise((resolve) => setTimeout(resolve, dueAtMs - performance.now()));
    await call(index);
    timings.push(performance.now() - dueAtMs);
  };
  await Promise.all(Array.from({ length: callsPerSecond * seconds }, (_, index) => callAt(index)));
  return latenciesOf(timings);
}

function latenciesOf(timings: readonly number[]): Latencies {
  return { p50Ms: quantile(timings, 0.5), p99Ms: quantile(timings, 0.99), calls: timings.length };
}
