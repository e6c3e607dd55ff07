import { ApiProperty } from '@nestjs/swagger';
import { MicroUsdField, MicroUsdView, TimeView } from '../../platform/common/fields.js';
import { formatMicros, type MicroUsd, parseMicros } from '../../platform/common/money.js';
import { getPeriodEnd, type KeyBudget, NO_LIMITS, type SpendLimits } from './key-budget.js';

export class SpendLimitsRequest {
  @MicroUsdField({
    description: 'The most that the key may spend in a UTC day, in micro-USD; null: no such limit.',
    optional: true,
    example: '5000000',
  })
  declare readonly day_micros?: string | null;

  @MicroUsdField({
    description:
      'The most that the key may spend in a UTC calendar month, in micro-USD; null: no such limit.',
    optional: true,
    example: '50000000',
  })
  declare readonly month_micros?: string | null;

  @MicroUsdField({
    description: 'The most that the key may ever spend, in micro-USD; null: no such limit.',
    optional: true,
    example: '200000000',
  })
  declare readonly total_micros?: string | null;
}

function LimitView(description: string, example: string): PropertyDecorator {
  return ApiProperty({ description, type: 'string', nullable: true, pattern: '^[0-9]+$', example });
}

export class SpendLimitsView {
  @LimitView('Limit of a UTC day; null: none.', '5000000')
  declare readonly day_micros: string | null;
  @LimitView('Limit of a UTC calendar month; null: none.', '50000000')
  declare readonly month_micros: string | null;
  @LimitView('Limit of all time; null: none.', '200000000')
  declare readonly total_micros: string | null;
  @MicroUsdView('Used today, with what running calls have set aside.', '120000')
  declare readonly day_used_micros: string;
  @MicroUsdView('Used this month, with what running calls have set aside.', '840000')
  declare readonly month_used_micros: string;
  @MicroUsdView('Used ever, with what running calls have set aside.', '840000')
  declare readonly total_used_micros: string;
  @TimeView('When the day is counted from zero again, Unix seconds.')
  declare readonly day_resets_at: number;
  @TimeView('When the month is counted from zero again, Unix seconds.')
  declare readonly month_resets_at: number;
}

/** Returns undefined when nothing is to be changed. */
export function toLimitChanges(
  request: SpendLimitsRequest | null | undefined,
): Partial<SpendLimits> | undefined {
  if (request === undefined) return undefined;
  if (request === null) return NO_LIMITS;
  const { day_micros: day, month_micros: month, total_micros: total } = request;
  return {
    ...(day === undefined ? {} : { day: toLimit(day) }),
    ...(month === undefined ? {} : { month: toLimit(month) }),
    ...(total === undefined ? {} : { total: toLimit(total) }),
  };
}

function toLimit(text: string | null): MicroUsd | null {
  return text === null ? null : parseMicros(text);
}

export function toSpendLimitsView(budget: KeyBudget | null): SpendLimitsView | null {
  if (budget === null) return null;
  const { limits, used } = budget;
  return {
    day_micros: limits.day && formatMicros(limits.day),
    month_micros: limits.month && formatMicros(limits.month),
    total_micros: limits.total && formatMicros(limits.total),
    day_used_micros: formatMicros(used.day),
    month_used_micros: formatMicros(used.month),
    total_used_micros: formatMicros(used.total),
    day_resets_at: toSeconds(getPeriodEnd(budget, 'day')),
    month_resets_at: toSeconds(getPeriodEnd(budget, 'month')),
  };
}

function toSeconds(timeMs: number | null): number {
  return Math.trunc((timeMs ?? 0) / 1_000);
}
