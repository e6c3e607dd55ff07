import { Controller, Get, Query } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { RequireScope } from '../auth/require-scope.decorator.js';
import { ApiProblems } from '../problems/api-problems.js';
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
      'again from what is listed here; `coffer doctor` does.',
  })
  @ApiOkResponse({ type: AuditEventListView })
  @ApiProblems('invalid_request', 'database_unavailable')
  async list(@Query() query: AuditLogQuery): Promise<AuditEventListView> {
    return toAuditEventList(await this.log.list(toAuditFilter(query), query.page));
  }
}
