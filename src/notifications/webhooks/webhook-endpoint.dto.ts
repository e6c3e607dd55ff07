import { ApiProperty } from '@nestjs/swagger';
import { toUnixSeconds } from '../../platform/common/clock.js';
import {
  BooleanField,
  ObjectTypeView,
  TextField,
  TimeView,
  WordSetField,
} from '../../platform/common/fields.js';
import { ListView, type Page } from '../../platform/common/pagination.js';
import { OUTSIDE_URL_LENGTH_MAX } from '../../platform/egress/outside-url.js';
import {
  DISABLED_REASONS,
  type DisabledReason,
  type EndpointChanges,
  type IssuedWebhookEndpoint,
  type WebhookEndpoint,
} from './webhook-endpoint.js';
import { WEBHOOK_EVENT_TYPES, WEBHOOK_EVENTS, type WebhookEventType } from '../event-types.js';

const URL_FIELD = {
  description:
    'Where events are posted: https, on the public internet, port 80, 443 or above 1023, without credentials ' +
    'and fragment. Every attempt checks the address that the name leads to.',
  max: OUTSIDE_URL_LENGTH_MAX,
  example: 'https://example.com/webhooks/coffer',
};
const EVENTS_FIELD = {
  description: `Which events to post. ${Object.entries(WEBHOOK_EVENTS)
    .map(([type, meaning]) => `\`${type}\`: ${meaning}`)
    .join(' ')}`,
  words: WEBHOOK_EVENT_TYPES,
  example: ['top_up.succeeded', 'wallet.low'],
};

export class CreateWebhookEndpointRequest {
  @TextField(URL_FIELD)
  declare readonly url: string;

  @WordSetField(EVENTS_FIELD)
  declare readonly events: WebhookEventType[];
}

export class UpdateWebhookEndpointRequest {
  @TextField({ ...URL_FIELD, optional: true })
  declare readonly url?: string | null;

  @WordSetField({ ...EVENTS_FIELD, optional: true })
  declare readonly events?: WebhookEventType[] | null;

  @BooleanField({
    description: 'False sends nothing more and cancels what waits; true sends what happens from now on.',
    optional: true,
    example: true,
  })
  declare readonly enabled?: boolean | null;
}

export class WebhookEndpointView {
  @ApiProperty({ description: 'Id of the endpoint.', example: 'we_01KB2H7Q0000000000000000AA' })
  declare readonly id: string;
  @ObjectTypeView('webhook_endpoint')
  declare readonly object: 'webhook_endpoint';
  @ApiProperty({ description: 'Where events are posted.', example: 'https://example.com/webhooks/coffer' })
  declare readonly url: string;
  @ApiProperty({
    description: 'Which events are posted.',
    isArray: true,
    enum: WEBHOOK_EVENT_TYPES,
    example: ['top_up.succeeded', 'wallet.low'],
  })
  declare readonly events: readonly string[];
  @ApiProperty({ description: 'Whether events are posted.', example: true })
  declare readonly enabled: boolean;
  @ApiProperty({
    description:
      'Why not: `requested` by its owner, `gone` (it answered 410), `failing` (for five days). Null when enabled.',
    type: 'string',
    enum: [...DISABLED_REASONS, null],
    nullable: true,
    example: null,
  })
  declare readonly disabled_reason: DisabledReason | null;
  @ApiProperty({
    description: 'Unix seconds at which it was disabled; null when enabled.',
    type: 'integer',
    nullable: true,
    example: null,
  })
  declare readonly disabled_at: number | null;
  @ApiProperty({
    description: 'Unix seconds of the first failure since an attempt last succeeded; null: all is well.',
    type: 'integer',
    nullable: true,
    example: null,
  })
  declare readonly failing_since: number | null;
  @ApiProperty({
    description:
      'Unix seconds until which the secret before the last rotation signs as well; null: it does not.',
    type: 'integer',
    nullable: true,
    example: null,
  })
  declare readonly previous_secret_expires_at: number | null;
  @TimeView('When it was made, Unix seconds.')
  declare readonly created: number;
}

export class IssuedWebhookEndpointView extends WebhookEndpointView {
  @ApiProperty({
    description:
      'Signs what is posted here, by Standard Webhooks: give it to one of its libraries. Shown this once.',
    example: 'whsec_… (base64 of 32 bytes)',
  })
  declare readonly secret: string;
}

export class DeletedWebhookEndpointView {
  @ApiProperty({ description: 'Id of the endpoint.', example: 'we_01KB2H7Q0000000000000000AA' })
  declare readonly id: string;
  @ObjectTypeView('webhook_endpoint')
  declare readonly object: 'webhook_endpoint';
  @ApiProperty({ description: 'It is gone, and so are its secrets.', example: true })
  declare readonly deleted: boolean;
}

export class WebhookEndpointListView extends ListView {
  @ApiProperty({ description: 'Newest first.', type: () => [WebhookEndpointView] })
  declare readonly data: readonly WebhookEndpointView[];
}

export function toEndpointChanges({ url, events, enabled }: UpdateWebhookEndpointRequest): EndpointChanges {
  return { url: url ?? undefined, events: events ?? undefined, enabled: enabled ?? undefined };
}

/** Member by member: a row has secrets, and a view names what may be seen. */
export function toWebhookEndpointView(endpoint: WebhookEndpoint): WebhookEndpointView {
  const { id, url, events, disabledReason, disabledAt, failingSince, previousSecretExpiresAt } = endpoint;
  return {
    id,
    object: 'webhook_endpoint',
    url,
    events,
    enabled: disabledReason === null,
    disabled_reason: disabledReason,
    disabled_at: disabledAt && toUnixSeconds(disabledAt),
    failing_since: failingSince && toUnixSeconds(failingSince),
    previous_secret_expires_at: previousSecretExpiresAt && toUnixSeconds(previousSecretExpiresAt),
    created: toUnixSeconds(endpoint.createdAt),
  };
}

export function toIssuedWebhookEndpointView(endpoint: IssuedWebhookEndpoint): IssuedWebhookEndpointView {
  return { ...toWebhookEndpointView(endpoint), secret: endpoint.secret };
}

export function toWebhookEndpointList(page: Page<WebhookEndpoint>): WebhookEndpointListView {
  return {
    object: 'list',
    url: '/v1/webhook_endpoints',
    has_more: page.hasMore,
    data: page.data.map(toWebhookEndpointView),
  };
}
