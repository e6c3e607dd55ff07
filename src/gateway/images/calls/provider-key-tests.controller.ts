import { Controller, HttpCode, Inject, Param, Post } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiParam, ApiTags } from '@nestjs/swagger';
import { CurrentAccount, type AccountPrincipal } from '../../../identity/auth/principal.js';
import { RequireScope } from '../../../identity/auth/require-scope.decorator.js';
import type { Clock } from '../../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../../platform/database/ledger-clock.js';
import { KEYED_PROVIDERS, requireProvider } from '../../provider-keys/provider-key.js';
import { ProviderKeyVaultService } from '../../provider-keys/provider-key-vault.service.js';
import { ApiProblems } from '../../../platform/errors/api-problems.js';
import { RateLimited } from '../../../identity/rate-limits/rate-limit.guard.js';
import { Upstreams } from '../providers/configured-providers.js';
import { ProviderKeyTestView, toProviderKeyTestView } from './provider-key-test.dto.js';

/** A person waits for the answer, so a slow provider counts as unreachable after this. */
const TEST_TIMEOUT_MS = 10_000;

/** This route is not part of `provider-keys`, because the vault knows no provider. */
@ApiTags('Provider keys')
@Controller('v1/provider_keys')
export class ProviderKeyTestsController {
  constructor(
    private readonly vault: ProviderKeyVaultService,
    private readonly upstreams: Upstreams,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  @Post(':provider/test')
  @HttpCode(200)
  @RequireScope('keys:write')
  @RateLimited('provider_keys')
  @ApiOperation({
    operationId: 'testProviderKey',
    summary: 'Ask the provider whether it accepts the attached key',
    description: "One request for the key's own credit, which costs nothing at the provider either.",
  })
  @ApiParam({ name: 'provider', enum: KEYED_PROVIDERS })
  @ApiOkResponse({ type: ProviderKeyTestView })
  @ApiProblems('resource_missing', 'database_unavailable', 'provider_key_unreadable')
  async test(
    @CurrentAccount() { accountId }: AccountPrincipal,
    @Param('provider') text: string,
  ): Promise<ProviderKeyTestView> {
    const provider = requireProvider(text);
    const source = await this.upstreams.withKey(await this.vault.requireLive(accountId, provider));
    const check = await source(provider).checkKey(AbortSignal.timeout(TEST_TIMEOUT_MS));
    return toProviderKeyTestView(provider, check, this.clock.nowMs());
  }
}
