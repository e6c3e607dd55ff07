import { Controller, Get, HttpCode, Param, Post, Query } from '@nestjs/common';
import { ApiCreatedResponse, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { CurrentAccount, type AccountPrincipal } from '../../identity/auth/principal.js';
import { RequireScope } from '../../identity/auth/require-scope.decorator.js';
import { ListQuery } from '../../platform/common/pagination.js';
import { ApiProblems } from '../../platform/errors/api-problems.js';
import { RateLimited } from '../../identity/rate-limits/rate-limit.guard.js';
import { WebhookDeliveriesService } from './webhook-deliveries.service.js';
import {
  toWebhookDeliveryList,
  toWebhookDeliveryView,
  WebhookDeliveryListView,
  WebhookDeliveryView,
} from './webhook-delivery.dto.js';

@ApiTags('Webhook endpoints')
@Controller('v1/webhook_endpoints/:id')
export class WebhookDeliveriesController {
  constructor(private readonly deliveries: WebhookDeliveriesService) {}

  @Post('test')
  @RequireScope('wallet:write')
  @RateLimited('webhook_sends')
  @ApiOperation({
    operationId: 'testWebhookEndpoint',
    summary: 'Post a `webhook.test` event',
    description: 'It is sent as any other event is: read the deliveries to see what became of it.',
  })
  @ApiCreatedResponse({ type: WebhookDeliveryView })
  @ApiProblems('resource_missing', 'webhook_endpoint_disabled', 'database_unavailable')
  async test(
    @CurrentAccount() { accountId }: AccountPrincipal,
    @Param('id') id: string,
  ): Promise<WebhookDeliveryView> {
    return toWebhookDeliveryView(await this.deliveries.test(accountId, id));
  }

  @Get('deliveries')
  @RequireScope('wallet:read')
  @ApiOperation({
    operationId: 'listWebhookDeliveries',
    summary: 'List what was posted and what became of it, newest first, 90 days back',
  })
  @ApiOkResponse({ type: WebhookDeliveryListView })
  @ApiProblems('invalid_request', 'resource_missing', 'database_unavailable')
  async list(
    @CurrentAccount() { accountId }: AccountPrincipal,
    @Param('id') id: string,
    @Query() query: ListQuery,
  ): Promise<WebhookDeliveryListView> {
    return toWebhookDeliveryList(id, await this.deliveries.list(accountId, id, query.page));
  }

  @Post('deliveries/:delivery/redeliver')
  @HttpCode(200)
  @RequireScope('wallet:write')
  @RateLimited('webhook_sends')
  @ApiOperation({
    operationId: 'redeliverWebhook',
    summary: 'Post an event again, with the same `webhook-id`',
  })
  @ApiOkResponse({ type: WebhookDeliveryView })
  @ApiProblems('resource_missing', 'webhook_endpoint_disabled', 'database_unavailable')
  async redeliver(
    @CurrentAccount() { accountId }: AccountPrincipal,
    @Param('id') id: string,
    @Param('delivery') delivery: string,
  ): Promise<WebhookDeliveryView> {
    return toWebhookDeliveryView(await this.deliveries.redeliver(accountId, id, delivery));
  }
}
