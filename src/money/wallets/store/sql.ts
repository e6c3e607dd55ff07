/**
 * Ends a lateral subquery that looks one row up by its key, and keeps the planner from turning it into a join. A plan is made
 * once for each connection. One that was made while the table was almost empty would read all of the table, for every batch,
 * however large it has become, because a full scan and a hash join are cheapest then. `OFFSET 0` leaves only the look-up by
 * index, which is right at any size.
 */
export const ROW_BY_ROW = 'OFFSET 0';

/**
 * Unix milliseconds of a column that has whole ones. `extract` computes in NUMERIC, which costs several times as much. A double is
 * exact far beyond any time that a column holds, and the cast rounds.
 */
export const toUnixMs = (column: string): string => `(date_part('epoch', ${column}) * 1000)::bigint`;
