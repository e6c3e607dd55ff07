import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { findDiscrepancies } from '../../src/finance/audit/examine-books.js';
import type { GenerationStatus } from '../../src/gateway/images/calls/generation.machine.js';
import type { CircuitState } from '../../src/gateway/images/providers/circuit-breaker.machine.js';
import { JobRegistry } from '../../src/platform/jobs/job-queue.js';
import type { EmailStatus } from '../../src/notifications/alerts/alert-email.machine.js';
import type { WebhookDeliveryStatus } from '../../src/notifications/webhooks/webhook-delivery.machine.js';
import type { AutoTopUpStatus } from '../../src/payments/auto-top-ups/auto-top-up.machine.js';
import type { RefundStatus } from '../../src/payments/refunds/refund.machine.js';
import type { PaymentReviewStatus } from '../../src/payments/payment-reviews/payment-review.machine.js';
import type { TopUpStatus } from '../../src/payments/top-ups/top-up.machine.js';
import type { HoldStatus, FreezeSource } from '../../src/money/wallets/rules/wallet.js';
import { sharedApp, type SharedApp } from '../fixtures/shared-app.js';
import { TestBooks } from '../support/database/test-books.js';

/**
 * What leads on from a state: nothing (`over`), a job of ours, or a person by a route. `doctor`: the doctor names it from the
 * first minute, because money is not where the books say. What a customer decides, or what holds no money, does not.
 */
type Fate =
  | 'over'
  | { readonly jobs: readonly string[]; readonly doctor?: true }
  | { readonly routes: readonly string[]; readonly doctor?: true };
type Fates<Status extends string> = Readonly<Record<Status, Fate>>;

const job = (...jobs: readonly string[]): Fate => ({ jobs });
const person = (...routes: readonly string[]): Fate => ({ routes });
const inDoctor = <Of extends Exclude<Fate, 'over'>>(fate: Of): Of => ({ ...fate, doctor: true });

const DECIDE_REVIEW = {
  routes: ['POST /v1/payment_reviews/{id}/return', 'POST /v1/payment_reviews/{id}/dismiss'],
} as const;
const UNFREEZE = 'POST /v1/accounts/{id}/unfreeze';
const UPDATE_WEBHOOK = 'POST /v1/webhook_endpoints/{id}/deliveries/{delivery}/redeliver';

/** Typed by the machines: a state that is added does not compile until it is said here what leads on from it. */
const FATES = {
  'top-up': {
    created: job('top_up_sweep'),
    pending: job('top_up_sweep'),
    processing: job('top_up_sweep'),
    expired: 'over',
    failed: 'over',
    needs_review: inDoctor(DECIDE_REVIEW),
    rejected: 'over',
    paid: 'over',
  } satisfies Fates<TopUpStatus>,
  'payment-review': {
    open: inDoctor(DECIDE_REVIEW),
    returning: job('payment_review_sweep'),
    returned: 'over',
    failed: inDoctor(DECIDE_REVIEW),
    dismissed: 'over',
    credited: 'over',
  } satisfies Fates<PaymentReviewStatus>,
  refund: {
    created: job('refund_sweep'),
    pending: job('refund_sweep'),
    succeeded: 'over',
    failing: job('movement_booking'),
    failed: 'over',
    refused: 'over',
    needs_review: inDoctor({ jobs: ['refund_sweep'] }),
  } satisfies Fates<RefundStatus>,
  'auto-top-up': {
    on: 'over',
    action_required: person('PUT /v1/auto_top_up', 'POST /v1/top_ups'),
    off: person('PUT /v1/auto_top_up'),
  } satisfies Fates<AutoTopUpStatus>,
  generation: {
    running: job('generation_recovery'),
    unresolved: job('generation_recovery'),
    succeeded: 'over',
    failed: 'over',
  } satisfies Fates<GenerationStatus>,
  hold: {
    authorized: job('hold_sweep', 'generation_recovery'),
    captured: 'over',
    voided: 'over',
    expired: 'over',
  } satisfies Fates<HoldStatus>,
  'webhook-delivery': {
    pending: job('webhook_delivery'),
    succeeded: 'over',
    failed: person(UPDATE_WEBHOOK),
    canceled: person(UPDATE_WEBHOOK),
  } satisfies Fates<WebhookDeliveryStatus>,
  'alert-email': {
    pending: job('alert_email'),
    sent: 'over',
    failed: 'over',
    canceled: 'over',
  } satisfies Fates<EmailStatus>,
  // In memory; time and calls lead on.
  'circuit-breaker': { closed: 'over', open: 'over', half_open: 'over' } satisfies Fates<CircuitState>,
  // Stripe's statuses, an open set. Its events lead on; what a lost one leaves is a frozen wallet that owes: see below.
  dispute: { open: job('stripe_event', 'stripe_gap_fill') },
  /** Why a wallet is frozen: a person's decision to take, and no fault of the books. */
  freeze: {
    operator: person(UNFREEZE),
    early_fraud_warning: person(UNFREEZE, 'POST /v1/accounts/{id}/top_ups/{top_up}/refund'),
    dispute: person(UNFREEZE, 'POST /v1/accounts/{id}/disputes/{dispute}/write_off'),
    refund: person(UNFREEZE, 'POST /v1/accounts/{id}/refunds/{refund}/write_off'),
  } satisfies Fates<FreezeSource>,
} as const;

const STATES = Object.entries(FATES).flatMap(([machine, fates]) =>
  Object.entries(fates).map(([state, fate]) => ({ machine, state, fate: fate as Fate })),
);
const SOURCES = fileURLToPath(new URL('../../src/', import.meta.url));

describe('a state that does not end by itself', () => {
  let app: SharedApp;
  let routes: ReadonlySet<string>;

  beforeAll(async () => {
    app = await sharedApp();
    const document = JSON.parse(readFileSync(new URL('../../openapi.json', import.meta.url), 'utf8')) as {
      paths: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
    };
    routes = new Set(
      Object.entries(document.paths).flatMap(([route, methods]) =>
        Object.keys(methods).map((method) => `${method.toUpperCase()} ${route}`),
      ),
    );
  });

  it('is of a machine that this table has', () => {
    const machines = readdirSync(SOURCES, { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.machine.ts'))
      .map((file) => path.basename(file, '.machine.ts'));
    // What freezes a wallet is a set of reasons and no machine.
    expect(Object.keys(FATES).sort()).toEqual([...machines, 'freeze'].sort());
  });

  it.each(STATES.filter(({ fate }) => fate !== 'over'))(
    'is led on by a job that runs or by a route that is there: $machine $state',
    ({ fate }) => {
      const { jobs = [], routes: asked = [] } = fate as { jobs?: string[]; routes?: string[] };
      expect(jobs.filter((name) => !app.app.get(JobRegistry).has(name))).toEqual([]);
      expect(asked.filter((route) => !routes.has(route))).toEqual([]);
      expect(jobs.length + asked.length).toBeGreaterThan(0);
    },
  );
});

describe('a state in which money waits for somebody', () => {
  let books: TestBooks;
  afterEach(() => books.close());

  /** A top-up of which Stripe was paid, and what of it is in that state. Answers the row that must be named. */
  const PLANTED: Readonly<Record<string, (state: string) => Promise<string>>> = {
    'top-up': async (state) => `top_ups ${await topUp(state)}`,
    'payment-review': async (state) => {
      await topUp('needs_review');
      await books.owner.query(
        `INSERT INTO payment_reviews (account_id, id, top_up_id, status, payment, paid, contradictions, returns, failure_code,
                                      stripe_refund_id, created_at, checked_at)
         SELECT account_id, 'rv_1', id, $1, checkout_session_id, true, 'currency is eur', $2, $3, $3, now(), now() FROM top_ups`,
        [state, state === 'failed' ? 1 : 0, state === 'failed' ? 're_1' : null],
      );
      return `payment_reviews ${await keyOf('payment_reviews')}`;
    },
    refund: async (state) => {
      await topUp('paid');
      await books.owner.query(
        `INSERT INTO refunds (account_id, id, top_up_id, status, credit_micros, fee_micros, amount_cents, payment_intent_id,
                              lot_id, return_lot_id, stripe_refund_id, fingerprint, created_by, created_at, checked_at)
         SELECT account_id, 're_1', id, $1, 10000000, 500000, 1050, 'pi_1', lot_id, 'lot_back', 'at_stripe', '', 'stripe', now(),
                now() FROM top_ups`,
        [state],
      );
      return `refunds ${await keyOf('refunds')}`;
    },
  };

  async function topUp(status: string): Promise<string> {
    const accountId = await books.account();
    await books.topUp(accountId, 10_000_000n);
    if (status === 'paid') return keyOf('top_ups');
    await books.owner.query(
      `ALTER TABLE top_ups DISABLE TRIGGER USER; ALTER TABLE transfers DISABLE TRIGGER USER`,
    );
    await books.owner.query(`UPDATE top_ups SET status = $1, paid_at = NULL`, [status]);
    return keyOf('top_ups');
  }

  async function keyOf(table: string): Promise<string> {
    const { rows } = await books.owner.query<{ key: string }>(
      `SELECT 'account_id=' || account_id || ' id=' || id AS key FROM ${table}`,
    );
    return rows[0]?.key ?? '';
  }

  it.each(STATES.filter(({ fate }) => fate !== 'over' && fate.doctor === true))(
    'is named by the doctor in its first minute: $machine $state',
    async ({ machine, state }) => {
      books = await TestBooks.open();
      books.nowMs = Date.now();
      const row = await PLANTED[machine]?.(state);
      const found = await findDiscrepancies(books.dataSource);
      expect(found.map(({ table, key }) => `${table} ${key}`)).toContain(row);
    },
  );

  it('is named when it is word of Stripe that could not be acted on for an hour, and not in its first minute', async () => {
    books = await TestBooks.open();
    const receive = (id: string, ago: string) =>
      books.owner.query(
        `INSERT INTO stripe_events (id, type, object_id, livemode, payload, received_at, last_error)
         VALUES ($1, 'charge.dispute.created', 'du_1', false, '{}', now() - $2::interval, 'it failed')`,
        [id, ago],
      );
    await receive('evt_new', '1 minute');
    await receive('evt_old', '61 minutes');
    const found = await findDiscrepancies(books.dataSource);
    expect(found).toMatchObject([{ table: 'stripe_events', key: 'id=evt_old' }]);
  });
});
