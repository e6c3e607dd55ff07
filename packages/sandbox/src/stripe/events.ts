import { nowSeconds, type Cause, type SandboxContext } from './context.js';
import { resourceMissing } from './errors.js';
import { stripeId } from './ids.js';
import { listParameters, page } from './lists.js';
import { API_VERSION, type Event, type StripeObject } from './objects.js';
import { operation, type Operation } from './operation.js';
import { boolean, list, isWithin, optional, text, timeRange } from './parameter-schema.js';
import { deliveriesOf, scheduleDeliveries, pendingEventIds } from './webhook-deliveries.js';

/** Stripe's own limit for the `types` filter. */
const TYPES_MAX = 20;

/**
 * Writes the event and its deliveries. They leave once the caller has flushed the store. `previously` holds
 * the earlier values of members that changed, as Stripe sends them with a change.
 */
export function emitEvent(
  context: SandboxContext,
  type: string,
  object: StripeObject,
  cause: Cause,
  previously?: Readonly<Record<string, unknown>>,
): Event {
  return storeEvent(context, {
    id: stripeId('evt'),
    object: 'event',
    api_version: API_VERSION,
    created: nowSeconds(context),
    // A copy: an event shows its object as it was, whatever happens to the object later.
    data: {
      object: structuredClone(object),
      ...(previously === undefined ? {} : { previous_attributes: previously }),
    },
    livemode: object['livemode'] === true,
    pending_webhooks: 0,
    request: { id: cause.requestId, idempotency_key: cause.idempotencyKey },
    type,
  });
}

export type EventTampering = {
  /** Members of the event itself, for example `{ livemode: true }`. */
  readonly event?: Readonly<Record<string, unknown>>;
  /** Members of the object inside, for example `{ amount_total: 1, currency: 'eur' }`. */
  readonly object?: Readonly<Record<string, unknown>>;
};

/** A well-signed event that lies: a copy of a true one under a new id, with members overwritten. */
export function emitTamperedEvent(context: SandboxContext, source: Event, tampering: EventTampering): Event {
  const data = { ...source.data, object: { ...structuredClone(source.data.object), ...tampering.object } };
  return storeEvent(context, { ...source, id: stripeId('evt'), data, ...tampering.event });
}

function storeEvent(context: SandboxContext, event: Event): Event {
  const pendingWebhooks = scheduleDeliveries(context, event);
  const stored = { ...event, pending_webhooks: pendingWebhooks };
  context.store.events.put(stored);
  return stored;
}

export const eventOperations: readonly Operation[] = [
  operation({
    method: 'GET',
    path: '/v1/events/:id',
    parameters: {},
    run: (context, _params, { id }) => {
      const event = context.store.events.get(id);
      if (event === undefined) throw resourceMissing('event', id, 'id', 404);
      return withPendingWebhooks(context, event);
    },
  }),
  operation({
    method: 'GET',
    path: '/v1/events',
    parameters: {
      ...listParameters,
      created: optional(timeRange()),
      delivery_success: optional(boolean()),
      type: optional(text(100)),
      types: optional(list(text(100), TYPES_MAX)),
    },
    run: (context, params) => {
      const { created, delivery_success: deliverySuccess, type, types } = params;
      const pending = deliverySuccess === undefined ? null : pendingEventIds(context);
      const wanted = context.store.events.newestFirst().filter((event) => {
        if (!isWithin(created, event.created)) return false;
        if (pending !== null && pending.has(event.id) === deliverySuccess) return false;
        if (types !== undefined && !types.includes(event.type)) return false;
        return type === undefined || matchesType(type, event.type);
      });
      const found = page(wanted, params, '/v1/events', 'event');
      return { ...found, data: found.data.map((event) => withPendingWebhooks(context, event)) };
    },
  }),
];

/** The stored event says how many deliveries it began with; readers see how many are left. */
function withPendingWebhooks<T extends { readonly id: string }>(context: SandboxContext, event: T): T {
  const deliveries = deliveriesOf(context, event.id);
  return { ...event, pending_webhooks: deliveries.filter((delivery) => delivery.state === 'pending').length };
}

/** `charge.*` names every type that begins so. */
function matchesType(filter: string, type: string): boolean {
  return filter.endsWith('.*') ? type.startsWith(filter.slice(0, -1)) : filter === type;
}
