import { Controller, Get, HttpCode, Param, Post } from '@nestjs/common';
import { ApiHeader, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { RecordsRead } from '../../identity/audit-log/records-read.decorator.js';
import { CurrentOperator, type OperatorPrincipal } from '../../identity/auth/principal.js';
import { RequireScope } from '../../identity/auth/require-scope.decorator.js';
import { formatMicros } from '../../platform/common/money.js';
import { IdempotencyKey } from '../../platform/http/routes.js';
import { ApiProblems } from '../../platform/errors/api-problems.js';
import { DisputeListView, toDisputeList, WRITE_OFF_KEY, WriteOffView } from './dispute.dto.js';
import { DisputesService } from './disputes.service.js';

@ApiTags('Accounts')
@Controller('v1/accounts/:id/disputes')
@RequireScope('admin')
export class DisputesController {
  constructor(private readonly disputes: DisputesService) {}

  @Get()
  @RecordsRead('account.read', 'disputes')
  @ApiOperation({ operationId: 'listAccountDisputes', summary: "List an account's disputes, newest first" })
  @ApiOkResponse({ type: DisputeListView })
  @ApiProblems('resource_missing', 'database_unavailable')
  async list(@Param('id') accountId: string): Promise<DisputeListView> {
    return toDisputeList(accountId, await this.disputes.list(accountId));
  }

  @Post(':dispute/write_off')
  @HttpCode(200)
  @ApiHeader(WRITE_OFF_KEY)
  @ApiOperation({
    operationId: 'writeOffDispute',
    summary: 'Give up the debt that a dispute left',
    description:
      'At most what the wallet owes, and at most what the dispute has taken and is neither back nor given up. It may be asked ' +
      'for as often as there is such debt: a hold that is captured later can leave more. What is given up is owed again ' +
      '(`write_off_reversal` in the ledger) when the money comes back. A wallet that owes nothing can be unfrozen.',
  })
  @ApiOkResponse({ type: WriteOffView })
  @ApiProblems('invalid_request', 'resource_missing', 'database_unavailable')
  async writeOff(
    @Param('id') accountId: string,
    @Param('dispute') id: string,
    @CurrentOperator() operator: OperatorPrincipal,
    @IdempotencyKey() key: string | null,
  ): Promise<WriteOffView> {
    const amount = await this.disputes.writeOff(accountId, id, operator, key);
    return { object: 'write_off', dispute: id, amount_micros: formatMicros(amount) };
  }
}
