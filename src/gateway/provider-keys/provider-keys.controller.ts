import { Body, Controller, Delete, Get, Param, Put } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiParam, ApiTags } from '@nestjs/swagger';
import { CurrentAccount, type AccountPrincipal } from '../../identity/auth/principal.js';
import { RequireScope } from '../../identity/auth/require-scope.decorator.js';
import { ApiProblems } from '../../platform/errors/api-problems.js';
import { RateLimited } from '../../identity/rate-limits/rate-limit.guard.js';
import { KEYED_PROVIDERS } from './provider-key.js';
import {
  AttachProviderKeyRequest,
  DeletedProviderKeyView,
  ProviderKeyListView,
  ProviderKeyView,
  toDeletedProviderKeyView,
  toNewProviderKey,
  toProviderKeyList,
  toProviderKeyView,
} from './provider-key.dto.js';
import { ProviderKeysService } from './provider-keys.service.js';

const PROVIDER_PARAM = { name: 'provider', enum: KEYED_PROVIDERS };

/** Manages a customer's own provider keys. With a key attached, that provider's models cost the wallet nothing. */
@ApiTags('Provider keys')
@Controller('v1/provider_keys')
export class ProviderKeysController {
  constructor(private readonly keys: ProviderKeysService) {}

  @Put(':provider')
  @RequireScope('keys:write')
  @RateLimited('provider_keys')
  @ApiOperation({
    operationId: 'attachProviderKey',
    summary: 'Attach or replace your own key for a provider (BYOK)',
    description:
      "Every call for this provider's models that you send after this answer uses your account there and costs your wallet nothing: " +
      'no hold, no debit, no fee; the receipt says `billing_mode: byok`. If the provider refuses the key, calls fail with ' +
      '`byok_key_rejected`; the wallet is used instead only if you ask for it.',
  })
  @ApiParam(PROVIDER_PARAM)
  @ApiOkResponse({ type: ProviderKeyView })
  @ApiProblems('invalid_request', 'resource_missing', 'database_unavailable')
  async attach(
    @CurrentAccount() principal: AccountPrincipal,
    @Param('provider') provider: string,
    @Body() body: AttachProviderKeyRequest,
  ): Promise<ProviderKeyView> {
    const key = toNewProviderKey(body);
    return toProviderKeyView(await this.keys.attach(principal.accountId, provider, key, principal));
  }

  @Get()
  @RequireScope('keys:write')
  @RateLimited('reads')
  @ApiOperation({ operationId: 'listProviderKeys', summary: 'List the attached provider keys' })
  @ApiOkResponse({ type: ProviderKeyListView })
  @ApiProblems('database_unavailable')
  async list(@CurrentAccount() { accountId }: AccountPrincipal): Promise<ProviderKeyListView> {
    return toProviderKeyList(await this.keys.list(accountId));
  }

  @Get(':provider')
  @RequireScope('keys:write')
  @RateLimited('reads')
  @ApiOperation({
    operationId: 'retrieveProviderKey',
    summary: 'Read an attached provider key: its last four characters',
  })
  @ApiParam(PROVIDER_PARAM)
  @ApiOkResponse({ type: ProviderKeyView })
  @ApiProblems('resource_missing', 'database_unavailable')
  async retrieve(
    @CurrentAccount() { accountId }: AccountPrincipal,
    @Param('provider') provider: string,
  ): Promise<ProviderKeyView> {
    return toProviderKeyView(await this.keys.require(accountId, provider));
  }

  @Delete(':provider')
  @RequireScope('keys:write')
  @RateLimited('provider_keys')
  @ApiOperation({
    operationId: 'deleteProviderKey',
    summary: 'Remove a provider key; calls are paid from the wallet again',
    description:
      'No call that you send after this answer uses the key. Running calls are finished with it, and about half an hour later ' +
      'the key is erased.',
  })
  @ApiParam(PROVIDER_PARAM)
  @ApiOkResponse({ type: DeletedProviderKeyView })
  @ApiProblems('resource_missing', 'database_unavailable')
  async delete(
    @CurrentAccount() principal: AccountPrincipal,
    @Param('provider') provider: string,
  ): Promise<DeletedProviderKeyView> {
    return toDeletedProviderKeyView(await this.keys.remove(principal.accountId, provider, principal));
  }
}
