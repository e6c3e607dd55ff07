import { Controller, Get, Query } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { RequireScope } from '../auth/require-scope.decorator.js';
import { ApiProblems } from '../../platform/errors/api-problems.js';
import { AuditEventListView, AuditLogQuery, toAuditEventList, toAuditFilter } from './audit-event.dto.js';
import { AuditLog } from './audit-log.service.js';

@ApiTags('Finance')
@Controller('v1/audit_log')
@RequireScope('finance')
export class AuditLogController {
  constructor(private readonly log: AuditLog) {}

  @Get()
  @ApiOperation({
    operationId: 'listAuditEvents',
    summary: 'List what operators, and keys that manage accounts, have done, newest first',
    description:
      'Each event was written in the commit of its act, together with its place in a hash chain, which anybody can compute ' +
      'again from what is listed here; `coffer doctor` does.\n\n' +
      'The list is in the order of `id`, which is when the act began. The chain is in the order of `seq`, which is when it was ' +
      'committed: sort by `seq`, as a number, to verify it. An act that began early and was committed late is listed below events ' +
      'that were there before it. Without a filter every `seq` from 1 on is listed, so one that is missing so far is found ' +
      'further down.',
  })
  @ApiOkResponse({ type: AuditEventListView })
  @ApiProblems('invalid_request', 'database_unavailable')
  async list(@Query() query: AuditLogQuery): Promise<AuditEventListView> {
    return toAuditEventList(await this.log.list(toAuditFilter(query), query.page));
  }
}
