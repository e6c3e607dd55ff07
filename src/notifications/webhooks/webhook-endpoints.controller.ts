import { Body, Controller, Delete, Get, HttpCode, Param, Patch, Post, Query } from '@nestjs/common';
import { ApiCreatedResponse, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { CurrentAccount, type AccountPrincipal } from '../../identity/auth/principal.js';
import { RequireScope } from '../../identity/auth/require-scope.decorator.js';
import { ListQuery } from '../../platform/common/pagination.js';
import { ApiProblems } from '../../platform/errors/api-problems.js';
import {
  CreateWebhookEndpointRequest,
  DeletedWebhookEndpointView,
  IssuedWebhookEndpointView,
  toEndpointChanges,
  toIssuedWebhookEndpointView,
  toWebhookEndpointList,
  toWebhookEndpointView,
  UpdateWebhookEndpointRequest,
  WebhookEndpointListView,
  WebhookEndpointView,
} from './webhook-endpoint.dto.js';
import { WebhookEndpointsService } from './webhook-endpoints.service.js';

@ApiTags('Webhook endpoints')
@Controller('v1/webhook_endpoints')
export class WebhookEndpointsController {
  constructor(private readonly endpoints: WebhookEndpointsService) {}

  @Post()
  @RequireScope('wallet:write')
  @ApiOperation({
    operationId: 'createWebhookEndpoint',
    summary: 'Create a webhook endpoint; the signing secret is shown once',
    description:
      'Events are posted as Standard Webhooks: `{type, timestamp, data}`, signed in `webhook-signature`, named by ' +
      '`webhook-id`, at least once and in any order. Answer 2xx within 15 seconds; anything else is tried again ' +
      'ten times over three days, and `Retry-After` is honoured. 410 disables the endpoint.',
  })
  @ApiCreatedResponse({ type: IssuedWebhookEndpointView })
  @ApiProblems('invalid_request', 'database_unavailable')
  async create(
    @CurrentAccount() principal: AccountPrincipal,
    @Body() body: CreateWebhookEndpointRequest,
  ): Promise<IssuedWebhookEndpointView> {
    return toIssuedWebhookEndpointView(await this.endpoints.create(principal.accountId, body, principal));
  }

  @Get()
  @RequireScope('wallet:read')
  @ApiOperation({ operationId: 'listWebhookEndpoints', summary: 'List the webhook endpoints, newest first' })
  @ApiOkResponse({ type: WebhookEndpointListView })
  @ApiProblems('invalid_request', 'database_unavailable')
  async list(
    @CurrentAccount() { accountId }: AccountPrincipal,
    @Query() query: ListQuery,
  ): Promise<WebhookEndpointListView> {
    return toWebhookEndpointList(await this.endpoints.list(accountId, query.page));
  }

  @Get(':id')
  @RequireScope('wallet:read')
  @ApiOperation({ operationId: 'retrieveWebhookEndpoint', summary: 'Read a webhook endpoint' })
  @ApiOkResponse({ type: WebhookEndpointView })
  @ApiProblems('resource_missing', 'database_unavailable')
  async retrieve(
    @CurrentAccount() { accountId }: AccountPrincipal,
    @Param('id') id: string,
  ): Promise<WebhookEndpointView> {
    return toWebhookEndpointView(await this.endpoints.require(accountId, id));
  }

  @Patch(':id')
  @RequireScope('wallet:write')
  @ApiOperation({
    operationId: 'updateWebhookEndpoint',
    summary: 'Change the URL or the events, disable or enable',
  })
  @ApiOkResponse({ type: WebhookEndpointView })
  @ApiProblems('invalid_request', 'resource_missing', 'database_unavailable')
  async update(
    @CurrentAccount() principal: AccountPrincipal,
    @Param('id') id: string,
    @Body() body: UpdateWebhookEndpointRequest,
  ): Promise<WebhookEndpointView> {
    return toWebhookEndpointView(
      await this.endpoints.update(principal.accountId, id, toEndpointChanges(body), principal),
    );
  }

  @Delete(':id')
  @RequireScope('wallet:write')
  @ApiOperation({
    operationId: 'deleteWebhookEndpoint',
    summary: 'Delete a webhook endpoint and its secrets',
  })
  @ApiOkResponse({ type: DeletedWebhookEndpointView })
  @ApiProblems('resource_missing', 'database_unavailable')
  async delete(
    @CurrentAccount() principal: AccountPrincipal,
    @Param('id') id: string,
  ): Promise<DeletedWebhookEndpointView> {
    await this.endpoints.delete(principal.accountId, id, principal);
    return { id, object: 'webhook_endpoint', deleted: true };
  }

  @Post(':id/rotate_secret')
  @HttpCode(200)
  @RequireScope('wallet:write')
  @ApiOperation({
    operationId: 'rotateWebhookSecret',
    summary: 'Replace the signing secret; the new one is shown once',
    description:
      'For 24 hours both secrets sign: `webhook-signature` has two signatures, separated by a space.',
  })
  @ApiOkResponse({ type: IssuedWebhookEndpointView })
  @ApiProblems('resource_missing', 'database_unavailable')
  async rotateSecret(
    @CurrentAccount() principal: AccountPrincipal,
    @Param('id') id: string,
  ): Promise<IssuedWebhookEndpointView> {
    return toIssuedWebhookEndpointView(await this.endpoints.rotateSecret(principal.accountId, id, principal));
  }
}
