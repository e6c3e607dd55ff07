import { stringify } from 'csv-stringify/sync';
import { encodeCell } from '../ledger/export/csv-cell.js';
import type { UsageRow } from './usage-reader.service.js';

const COLUMNS = [
  'day',
  'source',
  'model',
  'api_key',
  'tag',
  'calls',
  'failed_calls',
  'images',
  'byok_images',
  'free_images',
  'charged_micros',
] as const;

/** With a header, money in whole micro-dollars, and no cell that a spreadsheet would run as a formula. */
export function toUsageCsv(rows: readonly UsageRow[]): string {
  const cells = rows.map(({ apiKeyId, ...row }) => {
    const named = { ...row, api_key: apiKeyId };
    // Nothing here is empty text: an empty cell means "none".
    return COLUMNS.map((column) => encodeCell(named[column] === '' ? null : named[column]));
  });
  return stringify([[...COLUMNS], ...cells], { quoted_match: /\r/ });
}
