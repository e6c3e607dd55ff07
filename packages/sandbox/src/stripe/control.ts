import { setTimeout as sleep } from 'node:timers/promises';
import type { SandboxContext } from './context.js';
import { CAUSED_BY_NO_REQUEST } from './context.js';
import { expireSession, putSession } from './checkout-sessions.js';
import { UnknownObjectError } from './control-errors.js';
import { emitTamperedEvent, type EventTampering } from './events.js';
import { MoneyControl, type DisputeRequest } from './money-control.js';
import type { Dispute, EarlyFraudWarning, Payout, Refund } from './money-out-objects.js';
import type { CheckoutSession, Event, PaymentIntent, PaymentMethod } from './objects.js';
import { putPaymentIntent } from './payment-intents.js';
import { payCheckoutSession, type PaymentOutcome } from './payments.js';
import type { RequestFault, RequestFaults } from './request-faults.js';
import type { WebhookDelivery } from './store.js';
import { CONFIGURED_ENDPOINT_ID, putEndpoint } from './webhook-endpoints.js';
import { NO_WEBHOOK_FAULTS, type WebhookFaults } from './webhook-faults.js';
import type { WebhookSender } from './webhook-sender.js';

const SETTLE_POLL_MS = 10;

export type WebhookTarget = {
  readonly url: string;
  readonly secret: string;
  readonly enabledEvents?: readonly string[];
};

/** The faults in force; `context.webhookFaults` reads them. */
export class WebhookFaultSwitch {
  faults: WebhookFaults = NO_WEBHOOK_FAULTS;

  /** Uses up one of `dropNextAttempts`. */
  takeDrop(): boolean {
    if (this.faults.dropNextAttempts === 0) return false;
    this.faults = { ...this.faults, dropNextAttempts: this.faults.dropNextAttempts - 1 };
    return true;
  }
}

type ControlParts = {
  readonly context: SandboxContext;
  readonly sender: WebhookSender;
  readonly faultSwitch: WebhookFaultSwitch;
  readonly requestFaults: RequestFaults;
};

/** What tests and scripts can do to the simulator, and cannot do to Stripe. */
export class SandboxStripeControl {
  private readonly money: MoneyControl;

  constructor(private readonly parts: ControlParts) {
    this.money = new MoneyControl(parts.context);
  }

  /** Sets the one endpoint that is configured from outside; events that still wait for delivery move with it. */
  async setWebhookEndpoint(target: WebhookTarget): Promise<void> {
    const { url, secret, enabledEvents = ['*'] } = target;
    putEndpoint(this.parts.context, CONFIGURED_ENDPOINT_ID, { url, secret, enabledEvents });
    await this.commit();
  }

  setWebhookFaults(faults: Partial<WebhookFaults>): void {
    this.parts.faultSwitch.faults = { ...this.parts.faultSwitch.faults, ...faults };
  }

  failRequests(fault: RequestFault): void {
    this.parts.requestFaults.add(fault);
  }

  clearFaults(): void {
    this.parts.faultSwitch.faults = NO_WEBHOOK_FAULTS;
    this.parts.requestFaults.clear();
  }

  /** As the customer on the payment page. `card` is one of the test cards' numbers. */
  async pay(
    sessionId: string,
    card?: string,
    authentication: 'fails' | 'succeeds' = 'succeeds',
  ): Promise<PaymentOutcome> {
    const outcome = payCheckoutSession(this.parts.context, sessionId, { card, authentication });
    await this.commit();
    return outcome;
  }

  /** As if the time ran out; a session that is not open stays as it is. */
  async expireCheckoutSession(sessionId: string): Promise<CheckoutSession> {
    const record = this.parts.context.store.checkoutSessions.get(sessionId);
    if (record === undefined) throw new UnknownObjectError(sessionId);
    if (record.object.status !== 'open') return record.object;
    const { object } = expireSession(this.parts.context, record, CAUSED_BY_NO_REQUEST);
    await this.commit();
    return object;
  }

  /** Changes what the API answers for this object from now on, as if Stripe itself had changed it. */
  async overrideCheckoutSession(
    sessionId: string,
    changes: Readonly<Record<string, unknown>>,
  ): Promise<CheckoutSession> {
    const { context } = this.parts;
    const record = context.store.checkoutSessions.get(sessionId);
    if (record === undefined) throw new UnknownObjectError(sessionId);
    const { object } = putSession(context, record, changes);
    await this.commit();
    return object;
  }

  async overridePaymentIntent(
    id: string,
    changes: Readonly<Record<string, unknown>>,
  ): Promise<PaymentIntent> {
    const { context } = this.parts;
    const intent = context.store.paymentIntents.get(id);
    if (intent === undefined) throw new UnknownObjectError(id);
    const changed = putPaymentIntent(context, intent, changes);
    await this.commit();
    return changed;
  }

  /** Stripe says something else of a refund, a dispute or a balance transaction from now on. */
  async overrideMoney(
    table: 'balanceTransactions' | 'disputes' | 'refunds',
    id: string,
    changes: Readonly<Record<string, unknown>>,
  ): Promise<void> {
    const { store } = this.parts.context;
    const found = store[table].get(id);
    if (found === undefined) throw new UnknownObjectError(id);
    (store[table] as { put(value: typeof found): void }).put({ ...found, ...changes });
    await this.commit();
  }

  /** A cardholder's bank disputes a charge. Rejects with what cannot be (`ControlRefusedError`). */
  async createDispute(request: DisputeRequest): Promise<Dispute> {
    return this.committed(this.money.dispute(request));
  }

  async moveDispute(id: string, status: string): Promise<Dispute> {
    return this.committed(this.money.moveDispute(id, status));
  }

  async moveDisputeMoney(id: string, amountCents: number): Promise<Dispute> {
    return this.committed(this.money.moveDisputeMoney(id, amountCents));
  }

  async warnOfFraud(charge: string, fraudType?: string): Promise<EarlyFraudWarning> {
    return this.committed(this.money.warnOfFraud(charge, fraudType));
  }

  async succeedRefund(id: string): Promise<Refund> {
    return this.committed(this.money.succeedRefund(id));
  }

  async failRefund(id: string, reason?: string): Promise<Refund> {
    return this.committed(this.money.failRefund(id, reason));
  }

  /** Everything that no payout carried away yet goes to the bank. */
  async payOut(): Promise<Payout> {
    return this.committed(this.money.payOut());
  }

  async failPayout(id: string): Promise<Payout> {
    return this.committed(this.money.failPayout(id));
  }

  /** A saved card behaves from now on as the test card of this number. */
  async changeCard(paymentMethodId: string, cardNumber: string): Promise<PaymentMethod> {
    return this.committed(this.money.changeCard(paymentMethodId, cardNumber));
  }

  /** Newest first, optionally of one type. */
  events(type?: string): readonly Event[] {
    return this.parts.context.store.events
      .newestFirst()
      .filter((event) => type === undefined || event.type === type);
  }

  /**
   * Sends an event again, now, `times` times one after the other, whatever became of it before. A `secret`
   * other than the endpoint's makes it a forgery. Answers the statuses, null where there was no answer.
   */
  async sendEvent(
    eventId: string,
    options: { readonly times?: number; readonly secret?: string } = {},
  ): Promise<readonly (number | null)[]> {
    const { store } = this.parts.context;
    const event = store.events.get(eventId);
    if (event === undefined) throw new UnknownObjectError(eventId);
    const statuses: (number | null)[] = [];
    for (const endpoint of store.webhookEndpoints.oldestFirst()) {
      const request = { url: endpoint.object.url, secret: options.secret ?? endpoint.secret, event };
      for (let sent = 0; sent < (options.times ?? 1); sent += 1)
        statuses.push(await this.parts.sender.send(request));
    }
    return statuses;
  }

  /** Emits a well-signed copy, under a new id, that lies about the members given. */
  async emitTamperedEvent(sourceEventId: string, tampering: EventTampering): Promise<Event> {
    const source = this.parts.context.store.events.get(sourceEventId);
    if (source === undefined) throw new UnknownObjectError(sourceEventId);
    const event = emitTamperedEvent(this.parts.context, source, tampering);
    await this.commit();
    return event;
  }

  deliveries(): readonly WebhookDelivery[] {
    return this.parts.context.store.webhookDeliveries.newestFirst();
  }

  /** Resolves when no event waits for delivery any more; rejects after `timeoutMs`, by default what a slow machine may take. */
  async whenDelivered(timeoutMs = 40_000): Promise<void> {
    const deadlineMs = Date.now() + timeoutMs;
    while (!this.parts.sender.isSettled()) {
      if (Date.now() > deadlineMs) throw new Error(`events still wait for delivery after ${timeoutMs} ms`);
      await sleep(SETTLE_POLL_MS);
    }
  }

  private async committed<T>(result: T): Promise<T> {
    await this.commit();
    return result;
  }

  private async commit(): Promise<void> {
    await this.parts.context.store.flush();
    this.parts.sender.wake();
  }
}
