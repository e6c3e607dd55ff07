import { Controller, Get, Query, StreamableFile } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { RecordsRead } from '../../identity/audit-log/records-read.decorator.js';
import { RequireScope } from '../../identity/auth/require-scope.decorator.js';
import type { ExportFormat, ExportRange } from '../../money/ledger/export/export-format.js';
import { ApiProblems } from '../../platform/errors/api-problems.js';
import { LedgerExportQuery } from './export.dto.js';
import { toExportRange } from './export-range.js';
import { LedgerExportService } from './ledger-export.service.js';

const CONTENT_TYPES: Readonly<Record<ExportFormat, string>> = {
  csv: 'text/csv; charset=utf-8; header=present',
  jsonl: 'application/x-ndjson; charset=utf-8',
};

@ApiTags('Finance')
@Controller('v1/exports')
@RequireScope('finance')
export class ExportsController {
  constructor(private readonly exports: LedgerExportService) {}

  @Get('ledger')
  @RecordsRead('ledger.exported', 'ledger', ['format', 'from', 'to', 'account'])
  @ApiOperation({
    operationId: 'exportLedger',
    summary: 'Download the ledger, or a part of it, as a file that can be verified',
    description:
      'Streams every transfer of the range in chain order, as of one moment. The last line has the number of ' +
      'rows and a digest of them: a file without it is incomplete. `coffer verify FILE` checks a file without a ' +
      'server and names the first bad row. Times are in UTC; `from` is included, `to` is not.',
  })
  @ApiOkResponse({
    description: 'The file. It is complete only when its last line is the one that ends an export.',
    content: {
      'text/csv': { schema: { type: 'string' } },
      'application/x-ndjson': { schema: { type: 'string' } },
    },
  })
  @ApiProblems('invalid_request', 'resource_missing', 'concurrency_limit_exceeded', 'database_unavailable')
  async ledger(@Query() query: LedgerExportQuery): Promise<StreamableFile> {
    const range = toExportRange(query);
    const file = await this.exports.open(query.format, range);
    const disposition = `attachment; filename="${fileName(query.format, range)}"`;
    return new StreamableFile(file, { type: CONTENT_TYPES[query.format], disposition });
  }
}

/** `coffer-ledger_2026-11-01_2026-12-01.csv`; it has only characters that every file system allows. */
function fileName(format: ExportFormat, { from, to, account }: ExportRange): string {
  const parts = ['coffer-ledger', account, from, to].filter((part) => part !== null);
  return `${parts.map((part) => part.replace(/T00:00:00\.000Z$/, '').replace(/[^\w-]/g, '')).join('_')}.${format}`;
}
