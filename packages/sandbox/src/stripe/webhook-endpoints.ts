import { isLoopbackUrl } from '../loopback-server.js';
import { nowSeconds, type SandboxContext } from './context.js';
import { invalidRequest, resourceMissing } from './errors.js';
import { isEventType } from './event-types.js';
import { stripeId, webhookSecret } from './ids.js';
import { listParameters, page } from './lists.js';
import { API_VERSION, type WebhookEndpoint } from './objects.js';
import { operation, type Operation } from './operation.js';
import { choice, emptyable, list, metadata, offSwitch, optional, text, url } from './parameter-schema.js';
import type { WebhookEndpointRecord } from './store.js';

const ENABLED_EVENTS_MAX = 300;

/**
 * The endpoint that options or the control object set. Its id is fixed, so that what waits for it is
 * delivered after a restart even when the service came back on another port.
 */
export const CONFIGURED_ENDPOINT_ID = 'we_sandbox_configured';

export type EndpointSpec = {
  readonly url: string;
  readonly secret: string;
  readonly enabledEvents: readonly string[];
  readonly description?: string | null;
  readonly metadata?: Readonly<Record<string, string>>;
};

/** Inserts, or replaces the endpoint of this id, which then also inherits what the old one still waits for. */
export function putEndpoint(context: SandboxContext, id: string, spec: EndpointSpec): WebhookEndpointRecord {
  const object: WebhookEndpoint = {
    id,
    object: 'webhook_endpoint',
    api_version: API_VERSION,
    application: null,
    created: nowSeconds(context),
    description: spec.description ?? null,
    enabled_events: spec.enabledEvents,
    livemode: false,
    metadata: spec.metadata ?? {},
    status: 'enabled',
    url: spec.url,
  };
  const record = { id, object, secret: spec.secret };
  context.store.webhookEndpoints.put(record);
  return record;
}

export const webhookEndpointOperations: readonly Operation[] = [
  operation({
    method: 'POST',
    path: '/v1/webhook_endpoints',
    parameters: {
      api_version: optional(choice([API_VERSION])),
      connect: optional(offSwitch()),
      description: optional(emptyable(text())),
      enabled_events: list(text(100), ENABLED_EVENTS_MAX),
      metadata: optional(emptyable(metadata())),
      url: url(),
    },
    run: (context, params) => {
      assertEventTypes(params.enabled_events);
      if (!isLoopbackUrl(params.url)) {
        throw invalidRequest('The sandbox delivers to this machine only (127.0.0.1 or localhost).', {
          code: 'url_invalid',
          param: 'url',
        });
      }
      const { object, secret } = putEndpoint(context, stripeId('we'), {
        url: params.url,
        secret: webhookSecret(),
        enabledEvents: params.enabled_events,
        description: params.description ?? null,
        metadata: params.metadata ?? {},
      });
      return { ...object, secret };
    },
  }),
  operation({
    method: 'GET',
    path: '/v1/webhook_endpoints/:id',
    parameters: {},
    run: (context, _params, { id }) => {
      const record = context.store.webhookEndpoints.get(id);
      if (record === undefined) throw resourceMissing('webhook endpoint', id, 'id', 404);
      return record.object;
    },
  }),
  operation({
    method: 'GET',
    path: '/v1/webhook_endpoints',
    parameters: listParameters,
    run: (context, params) => {
      const endpoints = context.store.webhookEndpoints.newestFirst().map((record) => record.object);
      return page(endpoints, params, '/v1/webhook_endpoints', 'webhook_endpoint');
    },
  }),
];

function assertEventTypes(types: readonly string[]): void {
  if (types.length === 0) throw invalidRequest('Invalid array', { param: 'enabled_events' });
  for (const [index, type] of types.entries()) {
    if (isEventType(type)) continue;
    throw invalidRequest(`Invalid enabled_events[${index}]: ${type}`, { param: `enabled_events[${index}]` });
  }
}
