import type { ExportRange } from '../ledger/export/export-format.js';
import { InvalidRequestError } from '../problems/common.errors.js';

const DATE = /^(\d{4})-(\d\d)-(\d\d)$/;
const TIME = /^(\d{4}-\d\d-\d\d)T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,3})?(Z|[+-](0\d|1[0-4]):[0-5]\d)$/;

type Asked = {
  readonly from?: string | undefined;
  readonly to?: string | undefined;
  readonly account?: string | undefined;
};

/**
 * The range that was asked for, in the export's own spelling. It is half open: `from` belongs to it, `to`
 * does not, so November is `from=2026-11-01&to=2026-12-01` and months join without overlap or gap. A bare
 * date is its midnight in UTC.
 *
 * @throws InvalidRequestError naming the parameter.
 */
export function toExportRange({ from, to, account }: Asked): ExportRange {
  const range = { from: toTime('from', from), to: toTime('to', to), account: account ?? null };
  if (range.from !== null && range.to !== null && range.from >= range.to) {
    throw new InvalidRequestError(
      'to must be later than from: it is the first moment that is not exported.',
      'to',
    );
  }
  return range;
}

function toTime(param: 'from' | 'to', text: string | undefined): string | null {
  if (text === undefined) return null;
  const time = TIME.exec(text);
  if (!isCalendarDate(time?.[1] ?? text)) {
    throw new InvalidRequestError(
      `${param} must be a date (2026-11-01) or a time (2026-11-01T00:00:00Z; write the + of an offset as %2B).`,
      param,
    );
  }
  return new Date(text).toISOString();
}

/** JavaScript reads 30 February as 2 March; the books of a month that does not exist are nobody's wish. */
function isCalendarDate(text: string): boolean {
  const [, year, month, day] = DATE.exec(text) ?? [];
  if (year === undefined) return false;
  const date = new Date(Date.UTC(Number(year), Number(month) - 1, Number(day)));
  return Number(year) >= 1970 && date.toISOString().startsWith(text);
}
