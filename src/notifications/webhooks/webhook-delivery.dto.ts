import { ApiProperty } from '@nestjs/swagger';
import { toUnixSeconds } from '../../platform/common/clock.js';
import { ObjectTypeView, TimeView } from '../../platform/common/fields.js';
import { ListView, type Page } from '../../platform/common/pagination.js';
import { ATTEMPT_ERRORS, type AttemptError } from './delivery-rules.js';
import { WEBHOOK_DELIVERY_STATUSES, type WebhookDeliveryStatus } from './webhook-delivery.machine.js';
import type { WebhookDelivery } from './webhook-delivery.js';

export class WebhookDeliveryView {
  @ApiProperty({ description: 'Id of the delivery.', example: 'wd_01KB2H7Q0000000000000000AA' })
  declare readonly id: string;
  @ObjectTypeView('webhook_delivery')
  declare readonly object: 'webhook_delivery';
  @ApiProperty({ description: 'Where it goes.', example: 'we_01KB2H7Q0000000000000000AA' })
  declare readonly webhook_endpoint: string;
  @ApiProperty({
    description: 'The event, sent as `webhook-id` with every attempt.',
    example: 'evt_01KB2H7Q0000000000000000AA',
  })
  declare readonly event: string;
  @ApiProperty({ description: 'What happened.', example: 'top_up.succeeded' })
  declare readonly type: string;
  @ApiProperty({
    description:
      '`pending`: an attempt is due. `succeeded`: the receiver answered 2xx. `failed`: the attempts are used up, ' +
      'or it answered 410. `canceled`: the endpoint was disabled or deleted.',
    enum: WEBHOOK_DELIVERY_STATUSES,
  })
  declare readonly status: WebhookDeliveryStatus;
  @ApiProperty({ description: 'Attempts so far.', type: 'integer', example: 1 })
  declare readonly attempts: number;
  @ApiProperty({
    description: 'What the receiver answered last; null: nothing.',
    type: 'integer',
    nullable: true,
    example: 200,
  })
  declare readonly response_status: number | null;
  @ApiProperty({
    description: 'Why there was no answer; null: there was one, or no attempt yet.',
    type: 'string',
    enum: [...ATTEMPT_ERRORS, null],
    nullable: true,
    example: null,
  })
  declare readonly error: AttemptError | null;
  @ApiProperty({
    description: 'When it was last attempted, Unix seconds.',
    type: 'integer',
    nullable: true,
    example: 1_795_329_561,
  })
  declare readonly last_attempt_at: number | null;
  @ApiProperty({
    description: 'When it is attempted next, Unix seconds; null: not any more.',
    type: 'integer',
    nullable: true,
    example: null,
  })
  declare readonly next_attempt_at: number | null;
  @TimeView('When the event was published, Unix seconds.')
  declare readonly created: number;
}

export class WebhookDeliveryListView extends ListView {
  @ApiProperty({ description: 'Newest first.', type: () => [WebhookDeliveryView] })
  declare readonly data: readonly WebhookDeliveryView[];
}

export function toWebhookDeliveryView(delivery: WebhookDelivery): WebhookDeliveryView {
  const { id, endpointId, eventId, eventType, status, attempts, responseStatus, error } = delivery;
  return {
    id,
    object: 'webhook_delivery',
    webhook_endpoint: endpointId,
    event: eventId,
    type: eventType,
    status,
    attempts,
    response_status: responseStatus,
    error,
    last_attempt_at: delivery.lastAttemptAt && toUnixSeconds(delivery.lastAttemptAt),
    next_attempt_at: delivery.nextAttemptAt && toUnixSeconds(delivery.nextAttemptAt),
    created: toUnixSeconds(delivery.createdAt),
  };
}

export function toWebhookDeliveryList(
  endpointId: string,
  page: Page<WebhookDelivery>,
): WebhookDeliveryListView {
  return {
    object: 'list',
    url: `/v1/webhook_endpoints/${endpointId}/deliveries`,
    has_more: page.hasMore,
    data: page.data.map(toWebhookDeliveryView),
  };
}
