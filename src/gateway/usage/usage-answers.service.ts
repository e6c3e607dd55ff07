import { Inject, Injectable, StreamableFile } from '@nestjs/common';
import { stringify } from 'csv-stringify/sync';
import type { Clock } from '../../platform/common/clock.js';
import { FairSlots } from '../../platform/common/fair-slots.js';
import { newId } from '../../platform/common/ids.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { ClientGoneError } from '../images/calls/generation.errors.js';
import { encodeCell } from '../../platform/common/csv-cell.js';
import type { TextRow } from '../../platform/database/snapshot.js';
import { toUsageQuery, type UsageQuery } from './usage-query.js';
import { UsageReaderService } from './usage-reader.service.js';
import { toUsageList, type UsageListQuery, type UsageListView } from './usage.dto.js';

/** Answers usage as JSON or CSV, as requested. */
@Injectable()
export class UsageAnswersService {
  /** A file of 50,000 rows keeps a core busy for a second or two, so one file is written at a time, and accounts take turns. */
  private readonly slots = new FairSlots({ slots: 1, waitersMax: Infinity, waitersPerOwnerMax: Infinity });

  constructor(
    private readonly usage: UsageReaderService,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /** Throws `InvalidRequestError`, and what the database throws. */
  async answer(
    url: string,
    accountId: string,
    asked: UsageListQuery,
    accept: string | undefined,
    gone: AbortSignal,
  ): Promise<UsageListView | StreamableFile> {
    const query = toUsageQuery(asked, this.clock.nowMs());
    if (asked.format === 'csv' || (asked.format === undefined && wantsCsv(accept))) {
      return this.file(accountId, query, gone);
    }
    const usage = await this.usage.read(accountId, query);
    return toUsageList(url, query, usage, await this.usage.runway(accountId));
  }

  private async file(accountId: string, query: UsageQuery, gone: AbortSignal): Promise<StreamableFile> {
    const request = { owner: accountId, call: newId('request') };
    const file = await this.slots
      .run(request, () => this.write(accountId, query, gone), { signal: gone })
      .catch((error: unknown) => {
        throw gone.aborted ? new ClientGoneError() : error;
      });
    return new StreamableFile(file, {
      type: 'text/csv; charset=utf-8; header=present',
      disposition: `attachment; filename="coffer-usage_${query.from}_${query.to}.csv"`,
    });
  }

  private async write(accountId: string, query: UsageQuery, gone: AbortSignal): Promise<Buffer> {
    const pieces = [Buffer.from(usageCsvHeader())];
    for await (const rows of this.usage.readAll(accountId, query)) {
      gone.throwIfAborted();
      pieces.push(Buffer.from(toUsageCsv(rows)));
    }
    return Buffer.concat(pieces);
  }
}

/** A CSV is sent only if the header names it. `*` does not count, because every client sends it. */
function wantsCsv(accept: string | undefined): boolean {
  return /^\s*text\/csv\s*(;|,|$)/i.test(accept ?? '');
}

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
