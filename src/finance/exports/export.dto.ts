import { TextField, WordField } from '../../platform/common/fields.js';
import { EXPORT_FORMATS, type ExportFormat } from '../../money/ledger/export/export-format.js';

export class LedgerExportQuery {
  @WordField({ description: 'The format of the file.', words: EXPORT_FORMATS, example: 'csv' })
  declare readonly format: ExportFormat;

  @TextField({
    description:
      'The start of the range, which is included: a date (midnight UTC) or an ISO 8601 time. Absent: from the first row.',
    max: 40,
    optional: true,
    example: '2026-11-01',
  })
  declare readonly from?: string;

  @TextField({
    description:
      'The end of the range, which is not included and must be later than `from`. Absent: to the last row.',
    max: 40,
    optional: true,
    example: '2026-12-01',
  })
  declare readonly to?: string;

  @TextField({
    description: 'The account whose book is exported; `acct_platform` is our own. Absent: all books.',
    max: 100,
    optional: true,
    example: 'acct_01KB2H7Q0000000000000000AA',
  })
  declare readonly account?: string;
}
