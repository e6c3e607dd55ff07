import { parseUtcTime } from '../../platform/common/clock.js';
import type { ExportRange } from '../../money/ledger/export/export-format.js';
import { InvalidRequestError } from '../../platform/errors/common.errors.js';

type Asked = {
  readonly from?: string | undefined;
  readonly to?: string | undefined;
  readonly account?: string | undefined;
};

/**
 * Reads the requested range in the spelling of exports. It includes `from` and excludes `to`, so November is
 * `from=2026-11-01&to=2026-12-01`, and months join without overlap or gap. A date without a time is its midnight in UTC.
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
  const time = parseUtcTime(text);
  if (time === null) {
    throw new InvalidRequestError(
      `${param} must be a date (2026-11-01) or a time (2026-11-01T00:00:00Z; write the + of an offset as %2B).`,
      param,
    );
  }
  return time.toISOString();
}
