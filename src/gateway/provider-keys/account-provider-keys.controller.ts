import { Controller, Get, Param, Query } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { RecordsRead } from '../../identity/audit-log/records-read.decorator.js';
import { RequireScope } from '../../identity/auth/require-scope.decorator.js';
import { ListQuery } from '../../platform/common/pagination.js';
import { ApiProblems } from '../../platform/errors/api-problems.js';
import { ProviderKeyRecordListView, toProviderKeyRecordList } from './provider-key.dto.js';
import { ProviderKeysService } from './provider-keys.service.js';

/** Shows operators which provider keys a customer attached, who did it and when, but never a key. */
@ApiTags('Accounts')
@Controller('v1/accounts/:id/provider_keys')
@RequireScope('admin')
export class AccountProviderKeysController {
  constructor(private readonly keys: ProviderKeysService) {}

  @Get()
  @RecordsRead('account.read', 'provider_keys')
  @ApiOperation({
    operationId: 'listAccountProviderKeys',
    summary: "List a customer's provider keys, the removed ones too, newest first",
  })
  @ApiOkResponse({ type: ProviderKeyRecordListView })
  @ApiProblems('invalid_request', 'resource_missing', 'database_unavailable')
  async list(@Param('id') id: string, @Query() query: ListQuery): Promise<ProviderKeyRecordListView> {
    return toProviderKeyRecordList(
      `/v1/accounts/${id}/provider_keys`,
      await this.keys.history(id, query.page),
    );
  }
}
