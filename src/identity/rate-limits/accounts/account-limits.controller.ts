import { Body, Controller, Get, Param, Put } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { RecordsRead } from '../../audit-log/records-read.decorator.js';
import { CurrentOperator, type OperatorPrincipal } from '../../auth/principal.js';
import { RequireScope } from '../../auth/require-scope.decorator.js';
import { ApiProblems } from '../../../platform/errors/api-problems.js';
import {
  AccountLimitsView,
  SetAccountLimitsRequest,
  toAccountLimitsView,
  toNumbers,
} from './account-limits.dto.js';
import { AccountLimitsService } from './account-limits.service.js';

@ApiTags('Accounts')
@Controller('v1/accounts/:id/limits')
@RequireScope('admin')
export class AccountLimitsController {
  constructor(private readonly limits: AccountLimitsService) {}

  @Get()
  @RecordsRead('account.read', 'limits')
  @ApiOperation({
    operationId: 'retrieveAccountLimits',
    summary: 'Read how often and how much at once an account may call',
  })
  @ApiOkResponse({ type: AccountLimitsView })
  @ApiProblems('resource_missing', 'database_unavailable')
  async retrieve(@Param('id') id: string): Promise<AccountLimitsView> {
    return toAccountLimitsView(id, await this.limits.read(id));
  }

  @Put()
  @ApiOperation({
    operationId: 'setAccountLimits',
    summary: 'Set how often and how much at once an account may call',
    description:
      'Sets all numbers at once: an absent one has its default again. The change applies in every process within two ' +
      'seconds. Who changed what, when and why is kept permanently.',
  })
  @ApiOkResponse({ type: AccountLimitsView })
  @ApiProblems('invalid_request', 'resource_missing', 'database_unavailable')
  async set(
    @Param('id') id: string,
    @Body() body: SetAccountLimitsRequest,
    @CurrentOperator() operator: OperatorPrincipal,
  ): Promise<AccountLimitsView> {
    const change = await this.limits.set(id, toNumbers(body), body.reason, operator);
    return toAccountLimitsView(id, change);
  }
}
