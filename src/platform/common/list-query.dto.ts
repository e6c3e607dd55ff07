import { Transform } from 'class-transformer';
import { IntegerField, TextField } from './fields.js';
import { PAGE_LIMIT_DEFAULT, PAGE_LIMIT_MAX, type PageRequest } from './pagination.js';

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
