import { Controller, Get, HttpCode, Param, Post } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { RecordsRead } from '../../audit/records-read.decorator.js';
import { CurrentOperator } from '../../auth/current-principal.decorator.js';
import type { OperatorPrincipal } from '../../auth/principal.js';
import { RequireScope } from '../../auth/require-scope.decorator.js';
import { formatMicros } from '../../common/money.js';
import { ApiProblems } from '../../problems/api-problems.js';
import { DisputeListView, toDisputeList, WriteOffView } from './dispute.dto.js';
import { Disputes } from './disputes.service.js';

@ApiTags('Accounts')
@Controller('v1/accounts/:id/disputes')
@RequireScope('admin')
export class DisputesController {
  constructor(private readonly disputes: Disputes) {}

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
  @ApiOperation({
    operationId: 'writeOffDispute',
    summary: 'Give up the debt that a dispute left',
    description:
      'At most what the dispute has taken, at most what the wallet owes, and once each time that the bank took its money: sent ' +
      'again, it answers what was given up the first time, although that may be owed again since (`write_off_reversal` in the ' +
      'ledger), because money came back. A wallet that owes nothing can be unfrozen.',
  })
  @ApiOkResponse({ type: WriteOffView })
  @ApiProblems('resource_missing', 'database_unavailable')
  async writeOff(
    @Param('id') accountId: string,
    @Param('dispute') id: string,
    @CurrentOperator() operator: OperatorPrincipal,
  ): Promise<WriteOffView> {
    const amount = await this.disputes.writeOff(accountId, id, operator);
    return { object: 'write_off', dispute: id, amount_micros: formatMicros(amount) };
  }
}
