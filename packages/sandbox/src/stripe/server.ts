import { systemClock, type Clock } from '../clock.js';
import { createLoopbackServer, listenOnLoopback, noLog, type SandboxLog } from '../loopback-server.js';
import { registerApiRoutes } from './api-routes.js';
import { balanceTransactionOperations } from './balance-transactions.js';
import { chargeOperations } from './charges.js';
import { checkoutSessionOperations, expireOverdue, putSession } from './checkout-sessions.js';
import type { SandboxContext } from './context.js';
import { registerControlRoutes } from './control-routes.js';
import { SandboxStripeControl, WebhookFaultSwitch, type WebhookTarget } from './control.js';
import { customerOperations } from './customers.js';
import { disputeOperations } from './disputes.js';
import { carryOutDueOutcomes } from './due-outcomes.js';
import { earlyFraudWarningOperations } from './early-fraud-warnings.js';
import { eventOperations } from './events.js';
import { IdempotencyKeys } from './idempotency.js';
import { paymentPageUrl } from './new-checkout-session.js';
import { invoiceOperations } from './invoices.js';
import { offSessionPaymentOperations } from './off-session-payments.js';
import type { Operation } from './operation.js';
import { paymentIntentOperations } from './payment-intents.js';
import { paymentMethodOperations } from './payment-methods.js';
import { registerPaymentPage } from './payment-page-routes.js';
import { payoutOperations } from './payouts.js';
import { refundOperations } from './refunds.js';
import { RequestFaults } from './request-faults.js';
import { StripeStore } from './store.js';
import { resumePending } from './webhook-deliveries.js';
import { webhookEndpointOperations } from './webhook-endpoints.js';
import { WebhookSender } from './webhook-sender.js';

export type { SandboxStripeControl } from './control.js';

/** Every route of the API. A new resource is a new file and a line here. */
export const STRIPE_OPERATIONS: readonly Operation[] = [
  ...balanceTransactionOperations,
  ...chargeOperations,
  ...checkoutSessionOperations,
  ...customerOperations,
  ...disputeOperations,
  ...earlyFraudWarningOperations,
  ...eventOperations,
  ...invoiceOperations,
  ...offSessionPaymentOperations,
  ...paymentIntentOperations,
  ...paymentMethodOperations,
  ...payoutOperations,
  ...refundOperations,
  ...webhookEndpointOperations,
];

/** Stripe's requests are small; a hundred line items with metadata stay far below. */
const BODY_LIMIT_BYTES = 1_048_576;
/** How soon after its time a session expires, and a refund or dispute is decided. */
const SWEEP_MS = 1_000;

export type SandboxStripeOptions = {
  /** 0, the default, picks a free one. A fixed port keeps payment pages valid across restarts. */
  readonly port?: number;
  /** Keeps everything in this file across restarts; in memory without it. */
  readonly stateFile?: string;
  /** Where events go; more endpoints can be registered through the API. */
  readonly webhookEndpoint?: WebhookTarget;
  /** The only accepted API key; every `sk_test_…` and `rk_test_…` by default. */
  readonly apiKey?: string;
  /** Before the second attempt of a delivery; doubles up to 30 s. 500 by default. */
  readonly webhookRetryDelayMs?: number;
  readonly clock?: Clock;
  readonly log?: SandboxLog;
};

export type SandboxStripe = {
  /** For example `http://127.0.0.1:12111`: host, port and protocol for the SDK. */
  readonly baseUrl: string;
  readonly control: SandboxStripeControl;
  /** Stops serving and delivering; events that still wait for delivery stay in the state file. */
  readonly close: () => Promise<void>;
};

/**
 * Starts a server that speaks Stripe's HTTP on 127.0.0.1.
 * Rejects when the port is taken or the state file is not readable.
 */
export async function startSandboxStripe(options: SandboxStripeOptions = {}): Promise<SandboxStripe> {
  const store = await StripeStore.open(options.stateFile ?? null);
  const faultSwitch = new WebhookFaultSwitch();
  let baseUrl = '';
  const context: SandboxContext = {
    store,
    clock: options.clock ?? systemClock,
    log: options.log ?? noLog,
    baseUrl: () => baseUrl,
    webhookFaults: () => faultSwitch.faults,
  };
  const sender = new WebhookSender(context, () => faultSwitch.takeDrop(), options.webhookRetryDelayMs);
  const requestFaults = new RequestFaults();
  const control = new SandboxStripeControl({ context, sender, faultSwitch, requestFaults });
  const onCommitted = (): void => sender.wake();

  const app = createLoopbackServer(BODY_LIMIT_BYTES);
  const idempotencyKeys = new IdempotencyKeys(store.idempotentResults, context.clock);
  const apiKey = options.apiKey ?? null;
  // Each surface is its own scope: they differ in content types and in the shape of their errors.
  await app.register((scope, _options, done) => {
    const operations = STRIPE_OPERATIONS;
    registerApiRoutes(scope, { context, operations, idempotencyKeys, requestFaults, apiKey, onCommitted });
    done();
  });
  await app.register((scope, _options, done) => {
    registerPaymentPage(scope, { context, onCommitted });
    done();
  });
  await app.register((scope, _options, done) => {
    registerControlRoutes(scope, control);
    done();
  });
  baseUrl = await listenOnLoopback(app, options.port ?? 0);

  refreshPaymentPageUrls(context);
  resumePending(context);
  if (options.webhookEndpoint === undefined) sender.wake();
  else await control.setWebhookEndpoint(options.webhookEndpoint);
  const sweep = setInterval(() => void sweepAndSend(context, sender), SWEEP_MS).unref();

  const stop = async (): Promise<void> => {
    clearInterval(sweep);
    await app.close();
    await sender.close();
    await store.flush();
  };
  // Closed once: a late second call must not write over the state of a successor.
  let stopped: Promise<void> | null = null;
  return { baseUrl, control, close: () => (stopped ??= stop()) };
}

/** Open sessions of an earlier run are paid at the address of this one. */
function refreshPaymentPageUrls(context: SandboxContext): void {
  for (const record of context.store.checkoutSessions.oldestFirst()) {
    if (record.object.url !== null) putSession(context, record, { url: paymentPageUrl(context, record.id) });
  }
}

/** What happens because time passes. */
async function sweepAndSend(context: SandboxContext, sender: WebhookSender): Promise<void> {
  const expired = expireOverdue(context);
  if (expired + carryOutDueOutcomes(context) === 0) return;
  await context.store.flush().catch((error: unknown) => {
    context.log({ error: String(error) }, 'sandbox Stripe could not save its state');
  });
  sender.wake();
}
