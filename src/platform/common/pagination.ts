import { Transform } from 'class-transformer';
import { ApiProperty } from '@nestjs/swagger';
import { IntegerField, ObjectTypeView, TextField } from './fields.js';

/** Stripe-style lists: newest first, cursors are ids. */
export const PAGE_LIMIT_DEFAULT = 10;
export const PAGE_LIMIT_MAX = 100;

export type PageRequest = {
  readonly limit: number;
  readonly startingAfter?: string | undefined;
  readonly endingBefore?: string | undefined;
};

export type Page<T> = { readonly data: readonly T[]; readonly hasMore: boolean };

/**
 * Makes one page of `limit + 1` rows. Rows that were fetched backwards (`ending_before`) come oldest first and
 * are reversed, so a page always lists the newest first.
 */
export function toPage<T>(rows: readonly T[], request: PageRequest): Page<T> {
  const kept = rows.slice(0, request.limit);
  return {
    data: request.endingBefore === undefined ? kept : kept.reverse(),
    hasMore: rows.length > request.limit,
  };
}

/** The query of every list route. */
export class ListQuery {
  @Transform(({ value }: { value: unknown }) =>
    typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value,
  )
  @IntegerField({
    description: `How many to return; ${PAGE_LIMIT_DEFAULT} when absent.`,
    min: 1,
    max: PAGE_LIMIT_MAX,
    optional: true,
    example: PAGE_LIMIT_DEFAULT,
  })
  declare readonly limit?: number;

  @TextField({ description: 'Return what is older than this id.', max: 100, optional: true })
  declare readonly starting_after?: string;

  @TextField({ description: 'Return what is newer than this id.', max: 100, optional: true })
  declare readonly ending_before?: string;

  get page(): PageRequest {
    return {
      limit: this.limit ?? PAGE_LIMIT_DEFAULT,
      startingAfter: this.starting_after,
      endingBefore: this.ending_before,
    };
  }
}

/** The members that every list has; each list adds its own `data`, newest first. */
export abstract class ListView {
  @ObjectTypeView('list')
  declare readonly object: 'list';
  @ApiProperty({ description: 'The route that was asked.', example: '/v1/top_ups' })
  declare readonly url: string;
  @ApiProperty({ description: 'Whether there are more after this page.' })
  declare readonly has_more: boolean;
}
