import { Body, Controller, Delete, Get, Param, Patch, Post, Query } from '@nestjs/common';
import { ApiCreatedResponse, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { RecordsRead } from '../audit-log/records-read.decorator.js';
import { CurrentOperator, type OperatorPrincipal } from '../auth/principal.js';
import { RequireScope } from '../auth/require-scope.decorator.js';
import { ListQuery } from '../../platform/common/pagination.js';
import { ApiProblems } from '../../platform/errors/api-problems.js';
import {
  ApiKeyListView,
  ApiKeyView,
  CreateApiKeyRequest,
  IssuedApiKeyView,
  RevokeKeyQuery,
  toApiKeyList,
  toApiKeyView,
  toIssuedApiKeyView,
  toKeyChanges,
  toNewAccountKey,
  UpdateApiKeyRequest,
} from './api-key.dto.js';
import { ApiKeysService } from './api-keys.service.js';

/** Operators manage a customer's keys here: they create the first one and revoke a leaked one. */
@ApiTags('Accounts')
@Controller('v1/accounts/:id/api_keys')
@RequireScope('admin')
export class AccountApiKeysController {
  constructor(private readonly keys: ApiKeysService) {}

  @Post()
  @ApiOperation({
    operationId: 'createAccountApiKey',
    summary: "Make a customer's key; its secret is shown once",
  })
  @ApiCreatedResponse({ type: IssuedApiKeyView })
  @ApiProblems(
    'invalid_request',
    'resource_missing',
    'engine_saturated',
    'wallet_locked',
    'database_unavailable',
  )
  async create(
    @Param('id') id: string,
    @Body() body: CreateApiKeyRequest,
    @CurrentOperator() operator: OperatorPrincipal,
  ): Promise<IssuedApiKeyView> {
    return toIssuedApiKeyView(await this.keys.createAccountKey(id, toNewAccountKey(body), operator));
  }

  @Get()
  @RecordsRead('account.read', 'api_keys')
  @ApiOperation({ operationId: 'listAccountApiKeys', summary: "List a customer's keys, newest first" })
  @ApiOkResponse({ type: ApiKeyListView })
  @ApiProblems('invalid_request', 'resource_missing', 'database_unavailable')
  async list(@Param('id') id: string, @Query() query: ListQuery): Promise<ApiKeyListView> {
    return toApiKeyList(`/v1/accounts/${id}/api_keys`, await this.keys.list(id, query.page));
  }

  @Patch(':key_id')
  @ApiOperation({
    operationId: 'updateAccountApiKey',
    summary: "Change what a customer's key may spend, and for how long the same request is one call",
  })
  @ApiOkResponse({
    type: ApiKeyView,
    description: 'The new limits apply to every later request with the key.',
  })
  @ApiProblems(
    'invalid_request',
    'key_has_descendants',
    'resource_missing',
    'engine_saturated',
    'wallet_locked',
    'database_unavailable',
  )
  async update(
    @Param('id') id: string,
    @Param('key_id') keyId: string,
    @Body() body: UpdateApiKeyRequest,
    @CurrentOperator() operator: OperatorPrincipal,
  ): Promise<ApiKeyView> {
    const changes = toKeyChanges(body);
    return toApiKeyView(await this.keys.updateAccountKey(id, keyId, changes, operator));
  }

  @Delete(':key_id')
  @ApiOperation({
    operationId: 'revokeAccountApiKey',
    summary: "Revoke a customer's key and the keys that it has made, for good",
  })
  @ApiOkResponse({ type: ApiKeyView, description: 'Revoked; within one second no process accepts it.' })
  @ApiProblems('invalid_request', 'resource_missing', 'database_unavailable')
  async revoke(
    @Param('id') id: string,
    @Param('key_id') keyId: string,
    @Query() query: RevokeKeyQuery,
    @CurrentOperator() operator: OperatorPrincipal,
  ): Promise<ApiKeyView> {
    return toApiKeyView(await this.keys.revoke(id, keyId, operator, query.withDescendants));
  }
}
