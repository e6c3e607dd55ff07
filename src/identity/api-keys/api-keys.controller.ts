import { Body, Controller, Delete, Get, Param, Patch, Post, Query } from '@nestjs/common';
import { ApiCreatedResponse, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { type AccountPrincipal, CurrentAccount } from '../auth/principal.js';
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

/** A customer's program manages the keys of its own account here. */
@ApiTags('API keys')
@Controller('v1/api_keys')
@RequireScope('keys:write')
export class ApiKeysController {
  constructor(private readonly keys: ApiKeysService) {}

  @Post()
  @ApiOperation({
    operationId: 'createApiKey',
    summary: 'Make a key of this account; its secret is shown once',
  })
  @ApiCreatedResponse({ type: IssuedApiKeyView })
  @ApiProblems(
    'invalid_request',
    'key_is_limited',
    'engine_saturated',
    'wallet_locked',
    'database_unavailable',
  )
  async create(
    @CurrentAccount() principal: AccountPrincipal,
    @Body() body: CreateApiKeyRequest,
  ): Promise<IssuedApiKeyView> {
    return toIssuedApiKeyView(
      await this.keys.createAccountKey(principal.accountId, toNewAccountKey(body), principal),
    );
  }

  @Get()
  @ApiOperation({ operationId: 'listApiKeys', summary: 'List the keys of this account, newest first' })
  @ApiOkResponse({ type: ApiKeyListView })
  @ApiProblems('invalid_request', 'database_unavailable')
  async list(
    @CurrentAccount() { accountId }: AccountPrincipal,
    @Query() query: ListQuery,
  ): Promise<ApiKeyListView> {
    return toApiKeyList('/v1/api_keys', await this.keys.list(accountId, query.page));
  }

  @Get(':id')
  @ApiOperation({ operationId: 'retrieveApiKey', summary: 'Read a key of this account, without its secret' })
  @ApiOkResponse({ type: ApiKeyView })
  @ApiProblems('resource_missing', 'database_unavailable')
  async retrieve(
    @CurrentAccount() { accountId }: AccountPrincipal,
    @Param('id') id: string,
  ): Promise<ApiKeyView> {
    return toApiKeyView(await this.keys.require(accountId, id));
  }

  @Patch(':id')
  @ApiOperation({
    operationId: 'updateApiKey',
    summary: 'Change what a key may spend, and for how long the same request is one call',
  })
  @ApiOkResponse({
    type: ApiKeyView,
    description: 'The new limits apply to every later request with the key.',
  })
  @ApiProblems(
    'invalid_request',
    'key_is_limited',
    'key_has_descendants',
    'resource_missing',
    'engine_saturated',
    'wallet_locked',
    'database_unavailable',
  )
  async update(
    @CurrentAccount() principal: AccountPrincipal,
    @Param('id') id: string,
    @Body() body: UpdateApiKeyRequest,
  ): Promise<ApiKeyView> {
    const changes = toKeyChanges(body);
    return toApiKeyView(await this.keys.updateAccountKey(principal.accountId, id, changes, principal));
  }

  @Delete(':id')
  @ApiOperation({
    operationId: 'revokeApiKey',
    summary: 'Revoke a key of this account and the keys that it has made, for good',
  })
  @ApiOkResponse({ type: ApiKeyView, description: 'Revoked; within one second no process accepts it.' })
  @ApiProblems('invalid_request', 'resource_missing', 'database_unavailable')
  async revoke(
    @CurrentAccount() principal: AccountPrincipal,
    @Param('id') id: string,
    @Query() query: RevokeKeyQuery,
  ): Promise<ApiKeyView> {
    return toApiKeyView(await this.keys.revoke(principal.accountId, id, principal, query.withDescendants));
  }
}
