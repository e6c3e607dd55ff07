import type { FindOptionsWhere, Repository } from 'typeorm';
import { type IdKind, isId } from '../common/ids.js';
import { type Page, type PageRequest, toPage } from '../common/pagination.js';
import { InvalidRequestError } from '../errors/common.errors.js';

/**
 * Returns one page, newest first, of rows that are identified by `newId(kind)`: such ids grow with time, so they both order
 * the list and mark a position in it.
 *
 * A cursor is only compared, never looked up, so it reveals nothing about rows outside `where`. Throws
 * `InvalidRequestError` for a cursor that is no id of this kind.
 */
export async function findPage<Row extends { id: string }>(
  repository: Repository<Row>,
  kind: IdKind,
  where: FindOptionsWhere<Row>,
  page: PageRequest,
): Promise<Page<Row>> {
  const backwards = page.endingBefore !== undefined;
  const cursor = page.endingBefore ?? page.startingAfter;
  if (cursor !== undefined && !isId(kind, cursor)) {
    throw new InvalidRequestError(
      `'${cursor}' is not an id from this list.`,
      backwards ? 'ending_before' : 'starting_after',
    );
  }
  const query = repository
    .createQueryBuilder('row')
    .where(where)
    .orderBy('row.id', backwards ? 'ASC' : 'DESC')
    .limit(page.limit + 1);
  if (cursor !== undefined) query.andWhere(`row.id ${backwards ? '>' : '<'} :cursor`, { cursor });
  return toPage(await query.getMany(), page);
}
