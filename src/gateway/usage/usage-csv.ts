import { stringify } from 'csv-stringify/sync';
import { encodeCell } from '../../platform/common/csv-cell.js';
import type { TextRow } from '../../platform/database/snapshot.js';

const USAGE_CSV_COLUMNS = [
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

/** The header line. With the lines of `toUsageCsv` it is the file, with money in whole micro-dollars and no cell that a spreadsheet runs as a formula. */
export const usageCsvHeader = (): string => stringify([[...USAGE_CSV_COLUMNS]]);

export function toUsageCsv(rows: readonly TextRow[]): string {
  // An empty text cannot occur here, so an empty cell means "none".
  const cells = rows.map((row) => row.map((text) => encodeCell(text === '' ? null : text)));
  return stringify(cells, { quoted_match: /\r/ });
}
