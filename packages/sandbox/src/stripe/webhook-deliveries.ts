import type { SandboxContext } from './context.js';
import { stripeId } from './ids.js';
import type { Event } from './objects.js';
import type { WebhookDelivery, WebhookEndpointRecord } from './store.js';
import { areFaultsFor, NO_WEBHOOK_FAULTS, REORDER_WINDOW_MS } from './webhook-faults.js';

/** Plans one delivery for every endpoint that listens for the event's type; answers how many are planned. */
export function scheduleDeliveries(context: SandboxContext, event: Event): number {
  const asked = context.webhookFaults();
  const faults = areFaultsFor(asked, event.type) ? asked : NO_WEBHOOK_FAULTS;
  const endpoints = context.store.webhookEndpoints
    .oldestFirst()
    .filter((record) => listensFor(record, event.type));
  // Reordering concerns the neighbours, so it always applies.
  const waitMs = Math.max(faults.delayMs, asked.reorder ? REORDER_WINDOW_MS : 0);
  for (const endpoint of endpoints) {
    context.store.webhookDeliveries.put({
      id: stripeId('wd'),
      eventId: event.id,
      endpointId: endpoint.id,
      state: faults.loseEvents ? 'lost' : 'pending',
      attempts: 0,
      nextAttemptAtMs: context.clock.nowMs() + waitMs,
      lastStatus: null,
    });
  }
  return endpoints.length;
}

function listensFor(record: WebhookEndpointRecord, type: string): boolean {
  const { enabled_events: enabledEvents } = record.object;
  return enabledEvents.includes('*') || enabledEvents.includes(type);
}

export function deliveriesOf(context: SandboxContext, eventId: string): readonly WebhookDelivery[] {
  return context.store.webhookDeliveries.oldestFirst().filter((delivery) => delivery.eventId === eventId);
}

/** An event that no endpoint listens for counts as delivered, as at Stripe. */
export function pendingEventIds(context: SandboxContext): ReadonlySet<string> {
  const deliveries = context.store.webhookDeliveries.oldestFirst();
  return new Set(deliveries.filter(({ state }) => state !== 'delivered').map(({ eventId }) => eventId));
}

/** After a restart, every event without a successful delivery is due again, also those whose attempts had run out. */
export function resumePending(context: SandboxContext): void {
  for (const delivery of context.store.webhookDeliveries.oldestFirst()) {
    if (delivery.state !== 'pending' && delivery.state !== 'failed') continue;
    const revived: WebhookDelivery = {
      ...delivery,
      state: 'pending',
      attempts: 0,
      nextAttemptAtMs: context.clock.nowMs(),
    };
    context.store.webhookDeliveries.put(revived);
  }
}
