import type { Type } from '@nestjs/common';
import type { OpenAPIObject } from '@nestjs/swagger';
import { WalletAlertView } from '../../notifications/alerts/wallet-alerts.dto.js';
import {
  TEST_EVENT_TYPE,
  WEBHOOK_EVENT_TYPES,
  WEBHOOK_EVENTS,
  type WebhookEventType,
} from '../../notifications/event-types.js';
import {
  AutoTopUpChangeView,
  AutoTopUpFailureView,
  AutoTopUpOffView,
} from '../../payments/auto-top-ups/auto-top-up-event.dto.js';
import { DisputeView } from '../../payments/disputes/dispute.dto.js';
import { RefundView } from '../../payments/refunds/refund.dto.js';
import { TopUpView } from '../../payments/top-ups/top-up.dto.js';

type Json = Readonly<Record<string, unknown>>;
type EventData = {
  /** The class from which the publisher builds the event's data: the API's answer for the same object, if there is one. */
  readonly view: Type<unknown>;
  /** The members in which the event's example differs from the view's. */
  readonly example?: Json;
};

const paidAt = 1_795_329_600;

/** The data of every event. A type without its data does not compile. */
export const WEBHOOK_DATA: Readonly<Record<WebhookEventType, EventData>> = {
  'top_up.succeeded': {
    view: TopUpView,
    example: { status: 'paid', checkout_url: null, paid_at: paidAt },
  },
  'top_up.failed': {
    view: TopUpView,
    example: { status: 'failed', checkout_url: null, failure_code: 'payment_failed' },
  },
  'auto_top_up.updated': { view: AutoTopUpChangeView },
  'auto_top_up.failed': { view: AutoTopUpFailureView },
  'auto_top_up.disabled': { view: AutoTopUpOffView },
  'refund.created': { view: RefundView, example: { status: 'created' } },
  'refund.pending': { view: RefundView, example: { status: 'pending' } },
  'refund.succeeded': { view: RefundView, example: { status: 'succeeded' } },
  'refund.failed': {
    view: RefundView,
    example: { status: 'failed', failure_code: 'expired_or_canceled_card' },
  },
  'refund.refused': {
    view: RefundView,
    example: { status: 'refused', failure_code: 'insufficient_credits' },
  },
  'refund.needs_review': {
    view: RefundView,
    example: { status: 'needs_review', failure_code: 'insufficient_credits' },
  },
  'dispute.created': { view: DisputeView, example: { credit_micros: null, fee_micros: null, movements: [] } },
  'dispute.funds_withdrawn': { view: DisputeView, example: { frozen_at: paidAt, withdrawn_at: paidAt } },
  'dispute.funds_reinstated': {
    view: DisputeView,
    example: { status: 'won', frozen_at: paidAt, withdrawn_at: paidAt, reinstated_at: paidAt },
  },
  'dispute.updated': { view: DisputeView, example: { status: 'under_review' } },
  'dispute.closed': {
    view: DisputeView,
    example: { status: 'lost', frozen_at: paidAt, withdrawn_at: paidAt },
  },
  'wallet.low': { view: WalletAlertView },
  'wallet.depleted': { view: WalletAlertView, example: { posted_micros: '0', available_micros: '0' } },
  'wallet.frozen': {
    view: WalletAlertView,
    example: { status: 'frozen', reason: 'dispute du_1P0000000000000000000000' },
  },
};

/** Views that no route returns. */
export const WEBHOOK_VIEWS: readonly Type<unknown>[] = [
  ...new Set(Object.values(WEBHOOK_DATA).map(({ view }) => view)),
];

/** Adds the `webhooks` of the document: what a receiver is sent. The views' schemas are already in its components. */
export function documentWebhooks(document: OpenAPIObject): void {
  const schemas = (document.components?.schemas ?? {}) as Schemas;
  const events = WEBHOOK_EVENT_TYPES.map((type) => {
    const { view, example = {} } = WEBHOOK_DATA[type];
    const data = { ...(buildExample(schemas, refTo(view.name)) as Json), ...example };
    return [type, webhook(type, WEBHOOK_EVENTS[type], refTo(view.name), data)] as const;
  });
  const test = webhook(
    TEST_EVENT_TYPE,
    'The owner of the endpoint asked for it. No endpoint can subscribe to it.',
    TEST_DATA,
    buildExample(schemas, TEST_DATA) as Json,
  );
  (document as { webhooks?: unknown }).webhooks = Object.fromEntries([...events, [TEST_EVENT_TYPE, test]]);
}

const TEST_DATA = {
  type: 'object',
  required: ['webhook_endpoint'],
  properties: {
    webhook_endpoint: {
      type: 'string',
      description: 'The endpoint itself.',
      example: 'we_01KB2H7Q0000000000000000AA',
    },
  },
};

const header = (name: string, description: string, example: string) => ({
  name,
  in: 'header',
  required: true,
  description,
  schema: { type: 'string', example },
});

const HEADERS = [
  header(
    'webhook-id',
    'The event: the same for every attempt and redelivery.',
    'evt_01KB2H7Q0000000000000000AA',
  ),
  header('webhook-timestamp', 'When this attempt was signed, Unix seconds.', '1795329561'),
  header(
    'webhook-signature',
    'By Standard Webhooks; two, separated by a space, for a day after a rotation.',
    'v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=',
  ),
];

function webhook(type: string, summary: string, data: object, example: Json) {
  const schema = {
    type: 'object',
    required: ['type', 'timestamp', 'data'],
    properties: {
      type: { type: 'string', enum: [type], description: 'What happened.' },
      timestamp: { type: 'string', format: 'date-time', description: 'When it was published.' },
      data,
    },
  };
  const body = { type, timestamp: '2026-11-22T10:00:00.000Z', data: example };
  return {
    post: {
      operationId: `on${type.replace(/(?:^|[._])([a-z])/g, (_match, letter: string) => letter.toUpperCase())}`,
      tags: ['Webhook endpoints'],
      summary,
      parameters: HEADERS,
      requestBody: { required: true, content: { 'application/json': { schema, example: body } } },
      responses: {
        '2XX': { description: 'Taken.' },
        '410': { description: 'The endpoint is disabled.' },
        default: { description: 'Tried again later.' },
      },
    },
  };
}

function refTo(name: string): { readonly $ref: string } {
  return { $ref: `#/components/schemas/${name}` };
}

type Schema = {
  readonly $ref?: string;
  readonly allOf?: readonly Schema[];
  readonly type?: string;
  readonly enum?: readonly unknown[];
  readonly example?: unknown;
  readonly properties?: Readonly<Record<string, Schema>>;
};
type Schemas = Readonly<Record<string, Schema>>;

/** It is assembled from the members' examples, so that there is no second copy that could differ. */
function buildExample(schemas: Schemas, schema: Schema): unknown {
  const target = schema.$ref ?? schema.allOf?.[0]?.$ref;
  if (target !== undefined) {
    const named = schemas[target.split('/').at(-1) ?? ''];
    return named === undefined ? null : buildExample(schemas, named);
  }
  if (schema.example !== undefined) return schema.example;
  if (schema.enum !== undefined) return schema.enum[0];
  if (schema.properties === undefined) return null;
  return Object.fromEntries(
    Object.entries(schema.properties).map(([member, one]) => [member, buildExample(schemas, one)]),
  );
}
