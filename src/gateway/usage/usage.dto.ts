import { ApiProperty } from '@nestjs/swagger';
import { Transform } from 'class-transformer';
import {
  IntegerField,
  MicroUsdView,
  ObjectTypeView,
  TextField,
  WordField,
} from '../../platform/common/fields.js';
import { ListView } from '../../platform/common/pagination.js';
import {
  GROUPS,
  RANGE_DAYS_DEFAULT,
  RANGE_DAYS_MAX,
  toRowId,
  ROWS_DEFAULT,
  ROWS_MAX,
  type UsageQuery,
} from './usage-query.js';
import type { Usage, UsageCounts, UsageRow } from './usage-reader.service.js';
import type { Runway } from './runway.js';

export class UsageListQuery {
  @TextField({
    description: `First UTC day to count; ${RANGE_DAYS_DEFAULT} days before \`to\` when absent, at most ${RANGE_DAYS_MAX}.`,
    max: 10,
    optional: true,
    example: '2026-11-01',
  })
  declare readonly from?: string;

  @TextField({
    description: 'First UTC day that is not counted; tomorrow when absent.',
    max: 10,
    optional: true,
    example: '2026-12-01',
  })
  declare readonly to?: string;

  @TextField({
    description: `What rows are grouped by, separated by commas: any of ${GROUPS.join(', ')}. They are always grouped by source.`,
    max: 60,
    optional: true,
    example: 'day,model',
  })
  declare readonly group_by?: string;

  @TextField({ description: 'Only this model.', max: 200, optional: true })
  declare readonly model?: string;

  @TextField({ description: 'Only this API key, by its id.', max: 100, optional: true })
  declare readonly api_key?: string;

  @TextField({
    description: 'Only calls with this `x-coffer-tag`, or without one for this `user`.',
    max: 512,
    optional: true,
  })
  declare readonly tag?: string;

  @WordField({
    description: 'The format of the answer. `Accept: text/csv` also selects CSV, which has every row.',
    words: ['json', 'csv'],
    optional: true,
  })
  declare readonly format?: string;

  @Transform(({ value }: { value: unknown }) =>
    typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value,
  )
  @IntegerField({
    description: `How many rows to return; ${ROWS_DEFAULT} when absent.`,
    min: 1,
    max: ROWS_MAX,
    optional: true,
  })
  declare readonly limit?: number;

  @TextField({ description: 'Return the rows after the row with this id.', max: 6_000, optional: true })
  declare readonly starting_after?: string;
}

class UsageCountsView {
  @ApiProperty({ description: 'Calls that ended, and debits.', type: 'integer', example: 25 })
  declare readonly calls: number;
  @ApiProperty({
    description: 'How many of these delivered nothing.',
    type: 'integer',
    example: 1,
  })
  declare readonly failed_calls: number;
  @ApiProperty({ description: 'Delivered images in all billing modes.', type: 'integer', example: 30 })
  declare readonly images: number;
  @ApiProperty({
    description: 'How many of these were made with your own provider keys, which costs the wallet nothing.',
    type: 'integer',
    example: 4,
  })
  declare readonly byok_images: number;
  @ApiProperty({ description: 'How many of these were made by free models.', type: 'integer', example: 2 })
  declare readonly free_images: number;
  @MicroUsdView('What the wallet was charged: the sum of the ledger’s captures and debits.', '960000')
  declare readonly charged_micros: string;
}

export class UsageRowView extends UsageCountsView {
  @ObjectTypeView('usage')
  declare readonly object: 'usage';
  @ApiProperty({
    description: 'The id of the row, for `starting_after`.',
    example: 'usage_WyIyMDI2LTExLTIyIl0',
  })
  declare readonly id: string;
  @ApiProperty({
    description: 'UTC day of the charge, or of the end of a call without one; null unless grouped by day.',
    type: 'string',
    nullable: true,
    example: '2026-11-22',
  })
  declare readonly day: string | null;
  @ApiProperty({
    description:
      '`images_api`: calls of the images API. `debits`: charges and captured holds of an external gateway.',
    enum: ['images_api', 'debits'],
  })
  declare readonly source: string;
  @ApiProperty({
    description: 'The model; null unless grouped by model, and for debits of a plain amount.',
    type: 'string',
    nullable: true,
  })
  declare readonly model: string | null;
  @ApiProperty({
    description: 'Id of the API key that called; null unless grouped by it, and for debits.',
    type: 'string',
    nullable: true,
  })
  declare readonly api_key: string | null;
  @ApiProperty({
    description:
      'The `x-coffer-tag`, otherwise the `user`; null unless grouped by tag, and for calls with neither.',
    type: 'string',
    nullable: true,
  })
  declare readonly tag: string | null;
}

export class UsageFailureView {
  @ApiProperty({ description: 'The error code, as in error answers.', example: 'content_policy_violation' })
  declare readonly code: string;
  @ApiProperty({ description: 'How many calls failed with it.', type: 'integer', example: 1 })
  declare readonly calls: number;
}

export class UsageTotalsView extends UsageCountsView {
  @ApiProperty({ description: 'The failed calls by their code.', type: () => [UsageFailureView] })
  declare readonly failures: readonly UsageFailureView[];
}

export class RunwayView {
  @MicroUsdView(
    'The mean charge per day over today and the six days before, beginning with the first of them that has a charge.',
    '1200000',
  )
  declare readonly per_day_micros: string;
  @ApiProperty({
    description:
      'When the available credit ends at this pace, Unix seconds; null when nothing is spent, or not in ten years.',
    type: 'integer',
    nullable: true,
    example: 1_796_000_000,
  })
  declare readonly ends_at: number | null;
  @ApiProperty({
    description: 'The number of UTC days from which the pace was calculated; 0 when nothing was spent.',
    type: 'integer',
    example: 7,
  })
  declare readonly basis_days: number;
}

export class UsageListView extends ListView {
  @ApiProperty({ description: 'First UTC day that is counted.', example: '2026-11-01' })
  declare readonly from: string;
  @ApiProperty({ description: 'First UTC day that is no longer counted.', example: '2026-12-01' })
  declare readonly to: string;
  @ApiProperty({ description: 'Latest day first.', type: () => [UsageRowView] })
  declare readonly data: readonly UsageRowView[];
  @ApiProperty({ description: 'The totals of the whole range, on every page.', type: () => UsageTotalsView })
  declare readonly totals: UsageTotalsView;
  @ApiProperty({
    description:
      'How long the credit lasts at the pace of the last days, independent of the requested range.',
    type: () => RunwayView,
  })
  declare readonly runway: RunwayView;
}

export function toUsageList(url: string, query: UsageQuery, usage: Usage, runway: Runway): UsageListView {
  const { failures, ...totals } = usage.totals;
  const byCode = Object.entries(failures).sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    object: 'list',
    url,
    from: query.from,
    to: query.to,
    has_more: usage.hasMore,
    data: usage.rows.map(toRowView),
    totals: {
      ...toCounts(totals),
      failures: byCode.map(([code, calls]) => ({ code, calls: Number(calls) })),
    },
    runway: {
      per_day_micros: runway.perDayMicros.toString(),
      ends_at: runway.endsAtMs === null ? null : Math.floor(runway.endsAtMs / 1_000),
      basis_days: runway.basisDays,
    },
  };
}

function toRowView(row: UsageRow): UsageRowView {
  const { day, source, model, apiKeyId, tag } = row;
  return {
    object: 'usage',
    id: toRowId(row),
    day: textOrNull(day),
    source,
    model: textOrNull(model),
    api_key: textOrNull(apiKeyId),
    tag: textOrNull(tag),
    ...toCounts(row),
  };
}

/** Counts of calls and images stay far below 2^53; money is never a number. */
function toCounts(counts: UsageCounts): UsageCountsView {
  return {
    calls: Number(counts.calls),
    failed_calls: Number(counts.failed_calls),
    images: Number(counts.images),
    byok_images: Number(counts.byok_images),
    free_images: Number(counts.free_images),
    charged_micros: counts.charged_micros,
  };
}

function textOrNull(text: string): string | null {
  return text === '' ? null : text;
}
