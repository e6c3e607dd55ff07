import { nowSeconds, type SandboxContext } from './context.js';
import type { Event } from './objects.js';
import type { WebhookDelivery } from './store.js';
import { areFaultsFor, REORDER_WINDOW_MS } from './webhook-faults.js';
import { stripeSignatureHeader } from './webhook-signature.js';

/** Stripe retries for three days. A developer's restart takes seconds, so the simulator's first delays are short. */
const RETRY_DELAY_FIRST_MS = 500;
const RETRY_DELAY_MAX_MS = 30_000;
/** With the delays above, this takes about twenty minutes. A restart of the simulator begins again. */
const ATTEMPTS_MAX = 45;
/** An endpoint that does not answer counts as failed, as at Stripe. */
const ANSWER_TIMEOUT_MS = 10_000;
const CONCURRENT_SENDS_MAX = 8;

export type SendRequest = { readonly url: string; readonly secret: string; readonly event: Event };

/**
 * Carries planned deliveries to their endpoints: at least once, in no promised order, again and again
 * with growing delays until one is answered with a 2xx. One slow endpoint does not hold up the others.
 */
export class WebhookSender {
  private timer: NodeJS.Timeout | null = null;
  /** Deliveries that are being sent, so that no second round picks them up. */
  private readonly underway = new Set<string>();
  private readonly lanes = new Set<Promise<void>>();
  private readonly aborter = new AbortController();

  constructor(
    private readonly context: SandboxContext,
    private readonly takeDrop: () => boolean,
    private readonly retryDelayFirstMs = RETRY_DELAY_FIRST_MS,
  ) {}

  /** Sends what is due, and sleeps until the next delivery is due. Never throws. */
  wake(): void {
    if (this.aborter.signal.aborted) return;
    const waiting = this.waiting();
    const nowMs = this.context.clock.nowMs();
    const due = waiting.filter((delivery) => delivery.nextAttemptAtMs <= nowMs);
    if (this.context.webhookFaults().reorder) {
      const gathered = waiting.filter(({ nextAttemptAtMs }) => nextAttemptAtMs <= nowMs + REORDER_WINDOW_MS);
      if (due.length > 0) this.startLane(gathered.toReversed());
    } else {
      const free = CONCURRENT_SENDS_MAX - this.lanes.size;
      for (const delivery of due.slice(0, Math.max(0, free))) this.startLane([delivery]);
    }
    this.sleepUntilNext(nowMs);
  }

  /** True when nothing waits to be delivered. */
  isSettled(): boolean {
    return this.underway.size === 0 && this.waiting().length === 0;
  }

  async close(): Promise<void> {
    this.aborter.abort();
    if (this.timer !== null) clearTimeout(this.timer);
    await Promise.all(this.lanes);
  }

  /** One signed POST; answers its status, or null when there was no answer. */
  async send({ url, secret, event }: SendRequest): Promise<number | null> {
    const payload = JSON.stringify(event, null, 2);
    try {
      const response = await fetch(url, {
        method: 'POST',
        headers: {
          'content-type': 'application/json; charset=utf-8',
          'stripe-signature': stripeSignatureHeader(payload, secret, nowSeconds(this.context)),
          'user-agent': 'Stripe/1.0 (+https://stripe.com/docs/webhooks)',
        },
        body: payload,
        // A redirect is a failure: Stripe does not follow them.
        redirect: 'manual',
        signal: AbortSignal.any([this.aborter.signal, AbortSignal.timeout(ANSWER_TIMEOUT_MS)]),
      });
      await response.body?.cancel();
      return response.status;
    } catch {
      return null;
    }
  }

  private waiting(): readonly WebhookDelivery[] {
    return this.context.store.webhookDeliveries
      .oldestFirst()
      .filter((delivery) => delivery.state === 'pending' && !this.underway.has(delivery.id));
  }

  /** Deliveries that are due but found no free lane need no timer: a lane checks again when it ends. */
  private sleepUntilNext(nowMs: number): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    const later = this.waiting()
      .map((delivery) => delivery.nextAttemptAtMs)
      .filter((atMs) => atMs > nowMs);
    if (later.length === 0) return;
    const soonestMs = later.reduce((soonest, atMs) => Math.min(soonest, atMs));
    this.timer = setTimeout(() => this.wake(), soonestMs - nowMs).unref();
  }

  /** Sends `deliveries` one after the other. */
  private startLane(deliveries: readonly WebhookDelivery[]): void {
    for (const delivery of deliveries) this.underway.add(delivery.id);
    const lane = this.runLane(deliveries).finally(() => {
      this.lanes.delete(lane);
      this.wake();
    });
    this.lanes.add(lane);
  }

  private async runLane(deliveries: readonly WebhookDelivery[]): Promise<void> {
    for (const delivery of deliveries) {
      if (!this.aborter.signal.aborted) await this.attempt(delivery);
      this.underway.delete(delivery.id);
    }
    await this.context.store.flush().catch((error: unknown) => {
      this.context.log({ error: String(error) }, 'sandbox Stripe could not save its state');
    });
  }

  /** How often this attempt is sent at once; 0 when it vanishes on the wire. */
  private copiesOf(event: Event): number {
    const faults = this.context.webhookFaults();
    if (!areFaultsFor(faults, event.type)) return 1;
    return this.takeDrop() ? 0 : faults.copies;
  }

  private async attempt(delivery: WebhookDelivery): Promise<void> {
    const { store, clock, log } = this.context;
    const event = store.events.get(delivery.eventId);
    const endpoint = store.webhookEndpoints.get(delivery.endpointId);
    if (event === undefined || endpoint === undefined) {
      store.webhookDeliveries.put({ ...delivery, state: 'failed' });
      return;
    }
    const request = { url: endpoint.object.url, secret: endpoint.secret, event };
    const copies = this.copiesOf(event);
    const statuses = await Promise.all(Array.from({ length: copies }, () => this.send(request)));
    const delivered = statuses.some((status) => status !== null && status >= 200 && status < 300);
    // Cut off by our own end: not an answer of the endpoint, so it does not count as an attempt.
    if (!delivered && this.aborter.signal.aborted) return;
    const attempts = delivery.attempts + 1;
    const waitMs = Math.min(
      this.retryDelayFirstMs * 2 ** Math.min(delivery.attempts, 20),
      RETRY_DELAY_MAX_MS,
    );
    store.webhookDeliveries.put({
      ...delivery,
      state: delivered ? 'delivered' : attempts < ATTEMPTS_MAX ? 'pending' : 'failed',
      attempts,
      nextAttemptAtMs: clock.nowMs() + waitMs,
      lastStatus: statuses.at(-1) ?? null,
    });
    const what = { event: event.id, type: event.type, attempt: attempts, statuses };
    log(what, delivered ? 'sandbox Stripe delivered an event' : 'sandbox Stripe will retry an event');
  }
}
