import { Inject, Injectable, StreamableFile } from '@nestjs/common';
import type { Clock } from '../common/clock.js';
import { LEDGER_CLOCK } from '../database/ledger-clock.js';
import { toUsageCsv } from './usage-csv.js';
import { toUsageQuery, type UsageQuery } from './usage-query.js';
import { UsageReader } from './usage-reader.service.js';
import { toUsageList, type UsageListQuery, type UsageListView } from './usage.dto.js';

/** Usage in the form that was asked for. */
@Injectable()
export class UsageAnswers {
  constructor(
    private readonly usage: UsageReader,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /** Throws `InvalidRequestError`, and what the database throws. */
  async answer(
    url: string,
    accountId: string,
    asked: UsageListQuery,
    accept: string | undefined,
  ): Promise<UsageListView | StreamableFile> {
    const query = toUsageQuery(asked, this.clock.nowMs());
    if (asked.format === 'csv' || (asked.format === undefined && wantsCsv(accept))) {
      return this.file(accountId, query);
    }
    const usage = await this.usage.read(accountId, query);
    return toUsageList(url, query, usage, await this.usage.runway(accountId));
  }

  private async file(accountId: string, query: UsageQuery): Promise<StreamableFile> {
    const text = toUsageCsv(await this.usage.readAll(accountId, query));
    return new StreamableFile(Buffer.from(text), {
      type: 'text/csv; charset=utf-8; header=present',
      disposition: `attachment; filename="coffer-usage_${query.from}_${query.to}.csv"`,
    });
  }
}

/** Only where it is asked for by name: `*` is what every client sends. */
function wantsCsv(accept: string | undefined): boolean {
  return /^\s*text\/csv\s*(;|,|$)/i.test(accept ?? '');
}
