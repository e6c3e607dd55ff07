import { Controller, Get, Param } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { RecordsRead } from '../../identity/audit-log/records-read.decorator.js';
import { RequireScope } from '../../identity/auth/require-scope.decorator.js';
import { ApiProblems } from '../../platform/errors/api-problems.js';
import { AutoTopUpSettings } from './auto-top-up-settings.service.js';
import { AutoTopUpView, toAutoTopUpView } from './auto-top-up.dto.js';

/** For support, read only: only customers can agree to charges of their card. */
@ApiTags('Accounts')
@Controller('v1/accounts/:id/auto_top_up')
@RequireScope('admin')
export class AccountAutoTopUpController {
  constructor(private readonly settings: AutoTopUpSettings) {}

  @Get()
  @RecordsRead('account.read', 'auto_top_up')
  @ApiOperation({
    operationId: 'retrieveAccountAutoTopUp',
    summary: "Read how a customer's wallet tops itself up",
  })
  @ApiOkResponse({ type: AutoTopUpView })
  @ApiProblems('resource_missing', 'database_unavailable')
  async retrieve(@Param('id') accountId: string): Promise<AutoTopUpView> {
    return toAutoTopUpView(await this.settings.readFor(accountId));
  }
}
